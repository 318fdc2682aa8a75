import Foundation

/// What the app must know of its model: contract.json, written when the project was made.
struct Contract: Decodable, Equatable, Sendable {
  struct Parity: Codable, Equatable, Sendable {
    var verdict: String
    var executor: String
  }

  struct ModelFile: Codable, Equatable, Sendable {
    var file: String
    var sha256: String
    var sizeBytes: Int
  }

  struct LabelsFile: Codable, Equatable, Sendable {
    var sha256: String
    var count: Int
  }

  struct GoldenFile: Codable, Equatable, Sendable {
    /// Of golden.json, which in turn names the checksum of every other file of the pack.
    var sha256: String
  }

  struct Files: Codable, Equatable, Sendable {
    var model: ModelFile
    var labels: LabelsFile
    var golden: GoldenFile
  }

  enum Layout: String, Codable, Sendable {
    case nchw = "NCHW"
    case nhwc = "NHWC"
    case nc = "NC"
  }

  enum ColorOrder: String, Codable, Sendable {
    case rgb = "RGB"
    case bgr = "BGR"
    case gray = "GRAY"
  }

  /// How samples 0..255 become the model's input: `value = sample * scale + bias` per channel, in `colorOrder`.
  struct Input: Codable, Equatable, Sendable {
    var name: String
    var shape: [Int]
    var dtype: String
    var layout: Layout
    var colorOrder: ColorOrder
    var scale: [Float]
    var bias: [Float]
  }

  enum OutputKind: String, Codable, Sendable {
    case logits
    case probabilities
  }

  /// What makes probabilities of logits: those of a softmax sum to one, those of a sigmoid are independent of each other.
  enum Activation: String, Codable, Sendable {
    case softmax
    case sigmoid
  }

  struct Output: Codable, Equatable, Sendable {
    var name: String
    var shape: [Int]
    var dtype: String
    var kind: OutputKind
  }

  var schemaVersion: Int
  var name: String
  var model: String
  var target: String
  var precision: String
  var numClasses: Int
  var parity: Parity
  var files: Files
  var preprocessing: Preprocessing
  /// Absent for softmax; see `scoring`.
  var activation: Activation?
  var input: Input
  var outputs: [Output]

  /// The scores of the classes; a model of this exporter has exactly one such output.
  var output: Output { outputs[0] }

  /// What makes probabilities of the model's logits.
  var scoring: Activation { activation ?? .softmax }

  /// What golden.json calls this artifact.
  var artifact: String { "\(target)-\(precision)" }

  /// Read and check; throws `ContractError` where the app could not work with what it says.
  init(json: Data) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(Contract.self, from: json)
    try check()
  }

  private func check() throws {
    guard schemaVersion == 1 || schemaVersion == 2 else {
      throw ContractError(
        "contract.json has schema version \(schemaVersion); this app reads versions 1 and 2.")
    }
    guard outputs.count == 1, output.shape == [1, numClasses], numClasses > 0 else {
      throw ContractError("The model must have one output with \(numClasses) scores.")
    }
    guard preprocessing.resize > 0, preprocessing.height > 0, preprocessing.width > 0,
      preprocessing.resizeWidth > 0
    else {
      throw ContractError("The sizes in contract.json must be positive.")
    }
    guard preprocessing.padColor.count == 3, preprocessing.gray == (input.colorOrder == .gray)
    else {
      throw ContractError("The preprocessing in contract.json does not fit the model's input.")
    }
    let channels = preprocessing.gray ? 1 : 3
    let expected: [Int]
    switch input.layout {
    case .nchw: expected = [1, channels, preprocessing.height, preprocessing.width]
    case .nhwc: expected = [1, preprocessing.height, preprocessing.width, channels]
    case .nc: throw ContractError("The model's input is no picture: its layout is NC.")
    }
    guard input.shape == expected, input.scale.count == channels, input.bias.count == channels
    else {
      throw ContractError(
        "The input \(input.shape) does not fit the crop "
          + "\(preprocessing.height) x \(preprocessing.width) in \(input.layout.rawValue).")
    }
    guard input.dtype == "float32" else {
      throw ContractError("The input is \(input.dtype); this app feeds float32.")
    }
  }
}

struct ContractError: LocalizedError, Equatable, CustomStringConvertible {
  let description: String
  var errorDescription: String? { description }

  init(_ description: String) { self.description = description }
}
