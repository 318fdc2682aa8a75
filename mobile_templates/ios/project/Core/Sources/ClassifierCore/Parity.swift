import Foundation

/// The bar that the artifact must clear, from golden.json.
struct Tolerance: Codable, Equatable, Sendable {
  var precision: String
  /// The largest absolute error of any logit, as a share of the largest absolute reference logit.
  var maxErrorOfPeak: Double
  var minSnrDb: Double
  var minCentredSnrDb: Double
  /// Smaller probabilities have too few digits left to be compared by their logarithm.
  var probabilityFloor: Double?
  /// Of few classes, the largest error of any probability; absent where only the others judge.
  var maxProbabilityError: Double?
  var reason: String
}

/// One quantity as the reference and as this device computed it, over all golden pictures.
struct Comparison: Codable, Equatable, Sendable {
  /// "logits", "probabilities", "log-probabilities" or "log-odds".
  var observed: String
  var maxAbsError: Double
  var worstImage: String
  /// The largest error as a share of what the tolerance's 1.0 would allow; to be held against `maxErrorOfPeak`.
  var errorOfPeak: Double
  /// In dB; absent where the numbers are identical, and for probabilities, which are nearly all zero.
  var snrDb: Double?
  var centredSnrDb: Double?
  /// How many pictures have the reference's best class, and how many differ by less than the error.
  var top1Agreements: Int
  var top1Ties: Int
  var problems: [String]
}

/// Judges scores against the golden pack by the rules that the exporter applied to the same file.
///
/// One allowed logit error E = `maxErrorOfPeak` * largest absolute reference logit rules everything: logits may differ by E,
/// log-probabilities by 2 E (the normaliser may move against the logit), probabilities by min(1/2, 2 p) E, p the largest
/// reference probability. SNRs are of logits or log-probabilities. Of few classes the tolerance gives the largest probability
/// error itself, also where the model gives logits, and the best class is judged there: it may be another where the reference
/// prefers its own by less than twice that, since both may move. Behind a sigmoid log-odds may differ by E, probabilities by E / 4;
/// a single score decides between yes and no.
struct Parity {
  let pack: GoldenPack
  let tolerance: Tolerance

  /// `scores`: per golden picture a score per class, of the kind the model gives.
  func judge(_ scores: [[Float]], kind: Contract.OutputKind) -> [Comparison] {
    let target = scores.map { $0.map(Double.init) }
    let logits = pack.logits.map { $0.map(Double.init) }
    let peak = logits.joined().map(abs).max() ?? 0
    let reference = pack.probabilities.map { $0.map(Double.init) }
    let few = tolerance.maxProbabilityError
    switch kind {
    case .logits:
      let judged = compare("logits", logits, target, scale: peak, judgesSNR: true)
      guard few != nil else { return [judged] }
      let softened = target.map { Self.logProbabilities($0, pack.activation).map(exp) }
      return [
        judged,
        compare(
          "probabilities", reference, softened, scale: 1, judgesSNR: false, limit: few,
          threshold: 0.5),
      ]
    case .probabilities where pack.activation == .sigmoid:
      let floor = tolerance.probabilityFloor ?? Double(Float.leastNormalMagnitude)
      let highest = -log(max(floor, Self.ulp))
      let expected = logits.map { $0.map { min(max($0, log(floor)), highest) } }
      return [
        compare(
          "probabilities", reference, target, scale: peak / 4, judgesSNR: false, limit: few,
          threshold: 0.5),
        compare(
          "log-odds", expected, Self.logOdds(expected, target, floor), scale: peak,
          judgesSNR: true),
      ]
    case .probabilities:
      let likeliest = reference.joined().max() ?? 0
      let floor = tolerance.probabilityFloor ?? Double(Float.leastNormalMagnitude)
      return [
        compare(
          "probabilities", reference, target, scale: min(0.5, 2 * likeliest) * peak,
          judgesSNR: false, limit: few),
        compare(
          "log-probabilities",
          logits.map { Self.logProbabilities($0, pack.activation).map { max($0, log(floor)) } },
          target.map { $0.map { log(max($0, floor)) } },
          scale: 2 * peak, judgesSNR: true),
      ]
    }
  }

