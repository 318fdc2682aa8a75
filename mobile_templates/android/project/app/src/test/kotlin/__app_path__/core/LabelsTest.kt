package «app_id | kotlin_package».core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test
import java.nio.charset.CharacterCodingException

class LabelsTest {
    @Test
    fun thePackedLabelsAreTheExportedOnes() {
        val data = Project.read(Project.contract.labels.file)
        assertEquals(Project.contract.labels.sha256, sha256(data))
        assertEquals(Project.contract.classes, Labels.parse(data, Project.contract.classes).size)
    }

    @Test
    fun onlyALineFeedEndsALabel() {
        val labels = Labels.parse("a b\u2028c\n\u00e9\r\n".toByteArray(), 2)
        assertEquals("a b\u2028c", labels[0])
        assertEquals("\u00e9\r", labels[1])
    }

    @Test
    fun anotherNumberOfLabelsThanClassesIsRefused() {
        assertThrows(IllegalArgumentException::class.java) { Labels.parse("a\nb\n".toByteArray(), 3) }
    }

    @Test
    fun bytesThatAreNoTextAreRefused() {
        assertThrows(CharacterCodingException::class.java) { Labels.parse(byteArrayOf(-1, 10), 1) }
    }
}
