// What the app uses of CoreGraphics, with the signatures of the iOS SDK; CGFloat, CGRect and so on come from Foundation.
// Aliases make the casts between Swift's types and those of CoreFoundation mean nothing here, as they cost nothing there.
@_exported import Foundation

public typealias CFString = String
public typealias CFData = Data
public typealias CFDictionary = NSDictionary

public final class CFAllocator {}
nonisolated(unsafe) public let kCFAllocatorDefault: CFAllocator! = nil

public enum CGColorSpaceModel: Int32, Sendable {
  case unknown = -1
  case monochrome
  case rgb
  case cmyk
}

public final class CGColorSpace {
  public static let sRGB: CFString = ""
  public init?(name: CFString) { nil }
  public var name: CFString? { fatalError() }
  public var model: CGColorSpaceModel { fatalError() }
}

public func CGColorSpaceCreateDeviceRGB() -> CGColorSpace { fatalError() }

public enum CGImageAlphaInfo: UInt32, Sendable {
  case none
  case premultipliedLast
  case premultipliedFirst
  case last
  case first
  case noneSkipLast
  case noneSkipFirst
  case alphaOnly
}

public struct CGBitmapInfo: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static var byteOrderMask: CGBitmapInfo { fatalError() }
}

public enum CGColorRenderingIntent: Int32, Sendable {
  case defaultIntent
}

public enum CGInterpolationQuality: Int32, Sendable {
  case `default`
  case none
}

public final class CGDataProvider {
  public init?(data: CFData) { nil }
  public var data: CFData? { fatalError() }
}

public final class CGImage {
  public init?(
    width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int,
    space: CGColorSpace, bitmapInfo: CGBitmapInfo, provider: CGDataProvider,
    decode: UnsafePointer<CGFloat>?, shouldInterpolate: Bool, intent: CGColorRenderingIntent
  ) { nil }
  public var width: Int { fatalError() }
  public var height: Int { fatalError() }
  public var bitsPerComponent: Int { fatalError() }
  public var bitsPerPixel: Int { fatalError() }
  public var bytesPerRow: Int { fatalError() }
  public var bitmapInfo: CGBitmapInfo { fatalError() }
  public var alphaInfo: CGImageAlphaInfo { fatalError() }
  public var colorSpace: CGColorSpace? { fatalError() }
  public var dataProvider: CGDataProvider? { fatalError() }
  public var decode: UnsafePointer<CGFloat>? { fatalError() }
  public var isMask: Bool { fatalError() }
}

public final class CGContext {
  public init?(
    data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int,
    bytesPerRow: Int, space: CGColorSpace, bitmapInfo: UInt32
  ) { nil }
  public var interpolationQuality: CGInterpolationQuality {
    get { fatalError() }
    set { fatalError() }
  }
  public func draw(_ image: CGImage, in rect: CGRect) { fatalError() }
}
