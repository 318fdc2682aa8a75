package «app_id | kotlin_package».core

import org.junit.Assert.assertEquals
import org.junit.Test

class SamplingTest {
    private val plenty = Long.MAX_VALUE

    @Test
    fun whatFitsIsDecodedWhole() {
        assertEquals(1, sampleFor(4000, 3000, plenty))
        assertEquals(1, sampleFor(4000, 3000, 3L * 4 * 4000 * 3000))
        assertEquals(1, sampleFor(1, 1, 0))
    }

    @Test
    fun aLargePictureIsDecodedSmaller() {
        assertEquals(2, sampleFor(12000, 9000, plenty))
        assertEquals(4, sampleFor(24000, 18000, plenty))
    }

    @Test
    fun littleMemoryMakesItSmaller() {
        assertEquals(2, sampleFor(4000, 3000, 3L * 4 * 4000 * 3000 - 12))
        assertEquals(4, sampleFor(4000, 3000, 3L * 4 * 1000 * 750))
    }
}
