package «app_id | kotlin_package».core

/** Beyond this many pixels a picture is decoded at half its size or less, whatever memory there is: it would take 200 MB. */
const val LARGEST_PICTURE = 50_000_000L

/** The whole number by which both sides of a picture are divided as it is decoded; it takes at most a third of [freeBytes]. */
fun sampleFor(
    width: Int,
    height: Int,
    freeBytes: Long,
): Int {
    val most = minOf(LARGEST_PICTURE, freeBytes / (3 * 4))
    var sample = 1
    while (sample < minOf(width, height) && width.toLong() / sample * (height / sample) > most) sample *= 2
    return sample
}
