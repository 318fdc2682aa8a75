import CoreML
import CoreVideo
import Foundation

/// Runs the model with one choice of compute units. An actor: predictions queue up instead of meeting each other.
actor Classifier {
  private let model: MLModel
  private let bundled: BundledModel
  private let takesPicture: Bool

  /// Loads the compiled model, which can take a second; throws where the file does not do what the contract says.
  init(_ bundled: BundledModel, units: ComputeUnits) throws {
    let configuration = MLModelConfiguration()
    configuration.computeUnits = units.coreML
    let model = try MLModel(contentsOf: bundled.compiledModel, configuration: configuration)
    let contract = bundled.contract
    let description = model.modelDescription
    guard let input = description.inputDescriptionsByName[contract.input.name],
      description.inputDescriptionsByName.count == 1
    else {
      throw ContractError("The model has no single input “\(contract.input.name)”.")
    }
    guard description.outputDescriptionsByName[contract.output.name] != nil else {
      throw ContractError("The model has no output “\(contract.output.name)”.")
    }
    takesPicture = input.type == .image
    if takesPicture {
      guard let size = input.imageConstraint, size.pixelsWide == contract.preprocessing.width,
        size.pixelsHigh == contract.preprocessing.height
      else {
        throw ContractError("The model takes pictures of another size than contract.json says.")
      }
      let gray = size.pixelFormatType == kCVPixelFormatType_OneComponent8
      guard gray == contract.preprocessing.gray else {
        throw ContractError("The model and contract.json differ in whether pictures are grey.")
      }
      // Core ML hands the samples 0..255 over as they are: another scale would be lost here.
      guard contract.input.scale.allSatisfy({ $0 == 1 }),
        contract.input.bias.allSatisfy({ $0 == 0 })
      else {
        throw ContractError("The model takes pictures, but contract.json asks for scaled values.")
      }
    } else if input.type != .multiArray {
      throw ContractError("The input “\(contract.input.name)” is neither a picture nor an array.")
    }
    self.model = model
    self.bundled = bundled
  }

  /// A score per class, in index order, for a crop of `Preprocess`; the time is that of Core ML alone.
  func scores(of crop: [UInt8]) throws -> SelfCheck.Answer {
    let contract = bundled.contract
    let value =
      takesPicture
      ? MLFeatureValue(pixelBuffer: try Self.pixelBuffer(crop, contract.preprocessing))
      : MLFeatureValue(multiArray: try Self.multiArray(crop, contract.input))
    let features = try MLDictionaryFeatureProvider(dictionary: [contract.input.name: value])
    let clock = ContinuousClock()
    let start = clock.now
    let result = try model.prediction(from: features)
    let time = clock.now - start
    guard let output = result.featureValue(for: contract.output.name) else {
      throw ContractError("The model gave no “\(contract.output.name)”.")
    }
    return SelfCheck.Answer(scores: try scores(in: output), milliseconds: time.milliseconds)
  }

  private func scores(in output: MLFeatureValue) throws -> [Float] {
    switch output.type {
    case .dictionary:
      // A classifier: probabilities by label.
      let named = output.dictionaryValue.compactMap { key, value in
        (key as? String).map { (label: $0, score: value.floatValue) }
      }
      return try bundled.labels.ordered(named)
    case .multiArray:
      guard let array = output.multiArrayValue, array.count == bundled.contract.numClasses else {
        throw ContractError("The model's output has not one score per class.")
      }
      // By index, whatever the array's number type and strides are.
      return (0..<array.count).map { array[$0].floatValue }
    default:
      throw ContractError("The output “\(bundled.contract.output.name)” holds no scores.")
    }
  }

  private static func pixelBuffer(
    _ crop: [UInt8], _ size: Contract.Preprocessing
  ) throws -> CVPixelBuffer {
    let (width, height) = (size.width, size.height)
    let format = size.gray ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
    var made: CVPixelBuffer?
    let status = CVPixelBufferCreate(kCFAllocatorDefault, width, height, format, nil, &made)
    guard status == kCVReturnSuccess, let buffer = made else {
      throw ContractError("No pixel buffer of \(width) x \(height): error \(status).")
    }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let base = CVPixelBufferGetBaseAddress(buffer) else {
      throw ContractError("The pixel buffer has no memory.")
    }
    // Rows of a pixel buffer may be longer than their pixels.
    let bytesPerRow = CVPixelBufferGetBytesPerRow(buffer)
    let bytes = size.gray ? ModelInput.gray(crop) : ModelInput.bgra(crop)
    let rowLength = bytes.count / height
    bytes.withUnsafeBytes { bytes in
      for row in 0..<height {
        (base + row * bytesPerRow).copyMemory(
          from: bytes.baseAddress! + row * rowLength, byteCount: rowLength)
      }
    }
    return buffer
  }

  private static func multiArray(_ crop: [UInt8], _ input: Contract.Input) throws -> MLMultiArray {
    let array = try MLMultiArray(
      shape: input.shape.map { NSNumber(value: $0) }, dataType: .float32)
    let values = ModelInput.tensor(crop, input)
    guard array.count == values.count else {
      throw ContractError("The array has \(array.count) values, the crop \(values.count).")
    }
    // A new array is contiguous, its last index runs fastest: the order of the values.
    array.dataPointer.withMemoryRebound(to: Float.self, capacity: values.count) { pointer in
      for place in values.indices { pointer[place] = values[place] }
    }
    return array
  }
}

extension ComputeUnits {
  var coreML: MLComputeUnits {
    switch self {
    case .all: return .all
    case .cpuOnly: return .cpuOnly
    case .cpuAndGPU: return .cpuAndGPU
    case .cpuAndNeuralEngine: return .cpuAndNeuralEngine
    }
  }
}

extension Duration {
  var milliseconds: Double {
    let (seconds, attoseconds) = components
    return Double(seconds) * 1e3 + Double(attoseconds) / 1e15
  }
}
