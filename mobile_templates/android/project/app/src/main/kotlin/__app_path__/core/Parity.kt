package «app_id | kotlin_package».core

import java.util.Locale
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.ln1p
import kotlin.math.log10
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sign

/** What one quantity of the app's scores looks like beside the reference's, over all pictures; decibels. */
class Difference(
    val observed: String,
    val maxError: Double,
    val worstImage: Int,
    val allowedError: Double,
    val snrDb: Double,
    val centredSnrDb: Double,
    val flips: List<Int>,
    val judgesSnr: Boolean,
    val judgesBest: Boolean,
) {
    /** Why this is more than [tolerance] allows; empty where it is not. Written so that NaN is a problem. */
    fun problems(tolerance: Tolerance): List<String> =
        buildList {
            if (!(maxError <= allowedError)) add("error %.3g exceeds %.3g".format(Locale.ROOT, maxError, allowedError))
            if (judgesSnr && !(snrDb >= tolerance.minSnrDb)) {
                add("SNR %.1f dB is below %.1f dB".format(Locale.ROOT, snrDb, tolerance.minSnrDb))
            }
            if (judgesSnr && centredSnrDb < tolerance.minCentredSnrDb) {
                add("centred SNR %.1f dB is below %.1f dB".format(Locale.ROOT, centredSnrDb, tolerance.minCentredSnrDb))
            }
            if (judgesBest && flips.isNotEmpty()) add("another best class on ${flips.size} pictures")
        }
}

/**
 * Judges scores as the export did. One allowed logit error E = tolerance * largest reference logit rules everything by what
 * softmax makes of it: logits may differ by E, log-probabilities by 2 E, probabilities by min(1/2, 2 peak) E. Of few classes
 * the tolerance gives the largest probability error itself, also where the model gives logits, and the best class is judged
 * there: it may be another where the reference prefers its own by less than twice that, since both may move. Behind a sigmoid
 * log-odds may differ by E, probabilities by E / 4; a single score decides between yes and no.
 */
object Parity {
    fun compare(
        kind: OutputKind,
        pack: GoldenPack,
        scores: List<FloatArray>,
    ): List<Difference> {
        require(scores.size == pack.images.size) { "${scores.size} results for ${pack.images.size} pictures." }
        val logits = pack.images.map { image -> image.logits.map(Float::toDouble) }
        val found = scores.map { row -> row.map(Float::toDouble) }
        val allowed = pack.tolerance.maxErrorOfPeak * logits.maxOf { row -> row.maxOf { abs(it) } }
        val probabilities = pack.images.map { image -> image.probabilities.map(Float::toDouble) }
        val few = pack.tolerance.maxProbabilityError
        if (kind == OutputKind.LOGITS) {
            val judged = difference("logits", logits, found, allowed, true, few)
            if (few == null) return listOf(judged)
            val softened = found.map { row -> logProbabilities(row, pack.activation).map(::exp) }
            return listOf(judged, difference("probabilities", probabilities, softened, few, false, few, HALF))
        }
        val peak = probabilities.maxOf { it.max() }
        val floor = pack.tolerance.probabilityFloor
        if (pack.activation == Activation.SIGMOID) {
            val expected = logits.map { row -> row.map { it.coerceIn(ln(floor), -ln(max(floor, ULP))) } }
            return listOf(
                difference("probabilities", probabilities, found, few ?: (allowed / 4), false, few, HALF),
                difference("log-odds", expected, logOdds(expected, found, floor), allowed, true, few),
            )
        }
        // Below the floor both sides count as the floor: equal where both are below, and far apart where one is not.
        val expected = logits.map { row -> logProbabilities(row, pack.activation).map { max(it, ln(floor)) } }
        val behind = found.map { row -> row.map { if (it.isNaN()) it else ln(max(it, floor)) } }
        return listOf(
            difference("probabilities", probabilities, found, few ?: (min(0.5, 2 * peak) * allowed), false, few),
            difference("log-probabilities", expected, behind, 2 * allowed, true, few),
        )
    }

