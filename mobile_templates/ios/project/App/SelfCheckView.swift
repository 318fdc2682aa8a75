import SwiftUI

/// The debug screen: repeats the exporter's proof on this device and shows every number.
struct SelfCheckView: View {
  @ObservedObject var model: ClassifierModel
  @Environment(\.dismiss) private var dismiss

  var body: some View {
    NavigationStack {
      List {
        if let report = model.report {
          summary(report)
          problems(report)
          ForEach(report.runs, id: \.computeUnits) { run in runSection(run) }
          crops(report)
          about(report)
        } else {
          Text("Runs the model on the pictures that came with it and compares with PyTorch.")
        }
        Section {
          Button(model.report == nil ? "Run the self-check" : "Run again") {
            Task { await model.runSelfCheck() }
          }
          .disabled(model.isChecking)
          if model.isChecking { ProgressView("Checking") }
          share
        }
      }
      .navigationTitle("Self-check")
      .toolbar {
        ToolbarItem(placement: .confirmationAction) { Button("Done") { dismiss() } }
      }
      .task { if model.report == nil { await model.runSelfCheck() } }
    }
  }

  @ViewBuilder private var share: some View {
    if let report = model.report, let json = try? report.json() {
      ShareLink(item: String(decoding: json, as: UTF8.self)) {
        Label("Share as JSON", systemImage: "square.and.arrow.up")
      }
    }
  }

  private func summary(_ report: SelfCheckReport) -> some View {
    Section {
      Label {
        Text(report.verdict.rawValue)
      } icon: {
        // The word stays in the text's own colour: green on white is hard to read.
        Image(systemName: report.verdict == .pass ? "checkmark.seal.fill" : "xmark.seal.fill")
          .foregroundStyle(report.verdict == .pass ? Color.green : Color.red)
      }
      .font(.title2.bold())
      .accessibilityLabel("Self-check: \(report.verdict.rawValue)")
      if let worst = report.worstErrorOfPeak, let tolerance = report.tolerance {
        NumberRow("Worst error of the peak", Parity.short(worst))
        NumberRow("Allowed", Parity.short(tolerance.maxErrorOfPeak))
      }
    }
  }

  @ViewBuilder private func problems(_ report: SelfCheckReport) -> some View {
    if !report.allProblems.isEmpty {
      Section("What is wrong") {
        ForEach(report.allProblems, id: \.self) { problem in Text(problem) }
      }
    }
  }

  private func runSection(_ run: SelfCheckReport.Run) -> some View {
    Section(run.computeUnits.title) {
      NumberRow("Verdict", run.verdict.rawValue)
      if let milliseconds = run.milliseconds {
        NumberRow("Median inference", "\(Parity.short(milliseconds)) ms")
      }
      ForEach(run.comparisons, id: \.observed) { comparison in
        NumberRow("Error of \(comparison.observed)", Parity.short(comparison.maxAbsError))
        NumberRow("Worst picture", comparison.worstImage)
        NumberRow("Error of the peak", Parity.short(comparison.errorOfPeak))
        if let snr = comparison.snrDb { NumberRow("SNR", "\(Parity.short(snr)) dB") }
        if let snr = comparison.centredSnrDb {
          NumberRow("Centred SNR", "\(Parity.short(snr)) dB")
        }
        NumberRow("Same best class", "\(comparison.top1Agreements), \(comparison.top1Ties) ties")
      }
    }
  }

  private func crops(_ report: SelfCheckReport) -> some View {
    Section("Preprocessing, difference in levels") {
      ForEach(report.crops, id: \.image) { crop in
        NumberRow(crop.image, crop.maxDifference.map { "\($0)" } ?? "not decoded")
      }
    }
  }

  private func about(_ report: SelfCheckReport) -> some View {
    Section("Model") {
      NumberRow("Name", report.name)
      NumberRow("Network", "\(report.model), \(report.precision)")
      NumberRow("sha256", report.modelSha256)
      NumberRow("Device", report.device)
    }
  }
}

/// A name and what it is, read as one by VoiceOver; wraps where the text is large.
struct NumberRow: View {
  private let name: String
  private let value: String

  init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }

  var body: some View {
    HStack(alignment: .firstTextBaseline) {
      Text(name)
      Spacer()
      Text(value)
        .font(.callout.monospacedDigit())
        .foregroundStyle(.secondary)
        .multilineTextAlignment(.trailing)
    }
    .accessibilityElement(children: .combine)
  }
}
