package «app_id | kotlin_package».core

import org.json.JSONException
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class ModelContractTest {
    private val text = String(Project.read(ModelContract.FILE), Charsets.UTF_8)

    private fun changed(change: (JSONObject) -> Unit): String = JSONObject(text).also(change).toString()

    @Test
    fun thePackedModelIsTheExportedOne() {
        assertEquals(Project.contract.model.sha256, sha256(Project.read(Project.contract.model.file)))
    }

    @Test
    fun anotherByteIsRefusedWhereAFileIsOpened() {
        for (file in listOf(Project.contract.model, Project.contract.labels)) {
            assertArrayEquals(Project.read(file.file), file.read(Project::read))
            assertThrows(IllegalArgumentException::class.java) { file.read { name -> Project.read(name).also { it[0]++ } } }
        }
    }

    @Test
    fun aNewerContractIsRefused() {
        assertThrows(IllegalArgumentException::class.java) { ModelContract.parse(changed { it.put("schema_version", 2) }) }
    }

    @Test
    fun anInputThatTheAppCannotWriteIsRefused() {
        val broken = changed { it.getJSONObject("input").put("dtype", "uint8") }
        assertThrows(IllegalArgumentException::class.java) { ModelContract.parse(broken) }
    }

    @Test
    fun aCropThatDoesNotFitTheInputIsRefused() {
        val broken = changed { it.getJSONObject("preprocessing").put("height", Project.contract.crop.height - 1) }
        assertThrows(IllegalArgumentException::class.java) { ModelContract.parse(broken) }
    }

    @Test
    fun aMissingValueIsRefused() {
        assertThrows(JSONException::class.java) { ModelContract.parse(changed { it.remove("input") }) }
    }
}
