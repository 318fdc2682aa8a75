import Foundation

/// Which input samples make each wanted output sample of a line, and their weights in 22-bit fixed point.
struct Taps {
  private static let fractionBits: Int32 = 22
  private static let one: Double = 4_194_304

  /// What is added before the shift, so that it rounds to nearest.
  static let half: Int32 = 1 << (fractionBits - 1)

  /// The first input sample of each output, and how many follow each other from it.
  let first: [Int]
  let count: [Int]
  /// Those of output `i` stand from `i * stride`.
  let weights: [Int32]
  let stride: Int
  /// One behind the last input sample that any output needs.
  let end: Int

  /// For a line of `from` samples resized to `to`, of which only `outputs` are wanted. The formulas run in 64-bit floating point.
  init(from: Int, to: Int, outputs: Range<Int>, _ interpolation: Contract.Interpolation) {
    let ratio = Double(from) / Double(to)
    let widened = max(ratio, 1)
    let support = interpolation.reach * widened
    let stride = Int(support.rounded(.up)) * 2 + 1
    var first: [Int] = []
    var count: [Int] = []
    var weights = [Int32](repeating: 0, count: outputs.count * stride)
    if interpolation == .nearest {
      // One sample each; its place is added up step by step, roundings included.
      var place = ratio * 0.5
      for output in 0..<outputs.upperBound {
        if output >= outputs.lowerBound {
          weights[first.count] = Int32(Taps.one)
          first.append(Int(place))
          count.append(1)
        }
        place += ratio
      }
    } else {
      for (place, output) in outputs.enumerated() {
        let centre = (Double(output) + 0.5) * ratio
        let low = max(Int(centre - support + 0.5), 0)
        let high = min(Int(centre + support + 0.5), from)
        let taps = (low..<high).map { (sample: Int) -> Double in
          let distance: Double = (Double(sample) - centre + 0.5) * (1 / widened)
          return interpolation.weight(at: distance)
        }
        let sum = taps.reduce(0, +)
        for (tap, value) in taps.enumerated() {
          let share: Double = sum == 0 ? value : value / sum
          let half: Double = share < 0 ? -0.5 : 0.5
          weights[place * stride + tap] = Int32(share * Taps.one + half)
        }
        first.append(low)
        count.append(high - low)
      }
    }
    self.first = first
    self.count = count
    self.weights = weights
    self.stride = stride
    end = zip(first, count).map(+).max() ?? 0
  }

  func weight(_ tap: Int, of output: Int) -> Int32 { weights[output * stride + tap] }

  /// A sum of weighted samples, back in 0..255: negative weights, and the roundings of all, bring some out of it.
  static func rounded(_ sum: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: min(max(sum >> fractionBits, 0), 255))
  }
}

extension Contract.Interpolation {
  /// How far the filter reaches to either side where nothing shrinks.
  fileprivate var reach: Double {
    switch self {
    case .nearest: return 0
    case .bilinear: return 1
    case .bicubic: return 2
    case .lanczos: return 3
    }
  }

  /// The filter's value, before all of an output are divided by their sum.
  fileprivate func weight(at distance: Double) -> Double {
    switch self {
    case .nearest: return 0
    case .bilinear: return max(0, 1 - abs(distance))
    case .bicubic: return Self.cubic(abs(distance))
    case .lanczos:
      return distance >= -3 && distance < 3 ? Self.sinc(distance) * Self.sinc(distance / 3) : 0
    }
  }

  private static func cubic(_ x: Double) -> Double {
    if x < 1 {
      let inner: Double = 1.5 * x - 2.5
      return inner * x * x + 1
    }
    if x < 2 {
      let inner: Double = (x - 5) * x + 8
      return (inner * x - 4) * -0.5
    }
    return 0
  }

  private static func sinc(_ x: Double) -> Double {
    x == 0 ? 1 : sin(x * Double.pi) / (x * Double.pi)
  }
}
