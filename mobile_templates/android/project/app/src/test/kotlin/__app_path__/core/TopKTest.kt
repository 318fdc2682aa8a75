package «app_id | kotlin_package».core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class TopKTest {
    @Test
    fun goldenScoresGiveTheReferencesTop5() {
        for (image in Project.golden.images) {
            assertEquals(image.name, image.top.toList(), TopK.best(image.logits, 5).map { it.index })
        }
    }

    @Test
    fun goldenLogitsGiveTheReferencesProbabilities() {
        for (image in Project.golden.images) {
            val found = TopK.probabilities(image.logits, Project.contract.activation)
            found.forEachIndexed { index, probability -> assertEquals(image.probabilities[index], probability, 1e-6f) }
        }
    }

    @Test
    fun ofEqualScoresTheLowerIndexIsFirst() {
        assertEquals(listOf(1, 3, 0), TopK.best(floatArrayOf(1f, 2f, 0f, 2f), 3).map { it.index })
    }

    @Test
    fun thereMayBeFewerClassesThanAskedFor() {
        assertEquals(2, TopK.best(floatArrayOf(1f, 2f), 5).size)
    }

    @Test
    fun aScoreThatIsNoNumberIsRefused() {
        assertThrows(IllegalArgumentException::class.java) { TopK.best(floatArrayOf(1f, Float.NaN), 1) }
    }
}
