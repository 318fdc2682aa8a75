package «app_id | kotlin_package».core

import org.json.JSONException
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
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
        assertThrows(IllegalArgumentException::class.java) { ModelContract.parse(changed { it.put("schema_version", 3) }) }
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
    fun whatTheAppCannotDoWithAPictureIsRefusedByName() {
        for ((key, value) in listOf("resize_mode" to "stretch", "interpolation" to "box")) {
            val broken = changed { it.getJSONObject("preprocessing").put(key, value) }
            val told = assertThrows(IllegalArgumentException::class.java) { ModelContract.parse(broken) }
            assertTrue(told.message, told.message.orEmpty().startsWith("$key is $value, this app knows "))
        }
    }

    @Test
    fun everyWayToResizeIsRead() {
        val json = """{"resize": 48, "height": 40, "width": 60, "resize_mode": "pad", "interpolation": "lanczos",
            "resize_width": 64, "pad_color": [1, 2, 255], "color_order": "GRAY"}"""
        val crop = CropSpec.parse(JSONObject(json))
        assertEquals(listOf(48, 64, 1, 2, 255), listOf(crop.resize, crop.resizeWidth) + crop.padColor)
        assertEquals(listOf(ResizeMode.PAD, Interpolation.LANCZOS, true), listOf(crop.mode, crop.interpolation, crop.gray))
        val old = CropSpec.parse(JSONObject("""{"resize": 48, "height": 40, "width": 40}"""))
        assertEquals(listOf(ResizeMode.SHORT_SIDE, Interpolation.BILINEAR, false), listOf(old.mode, old.interpolation, old.gray))
    }

    @Test
    fun aMissingValueIsRefused() {
        assertThrows(JSONException::class.java) { ModelContract.parse(changed { it.remove("input") }) }
    }
}
