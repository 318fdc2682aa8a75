// Classes are not Sendable here: what the app does is then right with every SDK, whatever a newer one promises.
@_exported import CoreVideo
@_exported import Foundation

public enum MLComputeUnits: Int, Sendable {
  case cpuOnly = 0
  case cpuAndGPU = 1
  case all = 2
  case cpuAndNeuralEngine = 3
}

open class MLModelConfiguration: NSObject {
  public var computeUnits: MLComputeUnits = .all
}

public enum MLFeatureType: Int, Sendable {
  case invalid, int64, double, string, image, multiArray, dictionary, sequence, state
}

public enum MLMultiArrayDataType: Int, Sendable {
  case float16, float32, double, int32
}

open class MLMultiArray: NSObject {
  public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws { fatalError() }
  public var count: Int { fatalError() }
  public var dataPointer: UnsafeMutableRawPointer { fatalError() }
  public subscript(index: Int) -> NSNumber {
    get { fatalError() }
    set { fatalError() }
  }
}

open class MLImageConstraint: NSObject {
  public var pixelsHigh: Int { fatalError() }
  public var pixelsWide: Int { fatalError() }
  public var pixelFormatType: OSType { fatalError() }
}

open class MLFeatureDescription: NSObject {
  public var type: MLFeatureType { fatalError() }
  public var imageConstraint: MLImageConstraint? { fatalError() }
}

open class MLModelDescription: NSObject {
  public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
  public var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
}

open class MLFeatureValue: NSObject {
  public init(pixelBuffer: CVPixelBuffer) { fatalError() }
  public init(multiArray: MLMultiArray) { fatalError() }
  public var type: MLFeatureType { fatalError() }
  public var multiArrayValue: MLMultiArray? { fatalError() }
  public var dictionaryValue: [AnyHashable: NSNumber] { fatalError() }
}

public protocol MLFeatureProvider {
  var featureNames: Set<String> { get }
  func featureValue(for featureName: String) -> MLFeatureValue?
}

open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
  public init(dictionary: [String: Any]) throws { fatalError() }
  public var featureNames: Set<String> { fatalError() }
  public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

open class MLModel: NSObject {
  public init(contentsOf url: URL, configuration: MLModelConfiguration) throws { fatalError() }
  public var modelDescription: MLModelDescription { fatalError() }
  public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
    fatalError()
  }
}
