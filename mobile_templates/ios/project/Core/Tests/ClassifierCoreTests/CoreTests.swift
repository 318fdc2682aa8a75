import Foundation
import XCTest

@testable import ClassifierCore

/// What does not depend on the model.
final class CoreTests: XCTestCase {
  func testTopKOrdersByScoreThenIndex() {
    XCTAssertEqual(TopK.indices([1, 3, 2, 3, 0], count: 3), [1, 3, 2])
    XCTAssertEqual(TopK.indices([1, 1, 1], count: 5), [0, 1, 2])
    XCTAssertEqual(TopK.indices([], count: 5), [])
  }

  func testSoftmaxOfLargeLogitsIsFinite() {
    let probabilities = TopK.softmax([1000, 999, -1000])
    XCTAssertEqual(probabilities[0], 0.731_058_6, accuracy: 1e-6)
    XCTAssertEqual(probabilities.reduce(0, +), 1, accuracy: 1e-6)
  }

  func testOnlyLineFeedsEndLabels() {
    XCTAssertEqual(
      Labels(text: Data("a\u{2028}b\nc\r\n\u{e9}\n".utf8)).names, ["a\u{2028}b", "c\r", "\u{e9}"])
  }

  func testLabelsThatDifferInTheirBytesOnlyAreTwo() throws {
    let labels = Labels(text: Data("\u{e9}\ne\u{301}\n".utf8))
    XCTAssertEqual(try labels.ordered([("e\u{301}", 2), ("\u{e9}", 1)]), [1, 2])
    XCTAssertThrowsError(try labels.ordered([("\u{e9}", 1), ("x", 2)]))
    XCTAssertThrowsError(try labels.ordered([("\u{e9}", 1)]))
  }

