package «app_id | kotlin_package».core

/**
 * Turns a picture into the pixels that the model was trained on: resize, padding if it has some, centre crop, RGB.
 *
 * It gives exactly what Pillow gives (and with it the Python that trained and proved the model): other resizers, such as
 * Android's own, differ by up to 180 of 255 levels. Only rows and columns that the crop needs are read, one row at a time.
 */
class Preprocess(
    private val spec: CropSpec,
) {
    /** The crop as RGB bytes, row by row: `height * width * 3` of them; of a grey model the three are equal. */
    fun crop(source: PixelSource): ByteArray {
        require(minOf(source.width, source.height) > 0) { "The picture is ${source.width}x${source.height}." }
        val (width, height) = spec.resized(source.width, source.height)
        val pad = spec.mode == ResizeMode.PAD
        // Where the picture begins, counted from the crop: beyond 0 there is padding in front of it.
        val left = (if (pad) halfToEven(spec.resizeWidth - width) else 0) - halfToEven(spec.canvasWidth(width) - spec.width)
        val top = (if (pad) halfToEven(spec.resize - height) else 0) - halfToEven(spec.canvasHeight(height) - spec.height)
        val columns = Resampling(source.width, width, maxOf(-left, 0), minOf(spec.width - left, width), spec.interpolation)
        val rows = Resampling(source.height, height, maxOf(-top, 0), minOf(spec.height - top, height), spec.interpolation)
        val part =
            if (verticalFirst(source.width, source.height, width, height)) {
                shrinkRowsFirst(source, columns, rows)
            } else {
                shrinkColumnsFirst(source, columns, rows)
            }
        return if (pad) padded(part, columns.size, maxOf(left, 0), maxOf(top, 0)) else part
    }

    /** Puts [part], [width] pixels wide, into a crop of the padding's colour. */
    private fun padded(
        part: ByteArray,
        width: Int,
        left: Int,
        top: Int,
    ): ByteArray {
        val crop = ByteArray(spec.height * spec.width * 3) { spec.padColor[it % 3].toByte() }
        for (y in 0 until part.size / (width * 3)) {
            part.copyInto(crop, ((top + y) * spec.width + left) * 3, y * width * 3, (y + 1) * width * 3)
        }
        return crop
    }

    /** Each line is resized as it is read, then added to every row of the crop that it is a part of. */
    private fun shrinkColumnsFirst(
        source: PixelSource,
        columns: Resampling,
        rows: Resampling,
    ): ByteArray {
        val values = columns.size * 3
        val pixels = IntArray(columns.end - columns.start)
        val line = IntArray(values)
        val sums = IntArray(rows.size * values) { Resampling.HALF }
        var oldest = 0
        for (y in rows.start until rows.end) {
            read(source, y, columns.start, pixels)
            horizontal(pixels, columns, line, 0)
            while (rows.first[oldest] + rows.count[oldest] <= y) oldest++
            // Where output rows begin and end only grows with the row: those that take this line are neighbours.
            var output = oldest
            while (output < rows.size && rows.first[output] <= y) {
                add(line, rows.weights[output * rows.taps + y - rows.first[output]], sums, output * values)
                output++
            }
        }
        return ByteArray(sums.size) { Resampling.level(sums[it]).toByte() }
    }

    /** Lines are added to the few rows that are being made; each is resized when its last line is in. */
    private fun shrinkRowsFirst(
        source: PixelSource,
        columns: Resampling,
        rows: Resampling,
    ): ByteArray {
        val values = columns.size * 3
        val pixels = IntArray(columns.end - columns.start)
        val line = IntArray(pixels.size * 3)
        val pending = arrayOfNulls<IntArray>(rows.size)
        val crop = IntArray(rows.size * values)
        var oldest = 0
        for (y in rows.start until rows.end) {
            read(source, y, columns.start, pixels)
            unpack(pixels, line)
            var output = oldest
            while (output < rows.size && rows.first[output] <= y) {
                val sums = pending[output] ?: IntArray(line.size) { Resampling.HALF }.also { pending[output] = it }
                add(line, rows.weights[output * rows.taps + y - rows.first[output]], sums, 0)
                output++
            }
            while (oldest < rows.size && rows.first[oldest] + rows.count[oldest] == y + 1) {
                pack(checkNotNull(pending[oldest]), pixels)
                horizontal(pixels, columns, crop, oldest * values)
                pending[oldest++] = null
            }
        }
        return ByteArray(crop.size) { crop[it].toByte() }
    }

    private fun read(
        source: PixelSource,
        y: Int,
        x: Int,
        pixels: IntArray,
    ) {
        source.readRow(y, x, pixels.size, pixels)
        if (!source.opaque) overWhite(pixels)
        if (spec.gray) toGray(pixels)
    }

    /** Resizes [pixels], which begin at the first column that is needed, to RGB levels in [into] from [offset] on. */
    private fun horizontal(
        pixels: IntArray,
        columns: Resampling,
        into: IntArray,
        offset: Int,
    ) {
        val weights = columns.weights
        for (output in columns.first.indices) {
            val start = columns.first[output] - columns.start
            val shift = output * columns.taps - start
            var red = Resampling.HALF
            var green = Resampling.HALF
            var blue = Resampling.HALF
            for (i in start until start + columns.count[output]) {
                val pixel = pixels[i]
                val weight = weights[shift + i]
                red += (pixel ushr 16 and 0xFF) * weight
                green += (pixel ushr 8 and 0xFF) * weight
                blue += (pixel and 0xFF) * weight
            }
            into[offset + output * 3] = Resampling.level(red)
            into[offset + output * 3 + 1] = Resampling.level(green)
            into[offset + output * 3 + 2] = Resampling.level(blue)
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

    private fun unpack(
        pixels: IntArray,
        line: IntArray,
    ) {
        for (i in pixels.indices) {
            line[i * 3] = pixels[i] ushr 16 and 0xFF
            line[i * 3 + 1] = pixels[i] ushr 8 and 0xFF
            line[i * 3 + 2] = pixels[i] and 0xFF
        }
    }

    private fun pack(
        sums: IntArray,
        pixels: IntArray,
    ) {
        for (i in pixels.indices) {
            val red = Resampling.level(sums[i * 3])
            val green = Resampling.level(sums[i * 3 + 1])
            val blue = Resampling.level(sums[i * 3 + 2])
            pixels[i] = (red shl 16) or (green shl 8) or blue
        }
    }

    companion object {
        /**
         * Which way Pillow (13) goes first, found by experiment over some 800 sizes: pictures that lose more than twice as many
         * rows as columns lose their rows first. Both orders round to 8 bits in between, so they differ by up to 1 level.
         */
        internal fun verticalFirst(
            width: Int,
            height: Int,
            newWidth: Int,
            newHeight: Int,
        ): Boolean = height > newHeight && height - newHeight > 2 * (width - newWidth)

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

        /** Makes pixels grey in place, as Pillow's mode L does: ITU-R 601-2 in fixed point. */
        internal fun toGray(pixels: IntArray) {
            for (i in pixels.indices) {
                val pixel = pixels[i]
                val sum = (pixel ushr 16 and 0xFF) * 19_595 + (pixel ushr 8 and 0xFF) * 38_470 + (pixel and 0xFF) * 7_471
                pixels[i] = (0xFF shl 24) or (sum + 0x8000 ushr 16) * 0x010101
            }
        }

        private fun over(sum: Int): Int {
            val rounded = sum + (0x80 shl 7)
            return ((rounded shr 8) + rounded shr 8) shr 7
        }
    }
}
