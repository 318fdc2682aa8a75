import Foundation

#if canImport(CryptoKit)
  import CryptoKit
#endif

/// SHA-256, in lower-case hexadecimal.
enum Checksum {
  static func hex(of data: Data) -> String {
    #if canImport(CryptoKit)
      return hex(bytes: Array(SHA256.hash(data: data)))
    #else
      return hex(bytes: PortableSHA256.digest([UInt8](data)))
    #endif
  }

  /// The checksum of a folder, such as an .mlpackage, as a bundle's manifest records it: over its files, sorted by the bytes of
  /// their relative path, `path NUL size-in-decimal NUL contents`.
  static func hex(ofFolder folder: URL) throws -> String {
    let root = folder.resolvingSymlinksInPath().path
    guard let entries = FileManager.default.enumerator(atPath: root) else {
      throw CocoaError(.fileReadNoSuchFile)
    }
    var files: [[UInt8]: URL] = [:]
    for case let relative as String in entries {
      let url = URL(fileURLWithPath: root).appendingPathComponent(relative)
      var isFolder: ObjCBool = false
      if FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder),
        !isFolder.boolValue
      {
        files[Array(relative.utf8)] = url
      }
    }
    var all = Data()
    for path in files.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      let contents = try Data(contentsOf: files[path]!)
      for header in [path, Array(String(contents.count).utf8)] {
        all.append(contentsOf: header)
        all.append(0)
      }
      all.append(contents)
    }
    return hex(of: all)
  }

  private static func hex(bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}

/// FIPS 180-4, for systems without CryptoKit.
enum PortableSHA256 {
  private static let roundConstants: [UInt32] = primes(64).map { fraction(cbrt(Double($0))) }
  private static let start: [UInt32] = primes(8).map { fraction(Double($0).squareRoot()) }

  static func digest(_ message: [UInt8]) -> [UInt8] {
    var padded = message
    padded.append(0x80)
    while padded.count % 64 != 56 { padded.append(0) }
    padded += bigEndian(UInt64(message.count) * 8)
    var state = start
    var schedule = [UInt32](repeating: 0, count: 64)
    for block in stride(from: 0, to: padded.count, by: 64) {
      for word in 0..<16 {
        let at = block + word * 4
        schedule[word] = 0
        for byte in padded[at..<(at + 4)] { schedule[word] = schedule[word] << 8 | UInt32(byte) }
      }
      for word in 16..<64 {
        let a = schedule[word - 15]
        let b = schedule[word - 2]
        let mixedA: UInt32 = turned(a, 7) ^ turned(a, 18) ^ (a >> 3)
        let mixedB: UInt32 = turned(b, 17) ^ turned(b, 19) ^ (b >> 10)
        let older: UInt32 = schedule[word - 16] &+ schedule[word - 7]
        schedule[word] = older &+ mixedA &+ mixedB
      }
      mix(&state, schedule)
    }
    return state.flatMap { (word: UInt32) -> ArraySlice<UInt8> in bigEndian(UInt64(word)).suffix(4)
    }
  }

  private static func mix(_ state: inout [UInt32], _ schedule: [UInt32]) {
    var (a, b, c, d) = (state[0], state[1], state[2], state[3])
    var (e, f, g, h) = (state[4], state[5], state[6], state[7])
    for round in 0..<64 {
      let choice: UInt32 = (e & f) ^ (~e & g)
      let sumE: UInt32 = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)
      let constants: UInt32 = roundConstants[round] &+ schedule[round]
      let first: UInt32 = h &+ sumE &+ choice &+ constants
      let majority: UInt32 = (a & b) ^ (a & c) ^ (b & c)
      let sumA: UInt32 = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)
      h = g
      g = f
      f = e
      e = d &+ first
      d = c
      c = b
      b = a
      a = first &+ sumA &+ majority
    }
    for (place, value) in [a, b, c, d, e, f, g, h].enumerated() { state[place] &+= value }
  }

  private static func turned(_ word: UInt32, _ by: UInt32) -> UInt32 {
    word >> by | word << (32 - by)
  }

  private static func bigEndian(_ value: UInt64) -> [UInt8] {
    (0..<8).map { (place: Int) -> UInt8 in UInt8(truncatingIfNeeded: value >> (56 - 8 * place)) }
  }

  private static func primes(_ count: Int) -> [Int] {
    var found: [Int] = []
    var next = 2
    while found.count < count {
      if found.allSatisfy({ next % $0 != 0 }) { found.append(next) }
      next += 1
    }
    return found
  }

  /// The first 32 bits behind the point.
  private static func fraction(_ value: Double) -> UInt32 {
    UInt32((value - value.rounded(.down)) * 4_294_967_296)
  }
}
