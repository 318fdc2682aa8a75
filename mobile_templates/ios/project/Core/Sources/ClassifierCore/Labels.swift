import Foundation

/// The class names in index order.
struct Labels: Equatable, Sendable {
  let names: [String]

  /// One name per line. Only a line feed ends a line: a name may hold any other character.
  init(text: Data) {
    let body = text.last == 10 ? text.dropLast() : text[...]
    names = body.split(separator: 10, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
  }

  /// Read labels.txt and hold it against the contract; throws `ContractError`.
  init(text: Data, contract: Contract) throws {
    self.init(text: text)
    guard names.count == contract.numClasses else {
      throw ContractError(
        "labels.txt has \(names.count) names, the model has \(contract.numClasses) classes.")
    }
    guard Checksum.hex(of: text) == contract.files.labels.sha256 else {
      throw ContractError("labels.txt is not the file this model was exported with.")
    }
  }

  /// Put scores that a classifier gives by name into index order; throws `ContractError` where a name has no score.
  func ordered(_ scores: [(label: String, score: Float)]) throws -> [Float] {
    // Swift holds strings equal that differ in their bytes only (é in one or two code points): two classes may be such.
    var byName: [[UInt8]: Float] = [:]
    for (label, score) in scores { byName[Array(label.utf8)] = score }
    guard byName.count == names.count else {
      throw ContractError("The model gives \(byName.count) names, labels.txt has \(names.count).")
    }
    return try names.map { name in
      guard let score = byName[Array(name.utf8)] else {
        throw ContractError("The model gives no score for the label “\(name)”.")
      }
      return score
    }
  }
}