    private fun difference(
        observed: String,
        reference: List<List<Double>>,
        target: List<List<Double>>,
        allowed: Double,
        judgesSnr: Boolean,
        few: Double?,
        threshold: Double = 0.0,
    ): Difference {
        val tie = few?.takeUnless { judgesSnr }?.times(2)
        val errors = reference.indices.map { image ->
            require(reference[image].size == target[image].size) {
                "${target[image].size} scores for ${reference[image].size} classes."
            }
            reference[image].indices.map { target[image][it] - reference[image][it] }
        }
        val worst = errors.map { row -> row.maxOf { if (it.isFinite()) abs(it) else Double.NaN } }
        val worstImage = worst.indexOfFirst(Double::isNaN).takeIf { it >= 0 } ?: worst.indices.maxBy { worst[it] }
        return Difference(
            observed = observed,
            maxError = worst[worstImage],
            worstImage = worstImage,
            allowedError = allowed,
            snrDb = decibels(reference, errors),
            centredSnrDb = decibels(reference.map(::centred), errors.map(::centred)),
            flips = reference.indices.filter {
                val error = if (reference[it].size == 1) worst[it] / 2 else worst[it]
                flipped(decided(reference[it], threshold), decided(target[it], threshold), tie ?: error)
            },
            judgesSnr = judgesSnr,
            judgesBest = judgesSnr == (few == null),
        )
    }

    /** Whether the best class differs by more than a tie: where the reference's margin is below [tie], either may win. */
    private fun flipped(
        reference: List<Double>,
        target: List<Double>,
        tie: Double,
    ): Boolean {
        val own = reference.indices.maxBy { reference[it] }
        val other = target.indices.maxBy { target[it] }
        return own != other && !(reference[own] - reference[other] < tie)
    }

    /** A single score has no rival: no and yes, half of what it exceeds the threshold by to either side. */
    private fun decided(
        row: List<Double>,
        threshold: Double,
    ): List<Double> = if (row.size == 1) ((row[0] - threshold) / 2).let { listOf(-it, it) } else row

    private fun centred(row: List<Double>): List<Double> = row.average().let { mean -> row.map { it - mean } }

    private fun decibels(
        signal: List<List<Double>>,
        noise: List<List<Double>>,
    ): Double {
        val power = signal.sumOf { row -> row.sumOf { it * it } }
        val lost = noise.sumOf { row -> row.sumOf { it * it } }
        return when {
            lost == 0.0 -> Double.POSITIVE_INFINITY
            power == 0.0 -> Double.NEGATIVE_INFINITY
            else -> 10 * log10(power / lost)
        }
    }

    private fun logProbabilities(
        row: List<Double>,
        activation: Activation,
    ): List<Double> {
        if (activation == Activation.SIGMOID) return row.map { min(it, 0.0) - ln1p(exp(-abs(it))) }
        val largest = row.max()
        val sum = ln(row.sumOf { exp(it - largest) })
        return row.map { it - largest - sum }
    }

    /** The logits behind independent probabilities; what a float near 1 cannot tell apart is no error. */
    private fun logOdds(
        expected: List<List<Double>>,
        found: List<List<Double>>,
        floor: Double,
    ): List<List<Double>> =
        expected.indices.map { image ->
            found[image].mapIndexed { place, probability ->
                val reference = expected[image].getOrElse(place) { 0.0 }
                val chance = if (probability.isNaN()) probability else probability.coerceIn(floor, 1 - ULP)
                val odds = ln(chance) - ln1p(-chance)
                val error = (if (odds.isNaN()) odds else odds.coerceIn(ln(floor), -ln(max(floor, ULP)))) - reference
                reference + sign(error) * max(abs(error) - ULPS * ULP / (1 - chance), 0.0)
            }
        }

    private const val HALF = 0.5

    /** From 1 to the float below it, and to how many of them a runtime's sigmoid is exact. */
    private const val ULP = 5.9604644775390625e-8
    private const val ULPS = 4
}
