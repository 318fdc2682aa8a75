package «app_id | kotlin_package».core

import kotlin.math.abs
import kotlin.math.ceil

/**
 * The weights of Pillow's antialiased bilinear resize along one axis, for the outputs [from] until [until] only.
 *
 * Output `o` (counted from [from]) is the sum of [count]`[o]` inputs from [first]`[o]` on, times the [weights] from
 * `o * `[taps] on, which are fractions of `1 shl `[BITS]. Every step is rounded where Pillow's Resample.c rounds: the
 * result is equal, bit for bit.
 */
internal class Resampling(
    inputSize: Int,
    outputSize: Int,
    from: Int,
    until: Int,
) {
    val first = IntArray(until - from)
    val count = IntArray(until - from)
    val taps: Int
    val weights: IntArray

    /** The inputs from [start] until [end] are needed. */
    val start: Int get() = first.first()
    val end: Int get() = first.last() + count.last()

    init {
        val scale = inputSize.toDouble() / outputSize
        val support = maxOf(scale, 1.0) // the triangle is 1 wide to each side; shrinking stretches it over all inputs
        val inverse = 1.0 / support
        taps = ceil(support).toInt() * 2 + 1
        weights = IntArray(taps * (until - from))
        val exact = DoubleArray(taps)
        for (output in from until until) {
            val center = (output + 0.5) * scale
            val start = maxOf((center - support + 0.5).toInt(), 0)
            val size = minOf((center + support + 0.5).toInt(), inputSize) - start
            var sum = 0.0
            for (tap in 0 until size) {
                exact[tap] = triangle((tap + start - center + 0.5) * inverse)
                sum += exact[tap]
            }
            first[output - from] = start
            count[output - from] = size
            for (tap in 0 until size) {
                val weight = if (sum != 0.0) exact[tap] / sum else exact[tap]
                weights[(output - from) * taps + tap] = (0.5 + weight * (1 shl BITS)).toInt()
            }
        }
    }

    private fun triangle(x: Double): Double = if (abs(x) < 1.0) 1.0 - abs(x) else 0.0

    companion object {
        const val BITS = 22
        const val HALF = 1 shl (BITS - 1)
    }
}
