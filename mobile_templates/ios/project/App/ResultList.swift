import SwiftUI

/// The best classes with their probabilities, and the times.
struct ResultList: View {
  let classification: ClassifierModel.Classification

  var body: some View {
    VStack(alignment: .leading, spacing: 12) {
      ForEach(classification.rows) { row in
        ResultRow(row: row)
      }
      if classification.independent {
        Text("Each score stands for itself: they do not add up to 100 %.")
          .font(.footnote)
          .foregroundStyle(.secondary)
      }
      Text(times)
        .font(.footnote)
        .foregroundStyle(.secondary)
    }
  }

  private var times: String {
    let style = FloatingPointFormatStyle<Double>.number.precision(.fractionLength(1))
    let preprocessing = classification.preprocessingMilliseconds.formatted(style)
    let inference = classification.inferenceMilliseconds.formatted(style)
    return
      "Preprocessing \(preprocessing) ms, inference \(inference) ms (\(classification.units.title))"
  }
}

/// One class: name, percentage, and a bar as long as the probability.
struct ResultRow: View {
  let row: ClassifierModel.Classification.Row

  var body: some View {
    VStack(alignment: .leading, spacing: 4) {
      HStack {
        Text(row.label)
        Spacer()
        Text(row.percentage)
          .monospacedDigit()
          .foregroundStyle(.secondary)
      }
      GeometryReader { space in
        Capsule()
          .fill(Color.accentColor)
          .frame(width: max(2, space.size.width * CGFloat(min(max(row.probability, 0), 1))))
      }
      .frame(height: 6)
      .accessibilityHidden(true)
    }
    .accessibilityElement(children: .combine)
    .accessibilityLabel("\(row.label), \(row.percentage)")
  }
}
