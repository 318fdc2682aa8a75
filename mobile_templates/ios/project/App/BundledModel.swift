import Foundation

/// The parts of the app bundle that came with the model, read once.
struct BundledModel: Sendable {
  let contract: Contract
  let labels: Labels
  /// labels.txt as it is, for the self-check.
  let labelsText: Data
  /// The model as Xcode compiled it.
  let compiledModel: URL
  let goldenFolder: URL

  /// Throws `ContractError` where a part is missing or does not fit the others.
  init(bundle: Bundle = .main) throws {
    contract = try Contract(json: try Self.read("contract", "json", in: bundle))
    labelsText = try Self.read("labels", "txt", in: bundle)
    labels = try Labels(text: labelsText, contract: contract)
    let name = (contract.files.model.file as NSString).deletingPathExtension
    compiledModel = try Self.find(name, "mlmodelc", in: bundle)
    goldenFolder = try Self.find("golden", nil, in: bundle)
  }

  private static func find(_ name: String, _ kind: String?, in bundle: Bundle) throws -> URL {
    guard let url = bundle.url(forResource: name, withExtension: kind) else {
      let file = kind.map { "\(name).\($0)" } ?? name
      throw ContractError("\(file) is missing from the app. Check the target's build phases.")
    }
    return url
  }

  private static func read(_ name: String, _ kind: String, in bundle: Bundle) throws -> Data {
    try Data(contentsOf: find(name, kind, in: bundle))
  }
}
