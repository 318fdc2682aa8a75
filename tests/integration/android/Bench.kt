package PACKAGE.core

/** Times the preprocessing of a picture in memory: prints one line of milliseconds per run. Arguments: width, height, runs. */
object Bench {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val (pictureWidth, pictureHeight, runs) = arguments.map(String::toInt)
        // What a bitmap holds: packed pixels, copied out by rows.
        val pixels = IntArray(pictureWidth * pictureHeight) { (0xFF shl 24) or (it * 2654435761L ushr 8).toInt().and(0xFFFFFF) }
        val source = object : PixelSource {
            override val width = pictureWidth
            override val height = pictureHeight
            override val opaque = true

            override fun readRow(
                y: Int,
                x: Int,
                count: Int,
                into: IntArray,
            ) {
                System.arraycopy(pixels, y * width + x, into, 0, count)
            }
        }
        val preprocess = Preprocess(CropSpec(resize = 256, height = 224, width = 224))
        repeat(runs) {
            val began = System.nanoTime()
            preprocess.crop(source)
            println((System.nanoTime() - began) / 1e6)
        }
    }
}
