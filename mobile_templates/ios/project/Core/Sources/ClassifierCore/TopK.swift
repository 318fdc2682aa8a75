import Foundation

/// One class and its probability.
struct Candidate: Equatable, Sendable {
  var index: Int
  var probability: Float
}

enum TopK {
  /// The indices of the `count` largest scores, best first; of equal scores the lower index comes first.
  static func indices(_ scores: [Float], count: Int) -> [Int] {
    var best: [Int] = []
    for index in scores.indices {
      // Behind every score that is at least as large.
      var place = best.count
      while place > 0, scores[best[place - 1]] < scores[index] { place -= 1 }
      if place < count {
        best.insert(index, at: place)
        if best.count > count { best.removeLast() }
      }
    }
    return best
  }

  static func candidates(_ probabilities: [Float], count: Int) -> [Candidate] {
    indices(probabilities, count: count).map {
      Candidate(index: $0, probability: probabilities[$0])
    }
  }

  /// What the activation makes of logits, computed in 64 bits.
  static func probabilities(_ logits: [Float], _ activation: Contract.Activation) -> [Float] {
    switch activation {
    case .softmax: return softmax(logits)
    case .sigmoid: return logits.map { Float(1 / (1 + exp(-Double($0)))) }
    }
  }

  /// `exp(l - max) / sum(exp(l - max))`, computed in 64 bits.
  static func softmax(_ logits: [Float]) -> [Float] {
    guard let largest = logits.max() else { return [] }
    let powers = logits.map { exp(Double($0) - Double(largest)) }
    let sum = powers.reduce(0, +)
    return powers.map { Float($0 / sum) }
  }
}
