/// How the stored rows and columns must be turned to stand upright: the values of the EXIF tag.
enum Orientation: Int, CaseIterable, Sendable {
  case up = 1
  case upMirrored
  case down
  case downMirrored
  case leftMirrored
  case right
  case rightMirrored
  case left

  /// Whether columns become rows.
  var swapsSides: Bool { rawValue >= Orientation.leftMirrored.rawValue }
}

/// Decoded samples, 8 bits each, as they are stored, and how to hold them upright.
struct Picture: Sendable {
  enum Format: Sendable {
    /// One sample.
    case grey
    /// Red, green, blue.
    case rgb
    /// Red, green, blue and a byte without meaning.
    case rgbx
    /// Red, green, blue, not multiplied by the alpha that follows.
    case rgba

    var bytesPerPixel: Int {
      switch self {
      case .grey: return 1
      case .rgb: return 3
      case .rgbx, .rgba: return 4
      }
    }
  }

  /// Above this many pixels a file is decoded at a fraction of its size: the samples alone would take 200 MB.
  static let mostPixels = 50_000_000

  private let storedWidth: Int
  private let storedHeight: Int
  private let bytesPerRow: Int
  private let format: Format
  private let samples: [UInt8]
  private let orientation: Orientation

  /// Of the upright picture.
  let width: Int
  let height: Int

  /// `nil` where there are no pixels or fewer samples than the sizes need.
  init?(
    width: Int, height: Int, bytesPerRow: Int, format: Format, samples: [UInt8],
    orientation: Orientation = .up
  ) {
    guard width > 0, height > 0, bytesPerRow >= width * format.bytesPerPixel,
      samples.count >= (height - 1) * bytesPerRow + width * format.bytesPerPixel
    else { return nil }
    storedWidth = width
    storedHeight = height
    self.bytesPerRow = bytesPerRow
    self.format = format
    self.samples = samples
    self.orientation = orientation
    self.width = orientation.swapsSides ? height : width
    self.height = orientation.swapsSides ? width : height
  }

  /// The factor by which both sides of a file's picture must be divided to have at most `mostPixels`: one of those that ImageIO
  /// knows. A picture that is too large even then is refused when it is decoded.
  static func subsampling(width: Int, height: Int) -> Int {
    [1, 2, 4].first { (width / $0) * (height / $0) <= mostPixels } ?? 8
  }

  /// Write row `y` of the upright picture as red, green, blue; `row` has room for `width` pixels.
  func readRow(_ y: Int, into row: UnsafeMutableBufferPointer<UInt8>) {
    precondition(y >= 0 && y < height && row.count >= 3 * width)
    let start = offset(x: 0, y: y)
    // Along a row the place in the store moves by one constant step, whatever the orientation.
    let step = width > 1 ? offset(x: 1, y: y) - start : 0
    samples.withUnsafeBufferPointer { samples in
      var from = start
      var to = 0
      switch format {
      case .grey:
        for _ in 0..<width {
          let value = samples[from]
          row[to] = value
          row[to + 1] = value
          row[to + 2] = value
          from += step
          to += 3
        }
      case .rgb, .rgbx:
        for _ in 0..<width {
          row[to] = samples[from]
          row[to + 1] = samples[from + 1]
          row[to + 2] = samples[from + 2]
          from += step
          to += 3
        }
      case .rgba:
        for _ in 0..<width {
          let alpha = Int(samples[from + 3])
          row[to] = Picture.overWhite(samples[from], alpha: alpha)
          row[to + 1] = Picture.overWhite(samples[from + 1], alpha: alpha)
          row[to + 2] = Picture.overWhite(samples[from + 2], alpha: alpha)
          from += step
          to += 3
        }
      }
    }
  }

  /// One sample laid over white, in the fixed-point arithmetic that Pillow uses (7 fraction bits, division by 255 by shifts).
  static func overWhite(_ sample: UInt8, alpha: Int) -> UInt8 {
    let share = alpha << 7
    let sum = Int(sample) * share + 255 * ((255 << 7) - share) + (0x80 << 7)
    return UInt8((((sum >> 8) + sum) >> 8) >> 7)
  }

  private func offset(x: Int, y: Int) -> Int {
    let column: Int
    let line: Int
    switch orientation {
    case .up: (column, line) = (x, y)
    case .upMirrored: (column, line) = (storedWidth - 1 - x, y)
    case .down: (column, line) = (storedWidth - 1 - x, storedHeight - 1 - y)
    case .downMirrored: (column, line) = (x, storedHeight - 1 - y)
    case .leftMirrored: (column, line) = (y, x)
    case .right: (column, line) = (y, storedHeight - 1 - x)
    case .rightMirrored: (column, line) = (storedWidth - 1 - y, storedHeight - 1 - x)
    case .left: (column, line) = (storedWidth - 1 - y, x)
    }
    return line * bytesPerRow + column * format.bytesPerPixel
  }
}
