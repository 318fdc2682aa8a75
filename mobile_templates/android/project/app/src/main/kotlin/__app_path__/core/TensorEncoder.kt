package «app_id | kotlin_package».core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/** Writes RGB pixels as the model's input: channels, scale, bias and layout as the contract says, in float32. */
class TensorEncoder(
    private val input: InputSpec,
) {
    private val size = input.shape.reduce(Int::times)
    private val channels = input.scale.size

    /** A direct buffer in the machine's byte order, as both runtimes want it; [encode] fills it again and again. */
    val buffer: ByteBuffer = ByteBuffer.allocateDirect(size * Float.SIZE_BYTES).order(ByteOrder.nativeOrder())

    // For each channel of the input, the value of each of the 256 levels.
    private val levels = List(channels) { channel ->
        FloatArray(256) { level -> level * input.scale[channel] + input.bias[channel] }
    }

    /** Fills [buffer] with [pixels] (RGB bytes, row by row) and gives it as floats, from its beginning. */
    fun encode(pixels: ByteArray): FloatBuffer {
        val plane = size / channels
        require(pixels.size == plane * 3) { "${pixels.size} values were given, the input takes ${plane * 3}." }
        val floats = buffer.rewind().let { buffer.asFloatBuffer() }
        for (channel in 0 until channels) {
            val table = levels[channel]
            val color = if (input.colorOrder == ColorOrder.BGR) 2 - channel else channel
            val (first, step) = if (input.layout == Layout.NHWC) channel to channels else channel * plane to 1
            for (i in 0 until plane) floats.put(first + i * step, table[pixels[i * 3 + color].toInt() and 0xFF])
        }
        return floats
    }
}
