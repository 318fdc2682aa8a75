package «app_id | kotlin_package».core

import org.junit.Assert.assertEquals
import org.junit.Test

class TensorEncoderTest {
    private val pixels = byteArrayOf(0, 10, 20, -1, 110, 120)

    private fun encode(
        layout: Layout,
        order: ColorOrder,
    ): List<Float> {
        val shape = if (layout == Layout.NHWC) listOf(1, 1, 2, 3) else listOf(1, 3, 1, 2)
        val input = InputSpec("image", shape, layout, order, scale = listOf(1f, 2f, 3f), bias = listOf(0f, 0.5f, -1f))
        val floats = TensorEncoder(input).encode(pixels)
        return List(6) { floats.get(it) }
    }

    @Test
    fun valuesAreInterleavedOrInPlanes() {
        assertEquals(listOf(0f, 20.5f, 59f, 255f, 220.5f, 359f), encode(Layout.NHWC, ColorOrder.RGB))
        assertEquals(listOf(0f, 255f, 20.5f, 220.5f, 59f, 359f), encode(Layout.NCHW, ColorOrder.RGB))
    }

    @Test
    fun scaleAndBiasFollowTheColorOrder() {
        assertEquals(listOf(20f, 20.5f, -1f, 120f, 220.5f, 764f), encode(Layout.NHWC, ColorOrder.BGR))
    }

    @Test
    fun greyTakesOneOfThreeEqualChannels() {
        val grey = byteArrayOf(0, 0, 0, -1, -1, -1)
        for ((layout, shape) in mapOf(Layout.NHWC to listOf(1, 1, 2, 1), Layout.NCHW to listOf(1, 1, 1, 2))) {
            val input = InputSpec("image", shape, layout, ColorOrder.GRAY, scale = listOf(2f), bias = listOf(-1f))
            val floats = TensorEncoder(input).encode(grey)
            assertEquals(listOf(-1f, 509f), List(floats.capacity()) { floats.get(it) })
        }
    }

    @Test
    fun aBufferIsFilledAnew() {
        val input = Project.contract.input
        val encoder = TensorEncoder(input)
        val image = Project.golden.images[0]
        val first = encoder.encode(image.pixels)
        val value = first.get(0)
        encoder.encode(ByteArray(image.pixels.size))
        assertEquals(value, encoder.encode(image.pixels).get(0), 0f)
    }
}
