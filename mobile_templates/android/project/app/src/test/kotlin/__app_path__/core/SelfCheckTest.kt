package «app_id | kotlin_package».core

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.exp

/** The judge is judged: with the reference's own answers it passes, with anything wrong it names what. */
class SelfCheckTest {
    private val contract = Project.contract

    /** An engine that knows the golden answers; [change] makes them wrong. */
    private fun engine(change: (FloatArray) -> FloatArray): Engine =
        object : Engine {
            override val runtime = "the reference itself"
            override val threads = 1

            override fun run(pixels: ByteArray): Map<String, FloatArray> {
                val image = Project.golden.images.firstOrNull { it.pixels.contentEquals(pixels) }
                val logits = change(image?.logits?.copyOf() ?: FloatArray(contract.classes) { (it % 7) / 3f })
                return contract.outputs.associate {
                    it.name to if (it.kind == OutputKind.LOGITS) logits else TopK.probabilities(logits, contract.activation)
                }
            }

            override fun close() = Unit
        }

    private fun check(
        open: ReadFile = Project::read,
        change: (FloatArray) -> FloatArray = { it },
    ): SelfCheckResult = SelfCheck(contract, engine(change), open, ::PngPixels).run()

    private fun failed(result: SelfCheckResult): List<String> = result.findings.filterNot { it.passed }.map { it.check }

    private fun damaged(name: String): ReadFile =
        { file -> Project.read(file).also { if (file == name) it[it.size / 2] = (it[it.size / 2].toInt() xor 1).toByte() } }

    @Test
    fun theReferencesOwnAnswersPass() {
        val result = check()
        assertEquals(emptyList<String>(), failed(result))
        assertTrue(result.passed)
        assertTrue(result.findings.size >= 4 + Project.golden.images.size)
    }

    @Test
    fun anotherByteInTheModelIsNamed() {
        assertEquals(listOf("model file"), failed(check(damaged(contract.model.file))))
    }

    @Test
    fun anotherLabelIsNamed() {
        assertTrue("labels" in failed(check(damaged(contract.labels.file))))
    }

    @Test
    fun aDamagedGoldenPackIsNamedAndNothingPassesWithoutIt() {
        for (file in listOf("golden/golden.json", "golden/logits.bin", Project.golden.images[0].file)) {
            val result = check(damaged(file))
            assertEquals(file, listOf("golden pack"), failed(result))
            assertFalse(result.passed)
        }
    }

    @Test
    fun scoresBeyondTheToleranceFail() {
        val peak = Project.golden.images.maxOf { image -> image.logits.maxOf { Math.abs(it) } }
        val step = (Project.golden.tolerance.maxErrorOfPeak * peak * 4).toFloat()
        val result = check { logits -> logits.also { for (i in it.indices) it[i] += if (i % 2 == 0) step else -step } }
        assertEquals(contract.outputs.map { "parity of ${it.name}" }, failed(result))
    }

    @Test
    fun scoresInTheWrongOrderFail() {
        val result = check { if (it.size > 1) it.reversedArray() else floatArrayOf(-it[0]) }
        assertTrue(failed(result).containsAll(contract.outputs.map { "parity of ${it.name}" }))
    }

    @Test
    fun scoresThatAreNoNumbersFail() {
        val result = check { logits -> logits.also { it[0] = Float.NaN } }
        assertTrue(failed(result).containsAll(contract.outputs.map { "parity of ${it.name}" }))
    }

    @Test
    fun aModelThatIgnoresItsInputFails() {
        assertTrue("inference" in failed(check { FloatArray(it.size) { place -> exp(place / 100f) } }))
    }

    @Test
    fun aMissingOutputFails() {
        val nothing = object : Engine by engine({ it }) {
            override fun run(pixels: ByteArray): Map<String, FloatArray> = emptyMap()
        }
        assertFalse(SelfCheck(contract, nothing, Project::read, ::PngPixels).run().passed)
    }

    @Test
    fun aRuntimeThatDoesNotLoadFailsAndTheAppGoesOn() {
        for (error in listOf(UnsatisfiedLinkError("no libx.so"), NoClassDefFoundError("org/x/Native"), OutOfMemoryError())) {
            val result = check { throw error }
            assertEquals(listOf("inference"), failed(result))
            assertFalse(result.passed)
            assertEquals(reasonOf(error), result.findings.single { it.check == "inference" }.detail)
        }
    }

    @Test
    fun otherPixelsAreNamed() {
        val shifted = SelfCheck(contract, engine { it }, Project::read) { data ->
            val picture = PngPixels(data)
            object : PixelSource by picture {
                override fun readRow(
                    y: Int,
                    x: Int,
                    count: Int,
                    into: IntArray,
                ) = picture.readRow(minOf(y + 1, picture.height - 1), x, count, into)
            }
        }
        assertTrue(failed(shifted.run()).any { it.startsWith("preprocessing ") })
    }

    @Test
    fun theResultIsSharedAsJson() {
        val json = JSONObject(check().toJson(mapOf("model" to "a phone")))
        assertTrue(json.getBoolean("passed"))
        assertEquals(contract.name, json.getString("model"))
        assertEquals("a phone", json.getJSONObject("device").getString("model"))
        assertEquals(Project.golden.images.size, json.getJSONArray("milliseconds").length())
    }
}
