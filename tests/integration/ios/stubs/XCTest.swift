// Of Apple's XCTest, what the app's tests use; the one on Linux has no attachments.
@_exported import Foundation

open class XCTestCase: NSObject {
  public func add(_ attachment: XCTAttachment) { fatalError() }
}

open class XCTAttachment: NSObject {
  public enum Lifetime: Int, Sendable {
    case keepAlways
    case deleteOnSuccess
  }
  public init(data: Data, uniformTypeIdentifier: String) { fatalError() }
  public var name: String?
  public var lifetime: Lifetime = .deleteOnSuccess
}

public func XCTAssertEqual<T: Equatable>(
  _ first: @autoclosure () throws -> T, _ second: @autoclosure () throws -> T,
  _ message: @autoclosure () -> String = "", file: StaticString = #filePath, line: UInt = #line
) { fatalError() }
