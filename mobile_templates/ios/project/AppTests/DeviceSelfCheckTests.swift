import Foundation
import XCTest

@testable import ClassifierStarter

/// The self-check inside the app, on a simulator or a device: real decoding, real Core ML.
final class DeviceSelfCheckTests: XCTestCase {
  func testTheModelAgreesWithPyTorchOnThisDevice() async throws {
    let report = await Engine(try BundledModel()).selfCheck()
    let json = XCTAttachment(
      data: try report.json(), uniformTypeIdentifier: "public.json")
    json.name = "self-check.json"
    json.lifetime = .keepAlways
    add(json)
    XCTAssertEqual(report.allProblems, [])
    XCTAssertEqual(report.verdict, .pass)
    XCTAssertEqual(report.runs.map(\.computeUnits), [.cpuOnly, .all])
  }

  func testAGoldenPictureIsClassifiedAsByPyTorch() async throws {
    let bundled = try BundledModel()
    let pack = try GoldenPack(folder: bundled.goldenFolder, contract: bundled.contract)
    let photo = ClassifierModel.Photo.file(try pack.pictureFile(0))
    let (result, preview) = try await Engine(bundled).classify(photo, units: .cpuOnly)
    XCTAssertEqual(result.rows.first?.id, pack.top5[0][0])
    XCTAssertEqual(preview.image?.width, bundled.contract.preprocessing.width)
  }
}
