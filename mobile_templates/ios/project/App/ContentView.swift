import PhotosUI
import SwiftUI
import UIKit

/// The one screen of the app: a photograph, what the model says of it, and how long that took.
struct ContentView: View {
  @StateObject private var model = ClassifierModel()
  @State private var selection: PhotosPickerItem?
  @State private var showsCamera = false
  @State private var cameraIsDenied = false
  @State private var showsSelfCheck = false

  var body: some View {
    NavigationStack {
      ScrollView {
        VStack(alignment: .leading, spacing: 20) {
          CropView(crop: model.preview)
          sources
          if cameraIsDenied { cameraDenial }
          if isWorking {
            ProgressView("Working")
              .frame(maxWidth: .infinity)
          }
          if let message = model.message {
            Label {
              Text(message)
            } icon: {
              Image(systemName: "exclamationmark.triangle")
                .foregroundStyle(Color.red)
            }
          }
          if let classification = model.classification {
            ResultList(classification: classification)
          }
          unitsPicker
        }
        .padding()
      }
      .navigationTitle(appName)
      .toolbar {
        Button {
          showsSelfCheck = true
        } label: {
          Label("Self-check", systemImage: "checkmark.seal")
        }
        .disabled(model.bundled == nil)
      }
      .sheet(isPresented: $showsSelfCheck) { SelfCheckView(model: model) }
      .fullScreenCover(isPresented: $showsCamera) {
        CameraPicker { photo in
          Task { await model.classify(.captured(photo)) }
        }
        .ignoresSafeArea()
      }
      .task(id: selection) { await load(selection) }
      .task(id: model.units) { await model.classify() }
    }
  }

  private var appName: String {
    Bundle.main.object(forInfoDictionaryKey: "CFBundleDisplayName") as? String ?? "Classifier"
  }

  private var sources: some View {
    HStack(spacing: 12) {
      PhotosPicker(selection: $selection, matching: .images) {
        Label("Choose a photo", systemImage: "photo")
          .frame(maxWidth: .infinity)
      }
      if CameraPicker.isAvailable {
        Button {
          cameraIsDenied = CameraPicker.isDenied
          showsCamera = !cameraIsDenied
        } label: {
          Label("Take a photo", systemImage: "camera")
            .frame(maxWidth: .infinity)
        }
      }
    }
    .buttonStyle(.borderedProminent)
    .disabled(model.bundled == nil || isWorking)
  }

  /// A selection lasts until its photo is loaded (which may mean: downloaded) and classified.
  private var isWorking: Bool { selection != nil || model.isBusy }

  private var cameraDenial: some View {
    VStack(alignment: .leading, spacing: 4) {
      Text("This app may not use the camera. Settings can change that.")
      if let settings = URL(string: UIApplication.openSettingsURLString) {
        Link("Open Settings", destination: settings)
      }
    }
  }

  private var unitsPicker: some View {
    VStack(alignment: .leading, spacing: 4) {
      Text("Compute units")
        .font(.footnote)
        .foregroundStyle(.secondary)
        .accessibilityHidden(true)
      Picker("Compute units", selection: $model.units) {
        ForEach(ComputeUnits.allCases) { units in
          Text(units.title).tag(units)
        }
      }
      .pickerStyle(.menu)
      .disabled(model.isBusy)
    }
  }

  private func load(_ item: PhotosPickerItem?) async {
    guard let item else { return }
    do {
      guard let data = try await item.loadTransferable(type: Data.self) else {
        throw ImageDecodingError("The photo library did not hand the picture over.")
      }
      try Task.checkCancellation()
      await model.classify(.file(data))
    } catch is CancellationError {
      return
    } catch {
      guard !Task.isCancelled else { return }
      model.show(error)
    }
    // So that the same photo can be chosen again; one that was chosen meanwhile stays.
    if selection == item { selection = nil }
  }
}

/// What the model saw: the crop, not the whole photograph.
struct CropView: View {
  let crop: CGImage?

  var body: some View {
    if let crop {
      Image(crop, scale: 1, label: Text("The part of the photo that was classified"))
        .resizable()
        .scaledToFit()
        .clipShape(RoundedRectangle(cornerRadius: 12))
        .frame(maxWidth: 360)
        .frame(maxWidth: .infinity)
    } else {
      Text("Choose or take a photo. It stays on this device.")
        .foregroundStyle(.secondary)
        .frame(maxWidth: .infinity, minHeight: 160)
    }
  }
}
