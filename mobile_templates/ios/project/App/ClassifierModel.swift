import CoreGraphics
import Foundation
import SwiftUI
import UIKit

/// What the screens show. Work happens on other threads; its results arrive here.
@MainActor
final class ClassifierModel: ObservableObject {
  struct Classification: Sendable {
    struct Row: Identifiable, Sendable {
      let id: Int
      let label: String
      let probability: Float

      var percentage: String {
        probability.formatted(.percent.precision(.fractionLength(1)))
      }
    }

    let rows: [Row]
    /// Whether each score stands for itself, so that they need not add up to 100 percent.
    let independent: Bool
    let preprocessingMilliseconds: Double
    let inferenceMilliseconds: Double
    let units: ComputeUnits
  }

  enum Photo: Sendable {
    case file(Data)
    case captured(CapturedPhoto)
  }

  @Published private(set) var classification: Classification?
  @Published private(set) var preview: CGImage?
  @Published private(set) var message: String?
  @Published private(set) var isBusy = false
  @Published private(set) var report: SelfCheckReport?
  @Published private(set) var isChecking = false
  @Published var units = ComputeUnits.all

  let bundled: BundledModel?
  private var photo: Photo?
  private var requests = 0
  private let engine: Engine?

  init() {
    do {
      let bundled = try BundledModel()
      self.bundled = bundled
      engine = Engine(bundled)
    } catch {
      bundled = nil
      engine = nil
      message = error.localizedDescription
    }
  }

  /// Classify a new photograph, or the last one again (after another choice of compute units).
  func classify(_ newPhoto: Photo? = nil) async {
    if let newPhoto { photo = newPhoto }
    guard let engine, photo != nil else { return }
    requests += 1
    // Where one is under way, it goes round again: neither a photo nor a choice is lost.
    guard !isBusy else { return }
    isBusy = true
    defer { isBusy = false }
    var served = 0
    while served != requests, let photo {
      served = requests
      await classify(photo, with: engine)
    }
  }

  private func classify(_ photo: Photo, with engine: Engine) async {
    do {
      let (result, crop) = try await engine.classify(photo, units: units)
      classification = result
      preview = crop.image
      message = nil
      if let best = result.rows.first { announce("\(best.label), \(best.percentage)") }
    } catch {
      classification = nil
      preview = nil
      show(error)
    }
  }

  func show(_ error: any Error) {
    message = error.localizedDescription
    announce(error.localizedDescription)
  }

  /// For VoiceOver, whose reader does not see that the screen has changed.
  private func announce(_ text: String) {
    UIAccessibility.post(notification: .announcement, argument: text)
  }

  func runSelfCheck() async {
    guard let engine, !isChecking else { return }
    isChecking = true
    defer { isChecking = false }
    report = await engine.selfCheck()
  }
}

/// A crop on its way to the screen; a CGImage never changes, which the compiler cannot know.
struct CropPreview: @unchecked Sendable {
  let image: CGImage?

  init(_ crop: [UInt8], _ size: Contract.Preprocessing) {
    guard let space = CGColorSpace(name: CGColorSpace.sRGB),
      let provider = CGDataProvider(data: Data(crop) as CFData)
    else {
      image = nil
      return
    }
    image = CGImage(
      width: size.width, height: size.height, bitsPerComponent: 8, bitsPerPixel: 24,
      bytesPerRow: size.width * 3, space: space,
      bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.none.rawValue), provider: provider,
      decode: nil, shouldInterpolate: true, intent: .defaultIntent)
  }
}
