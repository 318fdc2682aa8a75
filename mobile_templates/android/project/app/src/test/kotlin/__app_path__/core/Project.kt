package «app_id | kotlin_package».core

import java.io.ByteArrayOutputStream
import java.io.DataInputStream
import java.io.File
import java.io.IOException
import java.util.zip.InflaterInputStream

/** The files that the app will be packed with; Gradle runs unit tests in the folder of their module. */
object Project {
    private val assets = File("src/main/assets")

    fun read(name: String): ByteArray {
        val file = File(assets, name)
        if (!file.isFile) throw IOException("$file is missing")
        return file.readBytes()
    }

    val contract: ModelContract by lazy { ModelContract.parse(String(read(ModelContract.FILE), Charsets.UTF_8)) }

    val golden: GoldenPack by lazy { GoldenPack.read(contract, ::read) }
}

/** Reads PNG files of 8 bits per channel, not interlaced: unit tests have neither Android's decoder nor the desktop's. */
class PngPixels(
    data: ByteArray,
) : PixelSource {
    override val width: Int
    override val height: Int
    override val opaque: Boolean
    private val channels: Int
    private val samples: ByteArray

    init {
        val input = DataInputStream(data.inputStream())
        require(input.readLong() == SIGNATURE) { "no PNG" }
        require(input.readInt() == 13 && input.readInt() == HEADER) { "no PNG header" }
        width = input.readInt()
        height = input.readInt()
        val depth = input.read()
        channels = mapOf(0 to 1, 2 to 3, 4 to 2, 6 to 4)[input.read()] ?: throw IOException("a PNG with a palette")
        opaque = channels % 2 == 1
        require(depth == 8 && input.read() == 0 && input.read() == 0 && input.read() == 0) { "not 8 bits, or interlaced" }
        input.readInt()
        val packed = ByteArrayOutputStream()
        while (true) {
            val body = ByteArray(input.readInt())
            val kind = input.readInt()
            input.readFully(body)
            input.readInt()
            if (kind == DATA) packed.write(body)
            if (kind == END) break
        }
        samples = ByteArray(width * height * channels)
        unfilter(DataInputStream(InflaterInputStream(packed.toByteArray().inputStream())))
    }

    private fun unfilter(lines: DataInputStream) {
        val stride = width * channels
        val line = ByteArray(stride)
        for (y in 0 until height) {
            val filter = lines.read()
            lines.readFully(line)
            for (i in 0 until stride) {
                val left = if (i >= channels) sample(y * stride + i - channels) else 0
                val above = if (y > 0) sample((y - 1) * stride + i) else 0
                val corner = if (y > 0 && i >= channels) sample((y - 1) * stride + i - channels) else 0
                val predicted = when (filter) {
                    0 -> 0
                    1 -> left
                    2 -> above
                    3 -> (left + above) / 2
                    4 -> paeth(left, above, corner)
                    else -> throw IOException("PNG filter $filter")
                }
                samples[y * stride + i] = (line[i] + predicted).toByte()
            }
        }
    }

    private fun paeth(
        left: Int,
        above: Int,
        corner: Int,
    ): Int {
        val guess = left + above - corner
        val (byLeft, byAbove, byCorner) = listOf(left, above, corner).map { Math.abs(guess - it) }
        return if (byLeft <= byAbove && byLeft <= byCorner) {
            left
        } else if (byAbove <= byCorner) {
            above
        } else {
            corner
        }
    }

    private fun sample(index: Int): Int = samples[index].toInt() and 0xFF

    override fun readRow(
        y: Int,
        x: Int,
        count: Int,
        into: IntArray,
    ) {
        for (i in 0 until count) {
            val at = (y * width + x + i) * channels
            val gray = channels < 3
            val red = sample(at)
            val green = sample(if (gray) at else at + 1)
            val blue = sample(if (gray) at else at + 2)
            val alpha = if (opaque) 0xFF else sample(at + channels - 1)
            into[i] = (alpha shl 24) or (red shl 16) or (green shl 8) or blue
        }
    }

    private companion object {
        const val SIGNATURE = -0x76AFB1B8F2F5E5F6L
        const val HEADER = 0x49484452
        const val DATA = 0x49444154
        const val END = 0x49454E44
    }
}
