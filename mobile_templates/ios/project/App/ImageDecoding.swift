import CoreGraphics
import Foundation
import ImageIO

/// From files and camera pictures to samples, upright, in sRGB.
enum ImageDecoding {
  /// Decode the first picture of a file (JPEG, HEIC, PNG, ...), with its EXIF orientation.
  static func picture(from file: Data) throws -> Picture {
    guard let source = CGImageSourceCreateWithData(file as CFData, nil) else {
      throw ImageDecodingError("This file is no picture that iOS can read.")
    }
    let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as NSDictionary?
    let factor = Picture.subsampling(
      width: (properties?[kCGImagePropertyPixelWidth] as? NSNumber)?.intValue ?? 0,
      height: (properties?[kCGImagePropertyPixelHeight] as? NSNumber)?.intValue ?? 0)
    let options =
      factor == 1
      ? nil : NSDictionary(dictionary: [kCGImageSourceSubsampleFactor as String: factor])
    guard let image = CGImageSourceCreateImageAtIndex(source, 0, options as CFDictionary?) else {
      throw ImageDecodingError("This file is no picture that iOS can read.")
    }
    let tag = (properties?[kCGImagePropertyOrientation] as? NSNumber)?.intValue
    return try picture(from: image, orientation: tag.flatMap(Orientation.init) ?? .up)
  }

  /// The samples of a decoded picture.
  static func picture(from image: CGImage, orientation: Orientation) throws -> Picture {
    // Not every format can be read at a fraction of its size.
    guard Picture.subsampling(width: image.width, height: image.height) == 1 else {
      throw ImageDecodingError(
        "A picture of \(image.width) x \(image.height) pixels is too large for this app's memory.")
    }
    // The file's own samples, where they are 8 bits and need no colour conversion: Core Graphics would change grey
    // (its gamma differs from that of sRGB) and would multiply colours by their alpha, rounding each.
    if let picture = stored(image, orientation) { return picture }
    let (width, height) = (image.width, image.height)
    var samples = [UInt8](repeating: 255, count: width * height * 4)
    let drawn = samples.withUnsafeMutableBytes { bytes -> Bool in
      guard let space = CGColorSpace(name: CGColorSpace.sRGB),
        let context = CGContext(
          data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8,
          bytesPerRow: width * 4, space: space,
          bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
      else { return false }
      // The memory is white already: transparency is laid over it.
      context.interpolationQuality = .none
      context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
      return true
    }
    guard drawn,
      let picture = Picture(
        width: width, height: height, bytesPerRow: width * 4, format: .rgbx, samples: samples,
        orientation: orientation)
    else {
      throw ImageDecodingError("A picture of \(width) x \(height) cannot be decoded.")
    }
    return picture
  }

  private static func stored(_ image: CGImage, _ orientation: Orientation) -> Picture? {
    guard image.bitsPerComponent == 8, let format = Self.format(of: image),
      image.bitsPerPixel == 8 * format.bytesPerPixel, let data = image.dataProvider?.data
    else { return nil }
    return Picture(
      width: image.width, height: image.height, bytesPerRow: image.bytesPerRow, format: format,
      samples: [UInt8](data as Data), orientation: orientation)
  }

  private static func format(of image: CGImage) -> Picture.Format? {
    // Bytes in another order than red, green, blue, alpha have bits here; a decode array or a mask would be lost.
    guard image.bitmapInfo.intersection(.byteOrderMask).isEmpty, image.decode == nil,
      !image.isMask, let space = image.colorSpace
    else { return nil }
    if space.model == .monochrome { return image.alphaInfo == .none ? .grey : nil }
    // A file that names no colour space is decoded as the device's, which means sRGB on iOS.
    guard let name = space.name as String?,
      name == (CGColorSpace.sRGB as String) || name == CGColorSpaceCreateDeviceRGB().name as String?
    else { return nil }
    switch image.alphaInfo {
    case .none: return .rgb
    case .noneSkipLast: return .rgbx
    case .last: return .rgba
    default: return nil
    }
  }
}

struct ImageDecodingError: LocalizedError, CustomStringConvertible {
  let description: String
  var errorDescription: String? { description }

  init(_ description: String) { self.description = description }
}
