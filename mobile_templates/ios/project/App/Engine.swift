import Foundation

/// Decodes, preprocesses and classifies, away from the main thread. Keeps one loaded model per choice of compute units.
actor Engine {
  private let bundled: BundledModel
  private var loaded: [ComputeUnits: Classifier] = [:]

  init(_ bundled: BundledModel) { self.bundled = bundled }

  /// The five best classes, the times, and the crop that the model saw.
  func classify(
    _ photo: ClassifierModel.Photo, units: ComputeUnits
  ) async throws -> (ClassifierModel.Classification, CropPreview) {
    let classifier = try self.classifier(for: units)
    let picture: Picture
    switch photo {
    case .file(let data): picture = try ImageDecoding.picture(from: data)
    case .captured(let captured):
      picture = try ImageDecoding.picture(from: captured.image, orientation: captured.orientation)
    }
    let contract = bundled.contract
    let clock = ContinuousClock()
    let start = clock.now
    let crop = try Preprocess.crop(picture, contract.preprocessing)
    let preprocessing = clock.now - start
    let answer = try await classifier.scores(of: crop)
    let probabilities =
      contract.output.kind == .logits
      ? TopK.probabilities(answer.scores, contract.scoring) : answer.scores
    let rows = TopK.candidates(probabilities, count: 5).map {
      ClassifierModel.Classification.Row(
        id: $0.index, label: bundled.labels.names[$0.index], probability: $0.probability)
    }
    let result = ClassifierModel.Classification(
      rows: rows, independent: contract.scoring == .sigmoid,
      preprocessingMilliseconds: preprocessing.milliseconds,
      inferenceMilliseconds: answer.milliseconds, units: units)
    return (result, CropPreview(crop, contract.preprocessing))
  }

  /// Repeat the exporter's proof on this device: on the CPU alone, then with the default compute units.
  func selfCheck() async -> SelfCheckReport {
    let check = SelfCheck(
      contract: bundled.contract,
      decode: { try ImageDecoding.picture(from: $0) },
      predict: { units, pixels in
        try await self.classifier(for: units).scores(of: pixels)
      })
    return await check.run(
      golden: bundled.goldenFolder, labels: bundled.labelsText, device: Device.description)
  }

  private func classifier(for units: ComputeUnits) throws -> Classifier {
    if let known = loaded[units] { return known }
    let made = try Classifier(bundled, units: units)
    loaded[units] = made
    return made
  }
}

enum Device {
  /// Such as "iPhone15,2, iOS Version 17.5 (Build 21F79)"; the simulator says that it is one.
  static var description: String {
    let process = ProcessInfo.processInfo
    var system = utsname()
    uname(&system)
    let machine = withUnsafeBytes(of: &system.machine) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let simulated = process.environment["SIMULATOR_MODEL_IDENTIFIER"].map { "\($0) simulator" }
    return "\(simulated ?? machine), iOS \(process.operatingSystemVersionString)"
  }
}
