import Foundation
import XCTest

@testable import ClassifierCore

/// The self-check with a model that answers from the golden pack: it passes what is right and fails what is wrong.
final class SelfCheckTests: XCTestCase {
  private func report(
    units: [ComputeUnits] = [.cpuOnly, .all],
    changing labels: (inout Data) -> Void = { _ in },
    decode: @escaping @Sendable (Data) throws -> Picture = { try XCTUnwrap(PNG.decode($0)) },
    answer: @escaping @Sendable (ComputeUnits, [Float]) -> [Float] = { _, scores in scores }
  ) async throws -> SelfCheckReport {
    let contract = try ProjectFiles.contract()
    let pack = try ProjectFiles.pack()
    let scores = contract.output.kind == .logits ? pack.logits : pack.probabilities
    let known = Dictionary(zip(pack.pixels, scores), uniquingKeysWith: { first, _ in first })
    var text = try ProjectFiles.labels()
    labels(&text)
    let check = SelfCheck(contract: contract, decode: decode) { units, pixels in
      // Pictures that are not in the pack get a flat answer.
      let flat = [Float](repeating: 1 / Float(contract.numClasses), count: contract.numClasses)
      return SelfCheck.Answer(scores: answer(units, known[pixels] ?? flat), milliseconds: 1)
    }
    return await check.run(
      golden: ProjectFiles.golden, labels: text, units: units, device: "test")
  }

  func testRightAnswersPass() async throws {
    let report = try await report()
    XCTAssertEqual(report.allProblems, [])
    XCTAssertEqual(report.verdict, .pass)
    XCTAssertEqual(report.runs.map(\.computeUnits), [.cpuOnly, .all])
    XCTAssertEqual(report.runs.map(\.verdict), [.pass, .pass])
    XCTAssertTrue(report.crops.allSatisfy { $0.maxDifference == 0 })
    XCTAssertLessThan(try XCTUnwrap(report.worstErrorOfPeak), 1e-5)
  }

  func testOneWrongUnitFails() async throws {
    let report = try await report(answer: { units, scores in
      units == .all ? scores.map { $0 * 0.9 } : scores
    })
    XCTAssertEqual(report.verdict, .fail)
    XCTAssertEqual(report.runs.map(\.verdict), [.pass, .fail])
  }

  func testSwappedClassesFail() async throws {
    let classes = try ProjectFiles.contract().numClasses
    try XCTSkipIf(classes == 1, "a single score has no other to change with")
    let reversed = try await report(answer: { _, scores in scores.reversed() })
    XCTAssertEqual(reversed.verdict, .fail)
    // The two best change places by less than what lies between them: no error would excuse that.
    let report = try await report(answer: { _, scores in
      var changed = scores
      let best = TopK.indices(scores, count: 2)
      let (first, second) = (scores[best[0]], scores[best[1]])
      changed[best[0]] = 0.4 * first + 0.6 * second
      changed[best[1]] = 0.6 * first + 0.4 * second
      return changed
    })
    XCTAssertEqual(report.verdict, .fail)
    XCTAssertTrue(report.allProblems.contains { $0.contains("another best class") })
  }

  func testNotANumberFails() async throws {
    let report = try await report(answer: { _, scores in scores.map { _ in .nan } })
    XCTAssertEqual(report.verdict, .fail)
    XCTAssertTrue(report.allProblems.contains { $0.contains("NaN") })
    XCTAssertNoThrow(try report.json())
  }

  func testAnIgnoredInputFails() async throws {
    let report = try await report(answer: { _, scores in
      scores.indices.map { $0 == 0 ? 1 : 0 }
    })
    XCTAssertTrue(report.allProblems.contains { $0.contains("the input is ignored") })
    XCTAssertEqual(report.verdict, .fail)
  }

  func testOneWrongSampleOfThePreprocessingFails() async throws {
    let report = try await report(decode: { data in
      let picture = try XCTUnwrap(PNG.decode(data))
      // Mirrored, as an app that ignores the orientation would see it.
      var row = [UInt8](repeating: 0, count: picture.width * 3)
      var samples: [UInt8] = []
      for y in (0..<picture.height).reversed() {
        row.withUnsafeMutableBufferPointer { picture.readRow(y, into: $0) }
        samples += row
      }
      return try XCTUnwrap(
        Picture(
          width: picture.width, height: picture.height, bytesPerRow: picture.width * 3,
          format: .rgb, samples: samples))
    })
    XCTAssertEqual(report.verdict, .fail)
    XCTAssertTrue(report.allProblems.contains { $0.contains("preprocessing differs") })
  }

  func testAnotherLabelFails() async throws {
    let report = try await report(changing: { $0[$0.startIndex] ^= 1 })
    XCTAssertEqual(report.verdict, .fail)
    XCTAssertTrue(report.allProblems.contains { $0.contains("labels.txt") })
  }

  func testNoRunsProveNothing() async throws {
    let verdict = try await report(units: []).verdict
    XCTAssertEqual(verdict, .fail)
  }

  func testTheReportIsJSON() async throws {
    let report = try await report()
    let object = try XCTUnwrap(
      JSONSerialization.jsonObject(with: report.json()) as? [String: Any])
    XCTAssertEqual(object["verdict"] as? String, "PASS")
    XCTAssertEqual((object["runs"] as? [Any])?.count, 2)
    XCTAssertEqual(object["schema_version"] as? Int, 1)
  }
}
