package «app_id | kotlin_package».core

import kotlin.math.exp

/** A class and how likely the model finds it. */
class Scored(
    val index: Int,
    val score: Float,
)

object TopK {
    /** The [k] best classes (fewer if there are not so many), best first; of equal scores the lower index first. */
    fun best(
        scores: FloatArray,
        k: Int,
    ): List<Scored> {
        require(scores.none(Float::isNaN)) { "The model gave a score that is not a number." }
        return scores.indices
            .sortedWith(compareByDescending<Int> { scores[it] }.thenBy { it })
            .take(k)
            .map { Scored(it, scores[it]) }
    }

    /** Probabilities of logits. */
    fun probabilities(
        logits: FloatArray,
        activation: Activation,
    ): FloatArray =
        when (activation) {
            Activation.SOFTMAX -> softmax(logits)
            Activation.SIGMOID -> FloatArray(logits.size) { (1 / (1 + exp(-logits[it].toDouble()))).toFloat() }
        }

    /** Probabilities that sum to one. */
    fun softmax(logits: FloatArray): FloatArray {
        val largest = logits.max().toDouble()
        val powers = DoubleArray(logits.size) { exp(logits[it] - largest) }
        val sum = powers.sum()
        return FloatArray(logits.size) { (powers[it] / sum).toFloat() }
    }
}
