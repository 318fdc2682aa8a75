package «app_id | kotlin_package»

import android.app.ActivityManager
import android.content.Context
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import «app_id | kotlin_package».core.PixelSource
import «app_id | kotlin_package».core.sampleFor
import java.nio.ByteBuffer

/**
 * Pictures as the model's preprocessing wants them: sRGB, upright (ImageDecoder applies the EXIF orientation), colours not
 * multiplied by alpha, in memory that the processor reads.
 */
object ImageDecoding {
    /** A photo, at a fraction of its size where the phone has no memory for the whole. */
    fun decode(
        context: Context,
        uri: Uri,
    ): Bitmap {
        val memory = ActivityManager.MemoryInfo()
        (context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).getMemoryInfo(memory)
        return decode(ImageDecoder.createSource(context.contentResolver, uri), memory.availMem)
    }

    /** A picture of the golden pack: at its own size. */
    fun decode(data: ByteArray): Bitmap = decode(ImageDecoder.createSource(ByteBuffer.wrap(data)), Long.MAX_VALUE)

    private fun decode(
        source: ImageDecoder.Source,
        freeBytes: Long,
    ): Bitmap =
        ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.isUnpremultipliedRequired = true
            decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
            val sample = sampleFor(info.size.width, info.size.height, freeBytes)
            if (sample > 1) decoder.setTargetSampleSize(sample)
        }
}

/** A bitmap's pixels, row by row, without a copy of the whole. */
class BitmapPixels(
    private val bitmap: Bitmap,
) : PixelSource {
    override val width: Int get() = bitmap.width
    override val height: Int get() = bitmap.height
    override val opaque: Boolean get() = !bitmap.hasAlpha()

    override fun readRow(
        y: Int,
        x: Int,
        count: Int,
        into: IntArray,
    ) {
        bitmap.getPixels(into, 0, count, x, y, count, 1)
    }
}
