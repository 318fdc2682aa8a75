package «app_id | kotlin_package».core

import kotlin.math.abs
import kotlin.math.ceil

/**
 * The weights of Pillow's antialiased resize along one axis, for the outputs [from] until [until] only.
 *
 * Output `o` (counted from [from]) is the sum of [count]`[o]` inputs from [first]`[o]` on, times the [weights] from
 * `o * `[taps] on, which are fractions of `1 shl `[BITS]. Every step is rounded where Pillow's Resample.c rounds (of the
 * nearest input, its Geometry.c): the result is equal, bit for bit.
 */
internal class Resampling(
    inputSize: Int,
    outputSize: Int,
    from: Int,
    until: Int,
    private val interpolation: Interpolation = Interpolation.BILINEAR,
) {
    /** How many outputs there are. */
    val size = until - from
    val first = IntArray(size)
    val count = IntArray(size)
    val taps: Int
    val weights: IntArray

    /** The inputs from [start] until [end] are needed. */
    val start: Int get() = first.first()
    val end: Int get() = first.last() + count.last()

    init {
        val scale = inputSize.toDouble() / outputSize
        val stretch = maxOf(scale, 1.0) // shrinking stretches the filter over all inputs
        val support = interpolation.reach * stretch
        taps = ceil(support).toInt() * 2 + 1
        weights = IntArray(taps * size)
        if (interpolation == Interpolation.NEAREST) {
            takeNearest(scale, from, until)
        } else {
            val inverse = 1.0 / stretch
            val exact = DoubleArray(taps)
            for (output in from until until) {
                val center = (output + 0.5) * scale
                val start = maxOf((center - support + 0.5).toInt(), 0)
                val size = minOf((center + support + 0.5).toInt(), inputSize) - start
                var sum = 0.0
                for (tap in 0 until size) {
                    exact[tap] = filter((tap + start - center + 0.5) * inverse)
                    sum += exact[tap]
                }
                first[output - from] = start
                count[output - from] = size
                for (tap in 0 until size) {
                    val weight = if (sum != 0.0) exact[tap] / sum else exact[tap]
                    val half = if (weight < 0) -0.5 else 0.5
                    weights[(output - from) * taps + tap] = (half + weight * (1 shl BITS)).toInt()
                }
            }
        }
    }

    /** One input each; its place is added up step by step, roundings included. */
    private fun takeNearest(
        scale: Double,
        from: Int,
        until: Int,
    ) {
        var place = scale * 0.5
        for (output in 0 until until) {
            if (output >= from) {
                first[output - from] = place.toInt()
                count[output - from] = 1
                weights[output - from] = 1 shl BITS
            }
            place += scale
        }
    }

    private fun filter(x: Double): Double =
        when (interpolation) {
            Interpolation.NEAREST -> error("it has no weights")
            Interpolation.BILINEAR -> if (abs(x) < 1.0) 1.0 - abs(x) else 0.0
            Interpolation.BICUBIC -> cubic(abs(x))
            Interpolation.LANCZOS -> if (-3.0 <= x && x < 3.0) sinc(x) * sinc(x / 3) else 0.0
        }

    private fun cubic(x: Double): Double =
        when {
            x < 1.0 -> (1.5 * x - 2.5) * x * x + 1
            x < 2.0 -> (((x - 5) * x + 8) * x - 4) * -0.5
            else -> 0.0
        }

    // StrictMath: one sine on every phone and every computer. Where it differs from Pillow's, no weight does.
    private fun sinc(x: Double): Double = if (x == 0.0) 1.0 else StrictMath.sin(x * Math.PI) / (x * Math.PI)

    companion object {
        const val BITS = 22
        const val HALF = 1 shl (BITS - 1)

        /** The 8-bit level of a weighted sum; negative weights, and the roundings of all, bring some out of 0..255. */
        fun level(sum: Int): Int = (sum shr BITS).coerceIn(0, 255)
    }
}
