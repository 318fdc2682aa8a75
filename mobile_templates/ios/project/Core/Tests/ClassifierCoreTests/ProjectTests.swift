import Foundation
import XCTest

@testable import ClassifierCore

/// The parts of this project that came with the model: they belong together, and the preprocessing is exact for them.
final class ProjectTests: XCTestCase {
  func testModelFileIsTheOneThatWasProven() throws {
    let model = try ProjectFiles.contract().files.model
    let package = ProjectFiles.resources.appendingPathComponent(model.file)
    XCTAssertEqual(
      try Checksum.hex(ofFolder: package), model.sha256,
      "\(model.file) is not the file that the exporter proved")
  }

  func testLabelsAreThoseOfTheModel() throws {
    let contract = try ProjectFiles.contract()
    let labels = try Labels(text: ProjectFiles.labels(), contract: contract)
    XCTAssertEqual(labels.names.count, contract.numClasses)
  }

  func testGoldenPackIsComplete() throws {
    let contract = try ProjectFiles.contract()
    let pack = try ProjectFiles.pack()
    XCTAssertNotNil(pack.tolerances[contract.artifact])
    for index in pack.images.indices { _ = try pack.pictureFile(index) }
  }

  func testPreprocessingOfTheGoldenPackIsExact() throws {
    let pack = try ProjectFiles.pack()
    for (index, image) in pack.images.enumerated() {
      let picture = try XCTUnwrap(PNG.decode(pack.pictureFile(index)))
      XCTAssertEqual([picture.width, picture.height], [image.width, image.height])
      let crop = try Preprocess.crop(picture, pack.preprocessing)
      let difference = zip(crop, pack.pixels[index]).map { abs(Int($0) - Int($1)) }.max()
      XCTAssertEqual(crop.count, pack.pixels[index].count)
      XCTAssertEqual(difference, 0, "\(image.name) differs by up to \(difference ?? -1) levels")
    }
  }

  func testInputTensorFollowsTheContract() throws {
    let contract = try ProjectFiles.contract()
    let pixels = try ProjectFiles.pack().pixels[0]
    let tensor = ModelInput.tensor(pixels, contract.input)
    XCTAssertEqual(tensor.count, contract.input.shape.reduce(1, *))
    let (height, width) = (contract.preprocessing.height, contract.preprocessing.width)
    let (y, x) = (height / 3, width / 2)
    let channels = contract.input.scale.count
    for channel in 0..<channels {
      let colour = contract.input.colorOrder == .bgr ? 2 - channel : channel
      let sample = Float(pixels[(y * width + x) * 3 + colour])
      let expected = sample * contract.input.scale[channel] + contract.input.bias[channel]
      let place =
        contract.input.layout == .nchw
        ? (channel * height + y) * width + x : (y * width + x) * channels + channel
      XCTAssertEqual(tensor[place], expected, accuracy: 1e-5 * max(1, abs(expected)))
    }
  }
}
