import Foundation

@testable import ClassifierCore

/// Reads the PNG files of a golden pack (8 bits, red green blue, not interlaced) on systems without an image library.
enum PNG {
  /// `nil` for everything that is not such a file. Checksums inside are not looked at: the golden pack has its own.
  static func decode(_ file: Data) -> Picture? {
    let bytes = [UInt8](file)
    guard bytes.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) else { return nil }
    var width = 0
    var height = 0
    var packed: [UInt8] = []
    var at = 8
    while at + 12 <= bytes.count {
      let length = bigEndian(bytes, at)
      let body = at + 8
      guard body + length + 4 <= bytes.count else { return nil }
      switch String(decoding: bytes[(at + 4)..<body], as: UTF8.self) {
      case "IHDR":
        width = bigEndian(bytes, body)
        height = bigEndian(bytes, body + 4)
        guard Array(bytes[(body + 8)..<(body + 13)]) == [8, 2, 0, 0, 0] else { return nil }
      case "IDAT": packed += bytes[body..<(body + length)]
      default: break
      }
      at = body + length + 4
    }
    guard width > 0, height > 0, packed.count > 6 else { return nil }
    var inflater = Inflater(input: packed, start: 2)
    guard var lines = inflater.inflate(), lines.count == height * (width * 3 + 1) else {
      return nil
    }
    guard let samples = unfilter(&lines, width: width, height: height) else { return nil }
    return Picture(
      width: width, height: height, bytesPerRow: width * 3, format: .rgb, samples: samples)
  }

  private static func bigEndian(_ bytes: [UInt8], _ at: Int) -> Int {
    bytes[at..<(at + 4)].reduce(0) { $0 << 8 | Int($1) }
  }

  private static func unfilter(_ lines: inout [UInt8], width: Int, height: Int) -> [UInt8]? {
    let length = width * 3
    var samples = [UInt8](repeating: 0, count: length * height)
    for y in 0..<height {
      let filter = lines[y * (length + 1)]
      guard filter <= 4 else { return nil }
      for x in 0..<length {
        let left = x >= 3 ? Int(samples[y * length + x - 3]) : 0
        let above = y > 0 ? Int(samples[(y - 1) * length + x]) : 0
        let corner = x >= 3 && y > 0 ? Int(samples[(y - 1) * length + x - 3]) : 0
        let predicted: Int
        switch filter {
        case 1: predicted = left
        case 2: predicted = above
        case 3: predicted = (left + above) / 2
        case 4: predicted = paeth(left, above, corner)
        default: predicted = 0
        }
        samples[y * length + x] =
          lines[y * (length + 1) + 1 + x] &+ UInt8(truncatingIfNeeded: predicted)
      }
    }
    return samples
  }

  private static func paeth(_ left: Int, _ above: Int, _ corner: Int) -> Int {
    let guess = left + above - corner
    let (a, b, c) = (abs(guess - left), abs(guess - above), abs(guess - corner))
    return a <= b && a <= c ? left : b <= c ? above : corner
  }
}

/// RFC 1951.
private struct Inflater {
  private struct Code {
    /// How many codes there are of each length, and their symbols in the order of the codes.
    var counts = [Int](repeating: 0, count: 16)
    var symbols: [Int] = []

    init(lengths: [Int]) {
      for length in lengths where length > 0 { counts[length] += 1 }
      for length in 1..<16 {
        symbols += lengths.indices.filter { lengths[$0] == length }
      }
    }
  }

  private let input: [UInt8]
  private var at: Int
  private var held = 0
  private var heldBits = 0

  init(input: [UInt8], start: Int) {
    self.input = input
    at = start
  }

  mutating func inflate() -> [UInt8]? {
    var output: [UInt8] = []
    var last = false
    while !last {
      guard let final = bits(1), let kind = bits(2) else { return nil }
      last = final == 1
      switch kind {
      case 0:
        guard copyStored(into: &output) else { return nil }
      case 1:
        let literals = Code(
          lengths: (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 })
        let distances = Code(lengths: [Int](repeating: 5, count: 30))
        guard copyCoded(literals, distances, into: &output) else { return nil }
      case 2:
        guard let (literals, distances) = readCodes(),
          copyCoded(literals, distances, into: &output)
        else { return nil }
      default: return nil
      }
    }
    return output
  }

  private mutating func bits(_ count: Int) -> Int? {
    while heldBits < count {
      guard at < input.count else { return nil }
      held |= Int(input[at]) << heldBits
      heldBits += 8
      at += 1
    }
    let value = held & ((1 << count) - 1)
    held >>= count
    heldBits -= count
    return value
  }

  private mutating func symbol(_ code: Code) -> Int? {
    var value = 0
    var first = 0
    var index = 0
    for length in 1..<16 {
      guard let bit = bits(1) else { return nil }
      value |= bit
      let count = code.counts[length]
      if value - count < first { return code.symbols[index + value - first] }
      index += count
      first = (first + count) << 1
      value <<= 1
    }
    return nil
  }

  private mutating func copyStored(into output: inout [UInt8]) -> Bool {
    held = 0
    heldBits = 0
    guard at + 4 <= input.count else { return false }
    let length = Int(input[at]) | Int(input[at + 1]) << 8
    at += 4
    guard at + length <= input.count else { return false }
    output += input[at..<(at + length)]
    at += length
    return true
  }

  private mutating func readCodes() -> (Code, Code)? {
    guard let literalCount = bits(5), let distanceCount = bits(5), let lengthCount = bits(4) else {
      return nil
    }
    let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    var codeLengths = [Int](repeating: 0, count: 19)
    for place in 0..<(lengthCount + 4) {
      guard let length = bits(3) else { return nil }
      codeLengths[order[place]] = length
    }
    let code = Code(lengths: codeLengths)
    var lengths: [Int] = []
    let wanted = literalCount + 257 + distanceCount + 1
    while lengths.count < wanted {
      guard let next = symbol(code) else { return nil }
      switch next {
      case 16:
        guard let previous = lengths.last, let more = bits(2) else { return nil }
        lengths += [Int](repeating: previous, count: more + 3)
      case 17:
        guard let more = bits(3) else { return nil }
        lengths += [Int](repeating: 0, count: more + 3)
      case 18:
        guard let more = bits(7) else { return nil }
        lengths += [Int](repeating: 0, count: more + 11)
      default: lengths.append(next)
      }
    }
    guard lengths.count == wanted else { return nil }
    let split = literalCount + 257
    return (Code(lengths: Array(lengths[..<split])), Code(lengths: Array(lengths[split...])))
  }

  private mutating func copyCoded(
    _ literals: Code, _ distances: Code, into output: inout [UInt8]
  ) -> Bool {
    while true {
      guard let next = symbol(literals) else { return false }
      if next == 256 { return true }
      if next < 256 {
        output.append(UInt8(next))
        continue
      }
      let lengthExtra = next < 265 || next == 285 ? 0 : (next - 261) / 4
      let lengthBase =
        next == 285 ? 258 : next < 265 ? next - 254 : (4 + (next - 265) % 4) << lengthExtra + 3
      guard let lengthMore = bits(lengthExtra), let far = symbol(distances), far < 30 else {
        return false
      }
      let distanceExtra = far < 4 ? 0 : far / 2 - 1
      let distanceBase = far < 4 ? far + 1 : (2 + far % 2) << distanceExtra + 1
      guard let distanceMore = bits(distanceExtra) else { return false }
      let distance = distanceBase + distanceMore
      guard distance <= output.count else { return false }
      for _ in 0..<(lengthBase + lengthMore) { output.append(output[output.count - distance]) }
    }
  }
}