  func testChecksumsArePublishedOnes() {
    let vectors = [
      ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
      ),
    ]
    for (message, digest) in vectors {
      XCTAssertEqual(Checksum.hex(of: Data(message.utf8)), digest)
      let portable = PortableSHA256.digest(Array(message.utf8))
      XCTAssertEqual(portable.map { String(format: "%02x", $0) }.joined(), digest)
    }
  }

  func testCropOffsetsRoundHalfToEven() {
    XCTAssertEqual(
      [0, 1, 2, 3, 5, 7, 117, 551].map(Preprocess.halfToEven), [0, 0, 1, 2, 2, 4, 58, 276])
  }

  func testResizedSizesAreWholeNumbers() {
    var spec = Contract.Preprocessing(resize: 256, height: 224, width: 224)
    XCTAssertTrue(spec.resized(width: 500, height: 375) == (341, 256))
    XCTAssertTrue(spec.resized(width: 375, height: 500) == (256, 341))
    XCTAssertTrue(spec.resized(width: 7, height: 7) == (256, 256))
    spec.mode = .squash
    XCTAssertTrue(spec.resized(width: 500, height: 375) == (256, 256))
    spec.mode = .pad
    XCTAssertTrue(spec.resized(width: 500, height: 375) == (256, 192))
    XCTAssertTrue(spec.resized(width: 1, height: 900) == (1, 256))
    XCTAssertTrue(spec.resized(width: 512, height: 5) == (256, 2))  // 2.5
  }

  func testEveryWayToResizeIsRead() throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    func read(_ more: String) throws -> Contract.Preprocessing {
      let text = "{\"resize\": 48, \"height\": 40, \"width\": 40\(more)}"
      return try decoder.decode(Contract.Preprocessing.self, from: Data(text.utf8))
    }
    XCTAssertEqual(try read(""), Contract.Preprocessing(resize: 48, height: 40, width: 40))
    var expected = Contract.Preprocessing(resize: 48, height: 40, width: 40)
    expected.mode = .pad
    expected.interpolation = .lanczos
    expected.resizeWidth = 64
    expected.padColor = [1, 2, 255]
    expected.gray = true
    let more =
      ", \"resize_mode\": \"pad\", \"interpolation\": \"lanczos\", \"resize_width\": 64"
      + ", \"pad_color\": [1, 2, 255], \"color_order\": \"GRAY\""
    XCTAssertEqual(try read(more), expected)
    XCTAssertThrowsError(try read(", \"interpolation\": \"box\"")) { error in
      let known = "nearest, bilinear, bicubic, lanczos"
      XCTAssertEqual("\(error)", "interpolation is box; this app knows \(known).")
    }
  }

  func testGreyIsTheFormulaOfItsStandard() {
    var row: [UInt8] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 123, 123, 123]
    row.withUnsafeMutableBufferPointer { Preprocess.makeGray($0) }
    XCTAssertEqual(row, [76, 150, 29, 123].flatMap { [UInt8](repeating: $0, count: 3) })
  }

  func testLargePicturesAreDecodedSmaller() {
    let sizes = [(0, 0), (8064, 6048), (12000, 9000), (24000, 18000), (60000, 60000)]
    XCTAssertEqual(sizes.map(Picture.subsampling), [1, 1, 2, 4, 8])
  }

  func testErrorsAreToldInTheirOwnWords() {
    let error: any Error = ContractError("The model has no output.")
    XCTAssertEqual(error.localizedDescription, "The model has no output.")
  }

  func testACropLargerThanThePictureIsRefused() throws {
    let picture = try XCTUnwrap(
      Picture(width: 2, height: 2, bytesPerRow: 2, format: .grey, samples: [1, 2, 3, 4]))
    let spec = Contract.Preprocessing(resize: 4, height: 5, width: 4)
    XCTAssertThrowsError(try Preprocess.crop(picture, spec))
  }

  func testPicturesWithoutEnoughSamplesAreRefused() {
    XCTAssertNil(Picture(width: 2, height: 2, bytesPerRow: 2, format: .grey, samples: [1, 2, 3]))
    XCTAssertNil(Picture(width: 0, height: 2, bytesPerRow: 2, format: .grey, samples: [1, 2, 3]))
    XCTAssertNil(Picture(width: 2, height: 1, bytesPerRow: 2, format: .rgb, samples: [1, 2, 3]))
  }

  func testOrientationsTurnAsEXIFSays() throws {
    // 1 2 3
    // 4 5 6   as stored
    let expected: [Orientation: [[UInt8]]] = [
      .up: [[1, 2, 3], [4, 5, 6]],
      .upMirrored: [[3, 2, 1], [6, 5, 4]],
      .down: [[6, 5, 4], [3, 2, 1]],
      .downMirrored: [[4, 5, 6], [1, 2, 3]],
      .leftMirrored: [[1, 4], [2, 5], [3, 6]],
      .right: [[4, 1], [5, 2], [6, 3]],
      .rightMirrored: [[6, 3], [5, 2], [4, 1]],
      .left: [[3, 6], [2, 5], [1, 4]],
    ]
    for orientation in Orientation.allCases {
      let picture = try XCTUnwrap(
        Picture(
          width: 3, height: 2, bytesPerRow: 3, format: .grey, samples: [1, 2, 3, 4, 5, 6],
          orientation: orientation))
      let rows = (0..<picture.height).map { y -> [UInt8] in
        var row = [UInt8](repeating: 0, count: picture.width * 3)
        row.withUnsafeMutableBufferPointer { picture.readRow(y, into: $0) }
        return stride(from: 0, to: row.count, by: 3).map { row[$0] }
      }
      XCTAssertEqual(rows, expected[orientation], "\(orientation)")
    }
  }

  func testPictureInputsAreBlueGreenRedOpaque() {
    XCTAssertEqual(ModelInput.bgra([1, 2, 3, 4, 5, 6]), [3, 2, 1, 255, 6, 5, 4, 255])
  }

  func testGreyPictureInputsHaveOneByteAPixel() {
    XCTAssertEqual(ModelInput.gray([7, 7, 7, 9, 9, 9]), [7, 9])
  }

  func testTensorsFollowLayoutAndOrder() {
    var input = Contract.Input(
      name: "image", shape: [1, 3, 1, 2], dtype: "float32", layout: .nchw, colorOrder: .bgr,
      scale: [1, 2, 4], bias: [0.5, 0, -1])
    XCTAssertEqual(ModelInput.tensor([1, 2, 3, 4, 5, 6], input), [3.5, 6.5, 4, 10, 3, 15])
    input.layout = .nhwc
    input.colorOrder = .rgb
    XCTAssertEqual(ModelInput.tensor([1, 2, 3, 4, 5, 6], input), [1.5, 4, 11, 4.5, 10, 23])
    input.colorOrder = .gray
    input.scale = [2]
    input.bias = [-1]
    XCTAssertEqual(ModelInput.tensor([7, 7, 7, 9, 9, 9], input), [13, 17])
  }
}
