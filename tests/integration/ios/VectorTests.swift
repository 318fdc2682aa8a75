import Foundation
import XCTest

@testable import ClassifierCore

/// Pictures that the Python tests made, with what Pillow makes of them; the Python tests put this file beside the package's own.
final class VectorTests: XCTestCase {
  private struct Vector: Decodable {
    var name: String
    var format: String
    var width: Int
    var height: Int
    var orientation: Int
    var samples: String
    var preprocessing: Contract.Preprocessing
    var expected: String
  }

  func testPreprocessingEqualsPillow() throws {
    let named = try XCTUnwrap(ProcessInfo.processInfo.environment["STARTER_VECTORS"])
    let folder = URL(fileURLWithPath: named)
    let list = try Data(contentsOf: folder.appendingPathComponent("vectors.json"))
    let vectors = try JSONDecoder().decode([Vector].self, from: list)
    for vector in vectors {
      let formats: [String: Picture.Format] = [
        "grey": .grey, "rgb": .rgb, "rgbx": .rgbx, "rgba": .rgba,
      ]
      let format = try XCTUnwrap(formats[vector.format])
      let samples = try Data(contentsOf: folder.appendingPathComponent(vector.samples))
      let expected = try Data(contentsOf: folder.appendingPathComponent(vector.expected))
      let picture = try XCTUnwrap(
        Picture(
          width: vector.width, height: vector.height,
          bytesPerRow: vector.width * format.bytesPerPixel, format: format,
          samples: [UInt8](samples),
          orientation: try XCTUnwrap(Orientation(rawValue: vector.orientation))))
      let clock = ContinuousClock()
      let start = clock.now
      let crop = try Preprocess.crop(picture, vector.preprocessing)
      let time = clock.now - start
      XCTAssertEqual(crop.count, expected.count)
      let difference = zip(crop, expected).map { (a: UInt8, b: UInt8) -> Int in
        abs(Int(a) - Int(b))
      }.max()
      XCTAssertEqual(difference, 0, "\(vector.name) differs from Pillow")
      print("VECTOR \(vector.name) difference \(difference ?? -1) time \(time)")
    }
    XCTAssertGreaterThanOrEqual(vectors.count, 12)
  }

  /// Folder `hard`: pictures/NAME.samples with their sizes in pictures.json, specs/WAY.json, expected/WAY/NAME.bin.
  func testEveryWayToResizeEqualsPillow() throws {
    let named = try XCTUnwrap(ProcessInfo.processInfo.environment["STARTER_VECTORS"])
    let hard = URL(fileURLWithPath: named).appendingPathComponent("hard")
    func file(_ name: String) throws -> Data {
      try Data(contentsOf: hard.appendingPathComponent(name))
    }
    let sizes = try JSONDecoder().decode([String: [Int]].self, from: file("pictures.json"))
    var pictures: [String: Picture] = [:]
    for (name, size) in sizes {
      pictures[name] = try XCTUnwrap(
        Picture(
          width: size[0], height: size[1], bytesPerRow: size[0] * 3, format: .rgb,
          samples: [UInt8](file("pictures/\(name).samples"))))
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let ways = try FileManager.default.contentsOfDirectory(
      at: hard.appendingPathComponent("specs"), includingPropertiesForKeys: nil)
    for way in ways {
      let name = way.deletingPathExtension().lastPathComponent
      let spec = try decoder.decode(Contract.Preprocessing.self, from: Data(contentsOf: way))
      var worst = 0
      for (called, picture) in pictures {
        let expected = try file("expected/\(name)/\(called).bin")
        let crop = try Preprocess.crop(picture, spec)
        XCTAssertEqual(crop.count, expected.count)
        let difference = zip(crop, expected).map { abs(Int($0) - Int($1)) }.max() ?? -1
        XCTAssertEqual(difference, 0, "\(called) as \(name) differs from Pillow")
        worst = max(worst, difference)
      }
      print("WAY \(name) difference \(worst)")
    }
    XCTAssertGreaterThanOrEqual(pictures.count, 16)
    XCTAssertGreaterThanOrEqual(ways.count, 32)
  }
}
