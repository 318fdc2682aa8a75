package «app_id | kotlin_package».core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class PreprocessTest {
    @Test
    fun goldenPicturesGiveTheReferencesPixels() {
        val preprocess = Preprocess(Project.contract.crop)
        for (image in Project.golden.images) {
            val found = preprocess.crop(PngPixels(Project.read(image.file)))
            assertEquals(image.name, image.pixels.size, found.size)
            val worst = found.indices.maxOf { Math.abs((found[it].toInt() and 0xFF) - (image.pixels[it].toInt() and 0xFF)) }
            assertEquals("largest difference in ${image.name}", 0, worst)
        }
    }

    @Test
    fun offsetsAreRoundedHalfToEven() {
        val expected = mapOf(0 to 0, 1 to 0, 2 to 1, 3 to 2, 4 to 2, 5 to 2, 6 to 3, 7 to 4, 9 to 4)
        for ((spare, offset) in expected) assertEquals("$spare", offset, Preprocess.halfToEven(spare))
    }

    @Test
    fun aFlatPictureStaysFlat() {
        val color = 0xFF102030.toInt()
        val flat = object : PixelSource {
            override val width = 500
            override val height = 301
            override val opaque = true

            override fun readRow(
                y: Int,
                x: Int,
                count: Int,
                into: IntArray,
            ) = into.fill(color, 0, count)
        }
        val found = Preprocess(CropSpec(resize = 40, height = 24, width = 32)).crop(flat).toList().chunked(3)
        assertEquals(24 * 32, found.size)
        assertEquals(setOf(listOf<Byte>(0x10, 0x20, 0x30)), found.toSet())
    }

    @Test
    fun transparencyIsLaidOverWhite() {
        val pixels = intArrayOf(0x00123456, 0xFF123456.toInt(), 0x80000000.toInt())
        Preprocess.overWhite(pixels)
        assertEquals(listOf("ffffffff", "ff123456", "ff7f7f7f"), pixels.map(Integer::toHexString))
    }

    @Test
    fun greyIsTheFormulaOfItsStandard() {
        val pixels = intArrayOf(0x00FF0000, 0x0000FF00, 0x000000FF, 0x007B7B7B, 0x00FFFFFF)
        Preprocess.toGray(pixels)
        assertEquals(listOf("ff4c4c4c", "ff969696", "ff1d1d1d", "ff7b7b7b", "ffffffff"), pixels.map(Integer::toHexString))
    }

    @Test
    fun whatIsPaddedKeepsItsShapeAndNeverVanishes() {
        val square = CropSpec(resize = 64, height = 64, width = 64, mode = ResizeMode.PAD)
        assertEquals(64 to 32, square.resized(100, 50))
        assertEquals(1 to 64, square.resized(1, 900))
        assertEquals(64 to 64, square.resized(7, 7))
        assertEquals(64 to 2, square.resized(128, 5)) // 2.5 goes to the even neighbour
    }

    @Test
    fun aCropLargerThanTheResizedPictureIsRefused() {
        assertThrows(IllegalArgumentException::class.java) { CropSpec(resize = 200, height = 224, width = 224) }
    }
}
