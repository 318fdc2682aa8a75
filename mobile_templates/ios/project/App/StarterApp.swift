import SwiftUI

@main
struct StarterApp: App {
  var body: some Scene {
    WindowGroup {
      ContentView()
    }
  }
}
