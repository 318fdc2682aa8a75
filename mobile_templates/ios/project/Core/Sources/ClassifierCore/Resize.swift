/// What becomes of a picture before the centre is cut out.
extension Contract {
  enum ResizeMode: String, CaseIterable, Sendable {
    case shortSide = "short-side"
    case squash
    case pad
  }

  /// Pillow's filters.
  enum Interpolation: String, CaseIterable, Sendable {
    case nearest
    case bilinear
    case bicubic
    case lanczos
  }

  /// A picture is made grey where `gray` says so, and resized as `mode` says: its short side to `resize`; or it is squashed to
  /// `resize` rows of `resizeWidth` pixels; or it is fitted into so many, and `padColor` (red, green, blue) fills the rest. Then
  /// `height` x `width` is cropped from the centre.
  struct Preprocessing: Decodable, Equatable, Sendable {
    var resize: Int
    var height: Int
    var width: Int
    var mode = ResizeMode.shortSide
    var interpolation = Interpolation.bilinear
    var resizeWidth: Int
    var padColor: [UInt8] = [0, 0, 0]
    var gray = false

    private enum CodingKeys: String, CodingKey {
      case resize
      case height
      case width
      case resizeMode
      case interpolation
      case resizeWidth
      case padColor
      case colorOrder
    }

    init(resize: Int, height: Int, width: Int) {
      self.resize = resize
      self.height = height
      self.width = width
      resizeWidth = resize
    }

    /// What is left out is as in contracts that know no other way.
    init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: CodingKeys.self)
      self.init(
        resize: try values.decode(Int.self, forKey: .resize),
        height: try values.decode(Int.self, forKey: .height),
        width: try values.decode(Int.self, forKey: .width))
      resizeWidth = try values.decodeIfPresent(Int.self, forKey: .resizeWidth) ?? resize
      padColor = try values.decodeIfPresent([UInt8].self, forKey: .padColor) ?? padColor
      gray = try values.decodeIfPresent(String.self, forKey: .colorOrder) == "GRAY"
      mode = try Self.known("resize_mode", values, .resizeMode) ?? mode
      interpolation = try Self.known("interpolation", values, .interpolation) ?? interpolation
    }

    private static func known<Value: RawRepresentable & CaseIterable>(
      _ name: String, _ values: KeyedDecodingContainer<CodingKeys>, _ key: CodingKeys
    ) throws -> Value? where Value.RawValue == String {
      guard let found = try values.decodeIfPresent(String.self, forKey: key) else { return nil }
      guard let value = Value(rawValue: found) else {
        let all = Value.allCases.map(\.rawValue).joined(separator: ", ")
        throw ContractError("\(name) is \(found); this app knows \(all).")
      }
      return value
    }

    /// The size after the resize of a picture of that size.
    func resized(width: Int, height: Int) -> (width: Int, height: Int) {
      switch mode {
      case .shortSide:
        let long = resize * max(width, height) / min(width, height)
        return width <= height ? (resize, long) : (long, resize)
      case .squash:
        return (resizeWidth, resize)
      case .pad:
        let ratio = Double(width) / Double(height)
        let wanted = Double(resizeWidth) / Double(resize)
        if ratio > wanted {
          return (resizeWidth, Self.rounded(Double(height) / Double(width) * Double(resizeWidth)))
        }
        return (ratio < wanted ? Self.rounded(ratio * Double(resize)) : resizeWidth, resize)
      }
    }

    /// A half goes to the even neighbour, as in Python; nothing vanishes.
    private static func rounded(_ side: Double) -> Int {
      max(Int(side.rounded(.toNearestOrEven)), 1)
    }
  }
}
