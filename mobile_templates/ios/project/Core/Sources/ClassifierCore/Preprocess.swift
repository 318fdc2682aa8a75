/// From a picture to the crop that the model was trained on, equal in every byte to what Pillow gives.
///
/// The steps and their arithmetic are those of the golden pack's documentation: grey if the model is, size, resize in two passes,
/// rounded to 8 bits between them, padding, centre crop. Only rows and columns that the crop needs are computed, row by row.
enum Preprocess {
  /// The crop as rows of red, green, blue: `height * width * 3` bytes, of a grey model equal ones. Throws `PreprocessError`.
  static func crop(_ picture: Picture, _ spec: Contract.Preprocessing) throws -> [UInt8] {
    let (newWidth, newHeight) = spec.resized(width: picture.width, height: picture.height)
    let pads = spec.mode == .pad
    let (canvasWidth, canvasHeight) =
      pads ? (spec.resizeWidth, spec.resize) : (newWidth, newHeight)
    guard canvasWidth >= spec.width, canvasHeight >= spec.height else {
      throw PreprocessError.cropTooLarge(
        width: canvasWidth, height: canvasHeight, cropWidth: spec.width, cropHeight: spec.height)
    }
    // Where the picture begins, counted from the crop: beyond 0 there is padding in front of it.
    let left = halfToEven(canvasWidth - newWidth) - halfToEven(canvasWidth - spec.width)
    let top = halfToEven(canvasHeight - newHeight) - halfToEven(canvasHeight - spec.height)
    let columns = Taps(
      from: picture.width, to: newWidth,
      outputs: max(-left, 0)..<min(spec.width - left, newWidth), spec.interpolation)
    let rows = Taps(
      from: picture.height, to: newHeight,
      outputs: max(-top, 0)..<min(spec.height - top, newHeight), spec.interpolation)
    let part =
      shrinksHeightFirst(picture, newWidth, newHeight)
      ? columnsThenRows(picture, columns, rows, gray: spec.gray)
      : rowsThenColumns(picture, columns, rows, gray: spec.gray)
    return pads
      ? padded(part, width: columns.first.count, left: max(left, 0), top: max(top, 0), spec) : part
  }

  /// Put `part`, `width` pixels wide, into a crop of the padding's colour.
  private static func padded(
    _ part: [UInt8], width: Int, left: Int, top: Int, _ spec: Contract.Preprocessing
  ) -> [UInt8] {
    var crop = (0..<(spec.height * spec.width * 3)).map { spec.padColor[$0 % 3] }
    for row in 0..<(part.count / (width * 3)) {
      let place = ((top + row) * spec.width + left) * 3
      crop.replaceSubrange(
        place..<(place + width * 3), with: part[(row * width * 3)..<((row + 1) * width * 3)])
    }
    return crop
  }

  /// Make a row of red, green, blue grey in place, as Pillow's mode L does: ITU-R 601-2 in fixed point.
  static func makeGray(_ row: UnsafeMutableBufferPointer<UInt8>) {
    for place in stride(from: 0, to: row.count - 2, by: 3) {
      let red = Int(row[place]) * 19_595
      let green = Int(row[place + 1]) * 38_470
      let blue = Int(row[place + 2]) * 7_471
      let level = UInt8((red + green + blue + 0x8000) >> 16)
      row[place] = level
      row[place + 1] = level
      row[place + 2] = level
    }
  }

  private static func read(
    _ picture: Picture, _ y: Int, gray: Bool, into row: UnsafeMutableBufferPointer<UInt8>
  ) {
    picture.readRow(y, into: row)
    if gray { makeGray(row) }
  }

  /// The order of the two passes, which shows in the last bit because the first rounds to 8 bits: Pillow (since 13) begins with
  /// the height where a picture loses more than twice as many rows as columns.
  static func shrinksHeightFirst(_ picture: Picture, _ newWidth: Int, _ newHeight: Int) -> Bool {
    let lostRows = picture.height - newHeight
    return lostRows > 0 && lostRows > 2 * (picture.width - newWidth)
  }

  private static func rowsThenColumns(
    _ picture: Picture, _ columns: Taps, _ rows: Taps, gray: Bool
  ) -> [UInt8] {
    let samplesPerRow = columns.first.count * 3
    let firstRow = rows.first[0]
    var narrow = [UInt8](repeating: 0, count: (rows.end - firstRow) * samplesPerRow)
    var source = [UInt8](repeating: 0, count: picture.width * 3)
    narrow.withUnsafeMutableBufferPointer { narrow in
      source.withUnsafeMutableBufferPointer { source in
        for row in 0..<(rows.end - firstRow) {
          read(picture, firstRow + row, gray: gray, into: source)
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
    _ picture: Picture, _ columns: Taps, _ rows: Taps, gray: Bool
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
              read(picture, rows.first[output] + tap, gray: gray, into: source)
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
