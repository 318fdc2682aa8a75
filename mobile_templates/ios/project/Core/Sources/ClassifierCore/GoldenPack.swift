import Foundation

/// The pictures that travelled with the model, what preprocessing makes of them, and what the PyTorch reference answers.
///
/// Everything is checked against its checksum when it is read: `contract.files.golden` names that of golden.json, which names the
/// others. Format 1, as the exporter documents it.
struct GoldenPack: Sendable {
  struct ImageFile: Codable, Sendable {
    var name: String
    var file: String
    var height: Int
    var width: Int
    var sha256: String
  }

  struct ArrayFile: Codable, Sendable {
    var file: String
    var dtype: String
    var shape: [Int]
    var sha256: String
  }

  struct Arrays: Codable, Sendable {
    var pixels: ArrayFile
    var logits: ArrayFile
    var probabilities: ArrayFile
    var top5: ArrayFile
  }

  struct Document: Decodable, Sendable {
    var schemaVersion: Int
    var preprocessing: Contract.Preprocessing
    var activation: Contract.Activation?
    var images: [ImageFile]
    var arrays: Arrays
    var tolerances: [String: Tolerance]
  }

  let images: [ImageFile]
  let preprocessing: Contract.Preprocessing
  /// What makes `probabilities` of `logits`.
  let activation: Contract.Activation
  let tolerances: [String: Tolerance]
  /// Per picture: the crop, red, green, blue.
  let pixels: [[UInt8]]
  /// Per picture: a score per class.
  let logits: [[Float]]
  let probabilities: [[Float]]
  /// Per picture: the best classes, best first.
  let top5: [[Int]]

  private let folder: URL

  /// Read the whole pack but its pictures; throws `GoldenPackError` where anything is missing, damaged or of another shape.
  init(folder: URL, contract: Contract) throws {
    let description = try Self.file("golden.json", in: folder)
    guard Checksum.hex(of: description) == contract.files.golden.sha256 else {
      throw GoldenPackError("golden.json is not the one that this model was exported with.")
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let document = try decoder.decode(Document.self, from: description)
    guard document.schemaVersion == 1 else {
      throw GoldenPackError(
        "golden.json has schema version \(document.schemaVersion); this app reads version 1.")
    }
    let arrays = document.arrays
    let count = document.images.count
    let crop = [count, document.preprocessing.height, document.preprocessing.width, 3]
    let classes = contract.numClasses
    guard count > 0, document.preprocessing == contract.preprocessing else {
      throw GoldenPackError("golden.json and contract.json disagree on the preprocessing.")
    }
    guard document.activation == contract.activation else {
      throw GoldenPackError("golden.json and contract.json name different activations.")
    }

    func words(_ array: ArrayFile, _ dtype: String, _ shape: [Int]) throws -> [[UInt32]] {
      let bytes = try Self.array(array, dtype, shape, bytesPerValue: 4, in: folder)
      var values: [UInt32] = []
      for at in stride(from: 0, to: bytes.count, by: 4) {
        var word: UInt32 = 0
        for byte in bytes[at..<(at + 4)].reversed() { word = word << 8 | UInt32(byte) }
        values.append(word)
      }
      return Self.rows(values, count)
    }

    pixels = Self.rows(
      try Self.array(arrays.pixels, "uint8", crop, bytesPerValue: 1, in: folder), count)
    logits = try words(arrays.logits, "float32", [count, classes]).map {
      $0.map(Float.init(bitPattern:))
    }
    probabilities = try words(arrays.probabilities, "float32", [count, classes]).map {
      $0.map(Float.init(bitPattern:))
    }
    top5 = try words(arrays.top5, "int32", [count, min(5, classes)]).map { $0.map(Int.init) }
    images = document.images
    preprocessing = document.preprocessing
    activation = contract.scoring
    tolerances = document.tolerances
    self.folder = folder
    try checkNumbers()
  }

  /// The bytes of one picture's PNG file, checked.
  func pictureFile(_ index: Int) throws -> Data {
    let image = images[index]
    let data = try Self.file(image.file, in: folder)
    guard Checksum.hex(of: data) == image.sha256 else {
      throw GoldenPackError("\(image.file) is damaged: its checksum differs.")
    }
    return data
  }

  private func checkNumbers() throws {
    for (index, image) in images.enumerated() {
      guard logits[index].allSatisfy(\.isFinite), probabilities[index].allSatisfy(\.isFinite) else {
        throw GoldenPackError("The reference of \(image.name) is not finite.")
      }
      let made = TopK.probabilities(logits[index], activation)
      guard zip(made, probabilities[index]).allSatisfy({ abs(($0 as Float) - $1) <= 1e-6 })
      else {
        throw GoldenPackError(
          "The probabilities of \(image.name) are not the \(activation.rawValue) of its logits.")
      }
      guard TopK.indices(logits[index], count: 5) == top5[index] else {
        throw GoldenPackError("top5 of \(image.name) does not name its largest logits.")
      }
    }
  }

  private static func file(_ name: String, in folder: URL) throws -> Data {
    do {
      return try Data(contentsOf: folder.appendingPathComponent(name))
    } catch {
      throw GoldenPackError("golden/\(name) cannot be read: \(error.localizedDescription)")
    }
  }

  private static func array(
    _ array: ArrayFile, _ dtype: String, _ shape: [Int], bytesPerValue: Int, in folder: URL
  ) throws -> [UInt8] {
    let bytes = [UInt8](try file(array.file, in: folder))
    guard array.dtype == dtype, array.shape == shape,
      bytes.count == shape.reduce(bytesPerValue, *)
    else {
      throw GoldenPackError(
        "\(array.file) is \(array.dtype) \(array.shape) in \(bytes.count) bytes; needed: \(dtype) \(shape)."
      )
    }
    guard Checksum.hex(of: Data(bytes)) == array.sha256 else {
      throw GoldenPackError("\(array.file) is damaged: its checksum differs.")
    }
    return bytes
  }

  private static func rows<Value>(_ values: [Value], _ count: Int) -> [[Value]] {
    let length = values.count / count
    return (0..<count).map { Array(values[($0 * length)..<(($0 + 1) * length)]) }
  }
}

struct GoldenPackError: Error, Equatable, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
