package PACKAGE.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File

/** Pictures that Python wrote, with what Pillow makes of them: folders with picture.png, spec.txt and expected.bin. */
class VectorsTest {
    @Test
    fun everyPictureHasDifferenceZeroFromPillow() {
        val folders = File(System.getProperty("vectors")).listFiles().orEmpty().filter(File::isDirectory).sorted()
        assertTrue("only ${folders.size} pictures", folders.size >= 12)
        val worst = folders.associate { folder ->
            val (resize, height, width) = File(folder, "spec.txt").readText().trim().split(' ').map(String::toInt)
            val found = Preprocess(CropSpec(resize, height, width)).crop(PngPixels(File(folder, "picture.png").readBytes()))
            val expected = File(folder, "expected.bin").readBytes()
            assertEquals(folder.name, expected.size, found.size)
            folder.name to found.indices.maxOf { Math.abs((found[it].toInt() and 0xFF) - (expected[it].toInt() and 0xFF)) }
        }
        println("differences: $worst")
        assertEquals(folders.associate { it.name to 0 }, worst)
    }
}
