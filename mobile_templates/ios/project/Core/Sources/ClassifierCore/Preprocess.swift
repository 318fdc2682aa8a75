/// From a picture to the crop that the model was trained on, equal in every byte to what Pillow gives.
///
/// The steps and their arithmetic are those of the golden pack's documentation: size, antialiased bilinear resize in two passes,
/// rounded to 8 bits between them, centre crop. Only rows and columns that the crop needs are computed, row by row.
enum Preprocess {
  /// The crop as rows of red, green, blue: `height * width * 3` bytes. Throws `PreprocessError`.
  static func crop(_ picture: Picture, _ spec: Contract.Preprocessing) throws -> [UInt8] {
    let (newWidth, newHeight) = resizedSize(
      width: picture.width, height: picture.height, resize: spec.resize)
    guard newWidth >= spec.width, newHeight >= spec.height else {
      throw PreprocessError.cropTooLarge(
        width: newWidth, height: newHeight, cropWidth: spec.width, cropHeight: spec.height)
    }
    let left = halfToEven(newWidth - spec.width)
    let top = halfToEven(newHeight - spec.height)
    let columns = Taps(
      from: picture.width, to: newWidth, outputs: left..<(left + spec.width))
    let rows = Taps(
      from: picture.height, to: newHeight, outputs: top..<(top + spec.height))

    return shrinksHeightFirst(picture, newWidth, newHeight)
      ? columnsThenRows(picture, columns, rows) : rowsThenColumns(picture, columns, rows)
  }

  /// The order of the two passes, which shows in the last bit because the first rounds to 8 bits: Pillow (since 13) begins with
  /// the height where a picture loses more than twice as many rows as columns.
  static func shrinksHeightFirst(_ picture: Picture, _ newWidth: Int, _ newHeight: Int) -> Bool {
    let lostRows = picture.height - newHeight
    return lostRows > 0 && lostRows > 2 * (picture.width - newWidth)
  }

  private static func rowsThenColumns(
    _ picture: Picture, _ columns: Taps, _ rows: Taps
  ) -> [UInt8] {
    let samplesPerRow = columns.first.count * 3
    let firstRow = rows.first[0]
    var narrow = [UInt8](repeating: 0, count: (rows.end - firstRow) * samplesPerRow)
    var source = [UInt8](repeating: 0, count: picture.width * 3)
    narrow.withUnsafeMutableBufferPointer { narrow in
      source.withUnsafeMutableBufferPointer { source in
        for row in 0..<(rows.end - firstRow) {
          picture.readRow(firstRow + row, into: source)
          resizeRow(
            UnsafeBufferPointer(source), columns, into: line(row, of: narrow, samplesPerRow))
        }
      }
    }
    var result = [UInt8](repeating: 0, count: rows.first.count * samplesPerRow)
    var sums = [Int32](repeating: 0, count: samplesPerRow)
    result.withUnsafeMutableBufferPointer { result in
      narrow.withUnsafeMutableBufferPointer { narrow in
        sums.withUnsafeMutableBufferPointer { sums in
          for output in 0..<rows.first.count {
            sums.update(repeating: Taps.half)
            for tap in 0..<rows.count[output] {
              let from = line(rows.first[output] - firstRow + tap, of: narrow, samplesPerRow)
              add(UnsafeBufferPointer(from), weight: rows.weight(tap, of: output), to: sums)
            }
            round(sums, into: line(output, of: result, samplesPerRow))
          }
        }
      }
    }
    return result
  }

  /// Rows are added up as they are read: one line of sums instead of a second picture.
  private static func columnsThenRows(
    _ picture: Picture, _ columns: Taps, _ rows: Taps
  ) -> [UInt8] {
    let samplesPerRow = columns.first.count * 3
    var result = [UInt8](repeating: 0, count: rows.first.count * samplesPerRow)
    var source = [UInt8](repeating: 0, count: picture.width * 3)
    var sums = [Int32](repeating: 0, count: picture.width * 3)
    result.withUnsafeMutableBufferPointer { result in
      source.withUnsafeMutableBufferPointer { source in
        sums.withUnsafeMutableBufferPointer { sums in
          for output in 0..<rows.first.count {
            sums.update(repeating: Taps.half)
            for tap in 0..<rows.count[output] {
              picture.readRow(rows.first[output] + tap, into: source)
              add(UnsafeBufferPointer(source), weight: rows.weight(tap, of: output), to: sums)
            }
            round(sums, into: source)
            resizeRow(
              UnsafeBufferPointer(source), columns, into: line(output, of: result, samplesPerRow))
          }
        }
      }
    }
    return result
  }

