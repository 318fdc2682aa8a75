package «app_id | kotlin_package».core

/**
 * Turns a picture into the pixels that the model was trained on: resize of the short side, centre crop, RGB.
 *
 * It gives exactly what Pillow gives (and with it the Python that trained and proved the model): other resizers, such as
 * Android's own, differ by up to 180 of 255 levels. Only rows and columns that the crop needs are read, one row at a time.
 */
class Preprocess(
    private val spec: CropSpec,
) {
    /** The crop as RGB bytes, row by row: `height * width * 3` of them. */
    fun crop(source: PixelSource): ByteArray {
        val short = minOf(source.width, source.height)
        val long = maxOf(source.width, source.height)
        require(short > 0) { "The picture is ${source.width}x${source.height}." }
        val longer = Math.toIntExact(spec.resize.toLong() * long / short)
        val (width, height) = if (source.width <= source.height) spec.resize to longer else longer to spec.resize
        val left = halfToEven(width - spec.width)
        val top = halfToEven(height - spec.height)
        val columns = Resampling(source.width, width, left, left + spec.width)
        val rows = Resampling(source.height, height, top, top + spec.height)
        return resample(source, columns, rows)
    }

    private fun resample(
        source: PixelSource,
        columns: Resampling,
        rows: Resampling,
    ): ByteArray {
        val values = spec.width * 3
        val x = columns.first.first()
        val read = columns.first.last() + columns.count.last() - x
        val pixels = IntArray(read)
        val redBlue = LongArray(read)
        val green = IntArray(read)
        val line = IntArray(values)
        val sums = IntArray(spec.height * values) { Resampling.HALF }
        var oldest = 0
        for (y in rows.first.first() until rows.first.last() + rows.count.last()) {
            source.readRow(y, x, read, pixels)
            if (!source.opaque) overWhite(pixels)
            split(pixels, redBlue, green)
            horizontal(redBlue, green, columns, x, line)
            while (rows.first[oldest] + rows.count[oldest] <= y) oldest++
            // Where output rows begin and end only grows with the row: those that take this line are neighbours.
            var output = oldest
            while (output < spec.height && rows.first[output] <= y) {
                add(line, rows.weights[output * rows.taps + y - rows.first[output]], sums, output * values)
                output++
            }
        }
        return ByteArray(sums.size) { (sums[it] ushr Resampling.BITS).coerceAtMost(255).toByte() }
    }

    /** Red and blue go into one number, 32 bits apart, so that one multiplication serves both; neither sum reaches 31 bits. */
    private fun split(
        pixels: IntArray,
        redBlue: LongArray,
        green: IntArray,
    ) {
        for (i in pixels.indices) {
            val pixel = pixels[i]
            redBlue[i] = (pixel and 0xFF0000).toLong() shl 16 or (pixel and 0xFF).toLong()
            green[i] = pixel ushr 8 and 0xFF
        }
    }

    private fun horizontal(
        redBlue: LongArray,
        green: IntArray,
        columns: Resampling,
        x: Int,
        line: IntArray,
    ) {
        val weights = columns.weights
        for (output in columns.first.indices) {
            val start = columns.first[output] - x
            val weight = output * columns.taps - start
            var both = HALF_TWICE
            var single = Resampling.HALF
            for (i in start until start + columns.count[output]) {
                both += redBlue[i] * weights[weight + i]
                single += green[i] * weights[weight + i]
            }
            line[output * 3] = (both ushr 32 + Resampling.BITS).toInt().coerceAtMost(255)
            line[output * 3 + 1] = (single ushr Resampling.BITS).coerceAtMost(255)
            line[output * 3 + 2] = (both.toInt() ushr Resampling.BITS).coerceAtMost(255)
        }
    }

    private fun add(
        line: IntArray,
        weight: Int,
        sums: IntArray,
        offset: Int,
    ) {
        for (i in line.indices) sums[offset + i] += line[i] * weight
    }

    companion object {
        private const val HALF_TWICE = Resampling.HALF.toLong() shl 32 or Resampling.HALF.toLong()

        /** Half of [spare], rounded to the even neighbour where it lies between two, as Python's round does. */
        internal fun halfToEven(spare: Int): Int {
            val half = spare shr 1
            return if (spare and 1 == 1 && half and 1 == 1) half + 1 else half
        }

        /** Lays pixels over white in place, in Pillow's fixed-point arithmetic. */
        internal fun overWhite(pixels: IntArray) {
            for (i in pixels.indices) {
                val pixel = pixels[i]
                val alpha = pixel ushr 24
                if (alpha == 255) continue
                // The result is opaque, so the source's share is its alpha: 255 * 128 parts are the whole.
                val share = alpha shl 7
                val white = (32_640 - share) * 255
                val red = over((pixel ushr 16 and 0xFF) * share + white)
                val green = over((pixel ushr 8 and 0xFF) * share + white)
                val blue = over((pixel and 0xFF) * share + white)
                pixels[i] = (0xFF shl 24) or (red shl 16) or (green shl 8) or blue
            }
        }

        private fun over(sum: Int): Int {
            val rounded = sum + (0x80 shl 7)
            return ((rounded shr 8) + rounded shr 8) shr 7
        }
    }
}