  private func compare(
    _ observed: String, _ reference: [[Double]], _ target: [[Double]], scale: Double,
    judgesSNR: Bool, limit: Double? = nil, threshold: Double = 0
  ) -> Comparison {
    let names = pack.images.map(\.name)
    var result = Comparison(
      observed: observed, maxAbsError: .infinity, worstImage: names[0], errorOfPeak: .infinity,
      top1Agreements: 0, top1Ties: 0, problems: [])
    // Every difference with NaN would compare as "not larger": such numbers are named before anything is compared.
    for (index, row) in target.enumerated() where !row.allSatisfy(\.isFinite) {
      result.problems.append("\(names[index]): NaN or infinite \(observed)")
      return result
    }
    guard target.map(\.count) == reference.map(\.count) else {
      result.problems.append("\(observed): not one row of scores per picture")
      return result
    }
    let errors = zip(reference, target).map { zip($0, $1).map { $1 - $0 } }
    let worst = errors.map { $0.map(abs).max() ?? 0 }
    let largest = worst.max() ?? 0
    result.maxAbsError = largest
    result.worstImage = names[worst.firstIndex(of: largest) ?? 0]
    // Where a limit of its own stands, no share of the peak is told: there is none that would have to be larger.
    result.errorOfPeak = largest == 0 || limit != nil ? 0 : largest / scale
    if let limit, largest > limit {
      result.problems.append(
        "\(observed): the error \(Self.short(largest)) (\(result.worstImage)) exceeds "
          + "\(Self.short(limit)), which is what few classes may differ by")
    } else if result.errorOfPeak > tolerance.maxErrorOfPeak {
      result.problems.append(
        "\(observed): the error \(Self.short(largest)) (\(result.worstImage)) exceeds the tolerance; "
          + "\(Self.short(result.errorOfPeak)) of the peak would have passed, "
          + "\(Self.short(tolerance.maxErrorOfPeak)) is allowed")
    }
    if judgesSNR {
      let centred = Self.decibels(reference.map(Self.centred), errors.map(Self.centred))
      let plain = Self.decibels(reference, errors)
      result.snrDb = plain
      result.centredSnrDb = centred
      for (what, found, bar) in [
        ("SNR", plain, tolerance.minSnrDb), ("centred SNR", centred, tolerance.minCentredSnrDb),
      ] {
        if let found, found < bar {
          result.problems.append(
            "\(observed): \(what) \(Self.short(found)) dB is below \(Self.short(bar)) dB")
        }
      }
    }
    let own = zip(worst, reference).map { $1.count == 1 ? $0 / 2 : $0 }
    let ties = limit.map { limit in worst.map { _ in 2 * limit } } ?? own
    let flipsCount = judgesSNR == (tolerance.maxProbabilityError == nil)
    // A single score has no rival: no and yes, half of what it exceeds the threshold by to either side.
    func decided(_ rows: [[Double]]) -> [[Double]] {
      rows.map { $0.count == 1 ? [(threshold - $0[0]) / 2, ($0[0] - threshold) / 2] : $0 }
    }
    judgeTop1(decided(reference), decided(target), ties, names, flipsCount: flipsCount, &result)
    return result
  }

  /// Another best class is a tie where the reference prefers its own by less than `ties`: the error on that picture, or twice the limit.
  private func judgeTop1(
    _ reference: [[Double]], _ target: [[Double]], _ ties: [Double], _ names: [String],
    flipsCount: Bool, _ result: inout Comparison
  ) {
    for (index, row) in reference.enumerated() {
      let own = Self.best(row)
      let other = Self.best(target[index])
      if own == other {
        result.top1Agreements += 1
      } else if row[own] - row[other] < ties[index] {
        result.top1Ties += 1
      } else if flipsCount {
        result.problems.append(
          "\(result.observed): \(names[index]) has another best class by more than the error")
      }
    }
  }

  private static func best(_ row: [Double]) -> Int {
    row.indices.reduce(0) { row[$1] > row[$0] ? $1 : $0 }
  }

  /// From 1 to the float below it, and to how many of them a runtime's sigmoid is exact.
  private static let ulp = Double(Float.ulpOfOne) / 2
  private static let ulps = 4.0

  /// The logits behind independent probabilities; what a float near 1 cannot tell apart is no error.
  private static func logOdds(
    _ expected: [[Double]], _ target: [[Double]], _ floor: Double
  ) -> [[Double]] {
    let highest = -log(max(floor, ulp))
    guard target.map(\.count) == expected.map(\.count) else { return target }
    return zip(expected, target).map { row, found in
      zip(row, found).map { reference, probability in
        guard probability.isFinite else { return probability }
        let chance = min(max(probability, floor), 1 - ulp)
        let odds = min(max(log(chance) - log1p(-chance), log(floor)), highest)
        let left = max(abs(odds - reference) - ulps * ulp / (1 - chance), 0)
        return odds < reference ? reference - left : reference + left
      }
    }
  }

  static func logProbabilities(
    _ logits: [Double], _ activation: Contract.Activation
  ) -> [Double] {
    if activation == .sigmoid { return logits.map { min($0, 0) - log1p(exp(-abs($0))) } }
    let largest = logits.max() ?? 0
    let normaliser = log(logits.map { exp($0 - largest) }.reduce(0, +))
    return logits.map { $0 - largest - normaliser }
  }

  private static func centred(_ row: [Double]) -> [Double] {
    let mean = row.reduce(0, +) / Double(row.count)
    return row.map { $0 - mean }
  }

  /// `nil` where there is no error; minus infinity where there is no signal.
  private static func decibels(_ signal: [[Double]], _ noise: [[Double]]) -> Double? {
    func power(_ rows: [[Double]]) -> Double { rows.joined().map { $0 * $0 }.reduce(0, +) }
    let lost = power(noise)
    return lost == 0 ? nil : 10 * log10(power(signal) / lost)
  }

  /// Four digits, for people.
  static func short(_ value: Double) -> String {
    String(format: "%.4g", value)
  }
}
