import Foundation
import XCTest

@testable import ClassifierCore

/// The project that this package stands in, or the one that STARTER_PROJECT names.
enum ProjectFiles {
  static let root: URL = {
    if let named = ProcessInfo.processInfo.environment["STARTER_PROJECT"] {
      return URL(fileURLWithPath: named)
    }
    var folder = URL(fileURLWithPath: #filePath)
    for _ in 0..<4 { folder.deleteLastPathComponent() }
    return folder
  }()

  static var resources: URL { root.appendingPathComponent("App/Resources") }
  static var golden: URL { resources.appendingPathComponent("golden") }

  static func contract() throws -> Contract {
    try Contract(json: Data(contentsOf: resources.appendingPathComponent("contract.json")))
  }

  static func labels() throws -> Data {
    try Data(contentsOf: resources.appendingPathComponent("labels.txt"))
  }

  static func pack() throws -> GoldenPack {
    try GoldenPack(folder: golden, contract: contract())
  }
}
