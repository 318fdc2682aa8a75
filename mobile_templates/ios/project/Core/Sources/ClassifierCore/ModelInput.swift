/// What a crop becomes for the model.
enum ModelInput {
  /// The values of a tensor input in the contract's layout and colour order: `sample * scale + bias`, in 32-bit floats.
  static func tensor(_ crop: [UInt8], _ input: Contract.Input) -> [Float] {
    let pixels = crop.count / 3
    let order = input.colorOrder == .bgr ? [2, 1, 0] : [0, 1, 2]
    let channels = input.scale.count
    var values = [Float](repeating: 0, count: pixels * channels)
    for channel in 0..<channels {
      // Each of the 256 samples once: multiplied, rounded, added, rounded.
      let level = (0..<256).map { sample -> Float in
        let product = Float(sample) * input.scale[channel]
        return product + input.bias[channel]
      }
      for pixel in 0..<pixels {
        let value = level[Int(crop[pixel * 3 + order[channel]])]
        if input.layout == .nchw {
          values[channel * pixels + pixel] = value
        } else {
          values[pixel * channels + channel] = value
        }
      }
    }
    return values
  }

  /// The bytes of a grey picture input, one a pixel: the crop's three channels are equal.
  static func gray(_ crop: [UInt8]) -> [UInt8] {
    stride(from: 0, to: crop.count, by: 3).map { crop[$0] }
  }

  /// The bytes of a picture input: blue, green, red, opaque. Core ML knows this format for models of either colour order.
  static func bgra(_ crop: [UInt8]) -> [UInt8] {
    var bytes = [UInt8](repeating: 255, count: crop.count / 3 * 4)
    for pixel in 0..<(crop.count / 3) {
      bytes[pixel * 4] = crop[pixel * 3 + 2]
      bytes[pixel * 4 + 1] = crop[pixel * 3 + 1]
      bytes[pixel * 4 + 2] = crop[pixel * 3]
    }
    return bytes
  }
}
