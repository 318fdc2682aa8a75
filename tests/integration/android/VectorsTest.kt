package PACKAGE.core

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File

/**
 * Pictures that Python wrote, with what Pillow makes of them: folders with picture.png, spec.txt and expected.bin.
 * With the property `stop` a test ends at its first difference.
 */
class VectorsTest {
    private val stops = System.getProperty("stop") != null

    private fun difference(name: String, found: ByteArray, expected: ByteArray): Int {
        assertEquals(name, expected.size, found.size)
        val worst = found.indices.maxOf { Math.abs((found[it].toInt() and 0xFF) - (expected[it].toInt() and 0xFF)) }
        if (stops) assertEquals(name, 0, worst)
        return worst
    }

    @Test
    fun everyPictureHasDifferenceZeroFromPillow() {
        val folders = File(System.getProperty("vectors")).listFiles().orEmpty().filter { File(it, "picture.png").isFile }.sorted()
        assertTrue("only ${folders.size} pictures", folders.size >= 12)
        val worst = folders.associate { folder ->
            val (resize, height, width) = File(folder, "spec.txt").readText().trim().split(' ').map(String::toInt)
            val found = Preprocess(CropSpec(resize, height, width)).crop(PngPixels(File(folder, "picture.png").readBytes()))
            folder.name to difference(folder.name, found, File(folder, "expected.bin").readBytes())
        }
        println("differences: $worst")
        assertEquals(folders.associate { it.name to 0 }, worst)
    }

    /** Folder `hard`: pictures/NAME.png, specs/WAY.json as in a contract, expected/WAY/NAME.bin. */
    @Test
    fun everyWayToResizeHasDifferenceZeroFromPillow() {
        val hard = File(System.getProperty("vectors"), "hard")
        val pictures = File(hard, "pictures").listFiles().orEmpty().filter { it.extension == "png" }.sorted()
        val sources = pictures.associate { it.nameWithoutExtension to PngPixels(it.readBytes()) }
        val ways = File(hard, "specs").listFiles().orEmpty().sorted()
        assertTrue("only ${sources.size} pictures, ${ways.size} ways", sources.size >= 12 && ways.size >= 32)
        val worst = ways.associate { way ->
            val preprocess = Preprocess(CropSpec.parse(JSONObject(way.readText())))
            way.nameWithoutExtension to sources.maxOf { (name, source) ->
                val expected = File(hard, "expected/${way.nameWithoutExtension}/$name.bin").readBytes()
                difference(name, preprocess.crop(source), expected)
            }
        }
        println("ways: $worst")
        assertEquals(worst.mapValues { 0 }, worst)
    }
}
