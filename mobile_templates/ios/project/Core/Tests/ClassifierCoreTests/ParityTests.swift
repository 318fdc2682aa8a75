import Foundation
import XCTest

@testable import ClassifierCore

/// The numbers of the judgement, where they are known beforehand.
final class ParityTests: XCTestCase {
  private func parity() throws -> Parity {
    let pack = try ProjectFiles.pack()
    return Parity(
      pack: pack,
      tolerance: Tolerance(
        precision: "fp32", maxErrorOfPeak: 0.02, minSnrDb: 30, minCentredSnrDb: 30,
        probabilityFloor: nil, reason: "as in the test"))
  }

  func testOnePercentIsFortyDecibels() throws {
    let parity = try parity()
    let scores = parity.pack.logits.map { $0.map { $0 * 1.01 } }
    let found = parity.judge(scores, kind: .logits)[0]
    XCTAssertEqual(found.errorOfPeak, 0.01, accuracy: 1e-5)
    XCTAssertEqual(try XCTUnwrap(found.snrDb), 40, accuracy: 0.01)
    XCTAssertEqual(try XCTUnwrap(found.centredSnrDb), 40, accuracy: 0.01)
    XCTAssertEqual(found.problems, [])
    XCTAssertEqual(found.top1Agreements, parity.pack.images.count)
  }

  func testACommonOffsetIsAnErrorOfLogitsButNotOfDecisions() throws {
    let parity = try parity()
    let peak = try XCTUnwrap(parity.pack.logits.joined().map(abs).max())
    let scores = parity.pack.logits.map { $0.map { $0 + peak } }
    let found = parity.judge(scores, kind: .logits)[0]
    XCTAssertEqual(found.errorOfPeak, 1, accuracy: 1e-5)
    XCTAssertGreaterThan(found.centredSnrDb ?? .infinity, 80)
    XCTAssertFalse(found.problems.isEmpty)
    let activation = parity.pack.activation
    let shifted = scores.map { TopK.probabilities($0, activation) }
    let behind = parity.judge(shifted, kind: .probabilities)
    if activation == .sigmoid {  // has no normaliser that would take an offset away
      XCTAssertEqual(behind.map(\.observed), ["probabilities", "log-odds"])
      XCTAssertFalse(behind.flatMap(\.problems).isEmpty)
    } else {
      XCTAssertEqual(behind.map(\.observed), ["probabilities", "log-probabilities"])
      XCTAssertEqual(behind.flatMap(\.problems), [])
    }
    let right = parity.pack.logits.map { TopK.probabilities($0, activation) }
    XCTAssertEqual(parity.judge(right, kind: .probabilities).flatMap(\.problems), [])
  }

  func testIdenticalScoresHaveNoErrorAndNoDecibels() throws {
    let parity = try parity()
    let found = parity.judge(parity.pack.logits, kind: .logits)[0]
    XCTAssertEqual(found.maxAbsError, 0)
    XCTAssertNil(found.snrDb)
    XCTAssertEqual(found.problems, [])
  }

  func testOfFewClassesTheProbabilitiesAreJudgedAlsoBehindLogits() throws {
    let pack = try ProjectFiles.pack()
    let shifted = pack.logits.map { row in row.enumerated().map { $1 + ($0 == 0 ? 1 : 0) } }
    // As the judge computes it, in Double: a class of which nothing is left moves less than Float can tell.
    let moved = zip(pack.probabilities, shifted).map { before, logits in
      let after = Parity.logProbabilities(logits.map(Double.init), pack.activation).map(exp)
      return zip(before, after).map { abs(Double($0) - $1) }.max() ?? 0
    }
    let largest = try XCTUnwrap(moved.max())
    func problems(_ limit: Double) -> [[String]] {
      let parity = Parity(
        pack: pack,
        tolerance: Tolerance(
          precision: "int8", maxErrorOfPeak: 1e6, minSnrDb: -200, minCentredSnrDb: -200,
          probabilityFloor: nil, maxProbabilityError: limit, reason: "as in the test"))
      return parity.judge(shifted, kind: .logits).map(\.problems)
    }
    XCTAssertEqual(problems(largest * 1.01), [[], []])
    XCTAssertEqual(problems(largest * 0.99)[0], [])
    XCTAssertFalse(problems(largest * 0.99)[1].isEmpty)
  }

  func testMissingScoresAreAProblem() throws {
    let parity = try parity()
    XCTAssertFalse(parity.judge([], kind: .logits)[0].problems.isEmpty)
    let short = parity.pack.logits.map { Array($0.dropLast()) }
    XCTAssertFalse(parity.judge(short, kind: .logits)[0].problems.isEmpty)
  }
}
