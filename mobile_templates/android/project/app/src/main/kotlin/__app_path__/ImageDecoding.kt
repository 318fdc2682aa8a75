package «app_id | kotlin_package»

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import «app_id | kotlin_package».core.PixelSource
import java.nio.ByteBuffer

/**
 * Pictures as the model's preprocessing wants them: sRGB, upright (ImageDecoder applies the EXIF orientation), colours not
 * multiplied by alpha, in memory that the processor reads.
 */
object ImageDecoding {
    /** Beyond this many pixels a picture is decoded at half its size or less: its memory would be 200 MB and more. */
    private const val LARGEST = 50_000_000L

    fun decode(
        resolver: ContentResolver,
        uri: Uri,
    ): Bitmap = decode(ImageDecoder.createSource(resolver, uri))

    fun decode(data: ByteArray): Bitmap = decode(ImageDecoder.createSource(ByteBuffer.wrap(data)))

    private fun decode(source: ImageDecoder.Source): Bitmap =
        ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.isUnpremultipliedRequired = true
            decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
            var sample = 1
            while (info.size.width.toLong() / sample * (info.size.height / sample) > LARGEST) sample *= 2
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
