package «app_id | kotlin_package».core

/** A decoded picture that gives its pixels row by row: ARGB, 8 bits each, colours not multiplied by alpha. */
interface PixelSource {
    val width: Int
    val height: Int

    /** False where some pixel may be transparent; the picture is then laid over white. */
    val opaque: Boolean

    /** Puts [count] pixels of row [y], from column [x] on, at the beginning of [into]. */
    fun readRow(
        y: Int,
        x: Int,
        count: Int,
        into: IntArray,
    )
}