  /// The short side becomes `resize`, the long one follows in whole numbers.
  static func resizedSize(width: Int, height: Int, resize: Int) -> (width: Int, height: Int) {
    let long = resize * max(width, height) / min(width, height)
    return width <= height ? (resize, long) : (long, resize)
  }

  /// Half of `count`; a half left over goes to the even neighbour.
  static func halfToEven(_ count: Int) -> Int {
    let half = count / 2
    return count % 2 != 0 && half % 2 != 0 ? half + 1 : half
  }

  private static func resizeRow(
    _ source: UnsafeBufferPointer<UInt8>, _ taps: Taps, into row: UnsafeMutableBufferPointer<UInt8>
  ) {
    taps.weights.withUnsafeBufferPointer { weights in
      for output in 0..<taps.first.count {
        var red = Taps.half
        var green = Taps.half
        var blue = Taps.half
        var from = taps.first[output] * 3
        let start = output * taps.stride
        for tap in start..<(start + taps.count[output]) {
          let weight = weights[tap]
          red &+= weight &* Int32(truncatingIfNeeded: source[from])
          green &+= weight &* Int32(truncatingIfNeeded: source[from + 1])
          blue &+= weight &* Int32(truncatingIfNeeded: source[from + 2])
          from += 3
        }
        row[output * 3] = Taps.rounded(red)
        row[output * 3 + 1] = Taps.rounded(green)
        row[output * 3 + 2] = Taps.rounded(blue)
      }
    }
  }

  private static func line(
    _ index: Int, of lines: UnsafeMutableBufferPointer<UInt8>, _ length: Int
  ) -> UnsafeMutableBufferPointer<UInt8> {
    UnsafeMutableBufferPointer(rebasing: lines[(index * length)..<((index + 1) * length)])
  }

  private static func add(
    _ samples: UnsafeBufferPointer<UInt8>, weight: Int32,
    to sums: UnsafeMutableBufferPointer<Int32>
  ) {
    for place in sums.indices {
      sums[place] &+= weight &* Int32(truncatingIfNeeded: samples[place])
    }
  }

  private static func round(
    _ sums: UnsafeMutableBufferPointer<Int32>, into samples: UnsafeMutableBufferPointer<UInt8>
  ) {
    for place in sums.indices { samples[place] = Taps.rounded(sums[place]) }
  }
}

enum PreprocessError: Error, Equatable, CustomStringConvertible {
  case cropTooLarge(width: Int, height: Int, cropWidth: Int, cropHeight: Int)

  var description: String {
    switch self {
    case .cropTooLarge(let width, let height, let cropWidth, let cropHeight):
      return
        "A picture resized to \(width) x \(height) is smaller than the crop \(cropWidth) x \(cropHeight)."
    }
  }
}

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
  init(from: Int, to: Int, outputs: Range<Int>) {
    let ratio = Double(from) / Double(to)
    let support = max(ratio, 1)
    let stride = Int(support.rounded(.up)) * 2 + 1
    var first: [Int] = []
    var count: [Int] = []
    var weights = [Int32](repeating: 0, count: outputs.count * stride)
    for (place, output) in outputs.enumerated() {
      let centre = (Double(output) + 0.5) * ratio
      let low = max(Int(centre - support + 0.5), 0)
      let high = min(Int(centre + support + 0.5), from)
      let taps = (low..<high).map { (sample: Int) -> Double in
        let distance: Double = (Double(sample) - centre + 0.5) * (1 / support)
        return max(0, 1 - abs(distance))
      }
      let sum = taps.reduce(0, +)
      for (tap, value) in taps.enumerated() {
        let share: Double = value / sum
        weights[place * stride + tap] = Int32(share * Taps.one + 0.5)
      }
      first.append(low)
      count.append(high - low)
    }
    self.first = first
    self.count = count
    self.weights = weights
    self.stride = stride
    end = zip(first, count).map(+).max() ?? 0
  }

  func weight(_ tap: Int, of output: Int) -> Int32 { weights[output * stride + tap] }

  /// A sum of weighted samples, back in 0..255.
  static func rounded(_ sum: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: min(max(sum >> fractionBits, 0), 255))
  }
}
