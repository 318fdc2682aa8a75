package PACKAGE.core

import java.lang.management.ManagementFactory

/** Times the preprocessing of a picture in memory: prints a line per run: milliseconds on the clock, and of this thread's own time. Arguments: width, height, runs. */
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
        val threads = ManagementFactory.getThreadMXBean()
        repeat(runs) {
            val began = System.nanoTime()
            val used = threads.currentThreadCpuTime
            preprocess.crop(source)
            println("${(System.nanoTime() - began) / 1e6} ${(threads.currentThreadCpuTime - used) / 1e6}")
        }
    }
}
