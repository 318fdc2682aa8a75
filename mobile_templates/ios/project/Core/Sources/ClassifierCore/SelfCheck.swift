import Foundation

/// Which of the device's processors may compute.
enum ComputeUnits: String, CaseIterable, Codable, Identifiable, Sendable {
  case all
  case cpuOnly
  case cpuAndGPU
  case cpuAndNeuralEngine

  var id: Self { self }

  var title: String {
    switch self {
    case .all: return "All (default)"
    case .cpuOnly: return "CPU only"
    case .cpuAndGPU: return "CPU and GPU"
    case .cpuAndNeuralEngine: return "CPU and Neural Engine"
    }
  }
}

/// What the self-check found: shown on the debug screen, shared as JSON.
struct SelfCheckReport: Codable, Equatable, Sendable {
  enum Verdict: String, Codable, Sendable {
    case pass = "PASS"
    case fail = "FAIL"
  }

  /// Preprocessing of one golden picture, from its PNG file on.
  struct Crop: Codable, Equatable, Sendable {
    var image: String
    /// In 8-bit levels; absent where the picture could not be decoded.
    var maxDifference: Int?
    var problem: String?
  }

  /// The model over all golden pictures.
  struct Run: Codable, Equatable, Sendable {
    var computeUnits: ComputeUnits
    var verdict: Verdict
    var comparisons: [Comparison]
    /// Median over the pictures.
    var milliseconds: Double?
    var problems: [String]
  }

  var schemaVersion = 1
  var verdict: Verdict
  var name: String
  var model: String
  var target: String
  var precision: String
  var modelSha256: String
  var goldenSha256: String
  var device: String
  var tolerance: Tolerance?
  var crops: [Crop]
  var runs: [Run]
  /// What kept the check from running at all.
  var problems: [String]

  /// The largest error of any run as a share of the peak, in comparison with the tolerance: one number to show.
  var worstErrorOfPeak: Double? {
    runs.flatMap(\.comparisons).map(\.errorOfPeak).max()
  }

  /// Every reason for a FAIL, in the order of the checks.
  var allProblems: [String] {
    problems + crops.compactMap { crop in crop.problem.map { "\(crop.image): \($0)" } }
      + runs.flatMap { run in run.problems.map { "\(run.computeUnits.title): \($0)" } }
  }

  func json() throws -> Data {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    // Not every number is finite where something is badly wrong, and just then the report is needed.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try encoder.encode(self)
  }
}

/// Repeats on this device what the exporter proved on the machine that made the project.
struct SelfCheck: Sendable {
  /// One answer of the model: a score per class in index order, and how long the model took.
  struct Answer: Sendable {
    var scores: [Float]
    var milliseconds: Double
  }

  var contract: Contract
  /// Decodes a PNG file the way the app decodes photographs.
  var decode: @Sendable (Data) throws -> Picture
  /// Runs the model on one crop.
  var predict: @Sendable (ComputeUnits, [UInt8]) async throws -> Answer

  /// Check the golden pack in `golden` and `labels`, then preprocessing, then the model on each of `units`. Never throws: what
  /// goes wrong is a FAIL that says so.
  func run(
    golden: URL, labels: Data, units: [ComputeUnits] = [.cpuOnly, .all], device: String
  ) async -> SelfCheckReport {
    var report = SelfCheckReport(
      verdict: .fail, name: contract.name, model: contract.model, target: contract.target,
      precision: contract.precision, modelSha256: contract.files.model.sha256,
      goldenSha256: contract.files.golden.sha256, device: device, crops: [], runs: [], problems: [])
    do {
      _ = try Labels(text: labels, contract: contract)
      let pack = try GoldenPack(folder: golden, contract: contract)
      guard let tolerance = pack.tolerances[contract.artifact] else {
        report.problems.append("golden.json has no tolerance for \(contract.artifact).")
        return report
      }
      report.tolerance = tolerance
      report.crops = pack.images.indices.map { crop($0, of: pack) }
      for choice in units {
        report.runs.append(await run(choice, Parity(pack: pack, tolerance: tolerance)))
      }
      // Nothing is proven by checks that did not take place.
      if !report.runs.isEmpty, report.allProblems.isEmpty { report.verdict = .pass }
    } catch {
      report.problems.append("\(error)")
    }
    return report
  }

  private func crop(_ index: Int, of pack: GoldenPack) -> SelfCheckReport.Crop {
    var result = SelfCheckReport.Crop(image: pack.images[index].name)
    do {
      let picture = try decode(try pack.pictureFile(index))
      let found = try Preprocess.crop(picture, contract.preprocessing)
      let difference =
        zip(found, pack.pixels[index]).map { (a: UInt8, b: UInt8) -> Int in
          abs(Int(a) - Int(b))
        }.max() ?? 0
      result.maxDifference = difference
      if difference != 0 {
        result.problem = "preprocessing differs by up to \(difference) of 255 levels"
      }
    } catch {
      result.problem = "\(error)"
    }
    return result
  }

  private func run(_ units: ComputeUnits, _ parity: Parity) async -> SelfCheckReport.Run {
    var result = SelfCheckReport.Run(
      computeUnits: units, verdict: .fail, comparisons: [], problems: [])
    do {
      var answers: [Answer] = []
      for pixels in parity.pack.pixels {
        answers.append(try await predict(units, pixels))
      }
      let negative = try await predict(units, parity.pack.pixels[0].map { 255 - $0 })
      result.milliseconds = answers.map(\.milliseconds).sorted()[answers.count / 2]
      result.comparisons = parity.judge(answers.map(\.scores), kind: contract.output.kind)
      result.problems = result.comparisons.flatMap(\.problems)
      if negative.scores == answers[0].scores {
        result.problems.append(
          "a picture and its negative have the same scores: the input is ignored")
      }
      if result.problems.isEmpty { result.verdict = .pass }
    } catch {
      result.problems.append("\(error)")
    }
    return result
  }
}
