import AVFoundation
import SwiftUI
import UIKit

/// The system's camera. Gives the picture as it was taken, not scaled, with its orientation.
struct CameraPicker: UIViewControllerRepresentable {
  @MainActor static var isAvailable: Bool {
    UIImagePickerController.isSourceTypeAvailable(.camera)
  }

  /// Whether this app may not use the camera, which would then show nothing but black. Where nobody was asked yet, the camera asks.
  static var isDenied: Bool {
    let status = AVCaptureDevice.authorizationStatus(for: .video)
    return status == .denied || status == .restricted
  }

  let onPhoto: (CapturedPhoto) -> Void
  @Environment(\.dismiss) private var dismiss

  func makeUIViewController(context: Context) -> UIImagePickerController {
    let picker = UIImagePickerController()
    picker.sourceType = .camera
    picker.delegate = context.coordinator
    return picker
  }

  func updateUIViewController(_ picker: UIImagePickerController, context: Context) {}

  func makeCoordinator() -> Coordinator {
    Coordinator(self)
  }

  final class Coordinator: NSObject, UIImagePickerControllerDelegate, UINavigationControllerDelegate
  {
    private let parent: CameraPicker

    init(_ parent: CameraPicker) { self.parent = parent }

    func imagePickerController(
      _ picker: UIImagePickerController,
      didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
    ) {
      if let image = info[.originalImage] as? UIImage, let photo = CapturedPhoto(image) {
        parent.onPhoto(photo)
      }
      parent.dismiss()
    }

    func imagePickerControllerDidCancel(_ picker: UIImagePickerController) {
      parent.dismiss()
    }
  }
}

/// A picture from the camera on its way to another thread; nothing in it ever changes, which the compiler cannot know.
struct CapturedPhoto: @unchecked Sendable {
  let image: CGImage
  let orientation: Orientation

  init?(_ photo: UIImage) {
    guard let image = photo.cgImage else { return nil }
    self.image = image
    switch photo.imageOrientation {
    case .up: orientation = .up
    case .upMirrored: orientation = .upMirrored
    case .down: orientation = .down
    case .downMirrored: orientation = .downMirrored
    case .leftMirrored: orientation = .leftMirrored
    case .right: orientation = .right
    case .rightMirrored: orientation = .rightMirrored
    case .left: orientation = .left
    @unknown default: orientation = .up
    }
  }
}
