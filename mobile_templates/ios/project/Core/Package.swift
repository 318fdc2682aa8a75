// swift-tools-version:5.9
// The app compiles Sources/ClassifierCore itself. This package exists so that the same files are tested without
// Xcode and without a device: `swift test` in this folder, on macOS or Linux.
import PackageDescription

let package = Package(
  name: "ClassifierCore",
  platforms: [.macOS(.v13), .iOS(.v16)],
  products: [.library(name: "ClassifierCore", targets: ["ClassifierCore"])],
  targets: [
    .target(name: "ClassifierCore"),
    .testTarget(name: "ClassifierCoreTests", dependencies: ["ClassifierCore"]),
  ]
)
