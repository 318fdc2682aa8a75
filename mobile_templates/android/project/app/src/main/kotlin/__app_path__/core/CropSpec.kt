package «app_id | kotlin_package».core

import org.json.JSONObject

/** What becomes of a picture that has not the crop's shape. */
enum class ResizeMode { SHORT_SIDE, SQUASH, PAD }

/** Pillow's filters, and how far each reaches to either side where nothing shrinks. */
enum class Interpolation(
    val reach: Double,
) {
    NEAREST(0.0),
    BILINEAR(1.0),
    BICUBIC(2.0),
    LANCZOS(3.0),
}

/**
 * Where in the picture the model looks: it is resized as [mode] says, then the centre is cut out.
 *
 * [resize]: what the short side becomes; or the height, with [resizeWidth], that a picture is squashed to or padded to,
 * with the [padColor] around it (red, green, blue). [gray]: it is made grey before all that.
 */
class CropSpec(
    val resize: Int,
    val height: Int,
    val width: Int,
    val mode: ResizeMode = ResizeMode.SHORT_SIDE,
    val interpolation: Interpolation = Interpolation.BILINEAR,
    val resizeWidth: Int = resize,
    val padColor: List<Int> = listOf(0, 0, 0),
    val gray: Boolean = false,
) {
    init {
        require(height > 0 && width > 0) { "The crop is ${height}x$width." }
        if (mode == ResizeMode.SHORT_SIDE) {
            require(resize >= maxOf(height, width)) { "The short side becomes $resize, less than the crop ${height}x$width." }
        } else {
            require(resize >= height && resizeWidth >= width) {
                "A picture becomes ${resize}x$resizeWidth, less than the crop ${height}x$width."
            }
        }
        require(padColor.size == 3 && padColor.all { it in 0..255 }) { "The padding has the colour $padColor." }
    }

    /** Width and height after the resize of a picture of that size. */
    fun resized(
        width: Int,
        height: Int,
    ): Pair<Int, Int> =
        when (mode) {
            ResizeMode.SHORT_SIDE -> {
                val long = Math.toIntExact(resize.toLong() * maxOf(width, height) / minOf(width, height))
                if (width <= height) resize to long else long to resize
            }

            ResizeMode.SQUASH -> {
                resizeWidth to resize
            }

            ResizeMode.PAD -> {
                val ratio = width.toDouble() / height
                val wanted = resizeWidth.toDouble() / resize
                when {
                    ratio > wanted -> resizeWidth to rounded(height.toDouble() / width * resizeWidth)
                    ratio < wanted -> rounded(ratio * resize) to resize
                    else -> resizeWidth to resize
                }
            }
        }

    /** The sides of what the crop is cut from, where the resized picture has that [width] or [height]. */
    fun canvasWidth(width: Int): Int = if (mode == ResizeMode.PAD) resizeWidth else width

    fun canvasHeight(height: Int): Int = if (mode == ResizeMode.PAD) resize else height

    /** A half goes to the even neighbour, as in Python; nothing vanishes. */
    private fun rounded(side: Double): Int = maxOf(Math.rint(side).toInt(), 1)

    companion object {
        /** Reads `preprocessing` of a contract; what is left out is as in contracts that know no other way. */
        fun parse(json: JSONObject): CropSpec {
            val resize = json.getInt("resize")
            return CropSpec(
                resize = resize,
                height = json.getInt("height"),
                width = json.getInt("width"),
                mode = known("resize_mode", json.optString("resize_mode", "short-side")),
                interpolation = known("interpolation", json.optString("interpolation", "bilinear")),
                resizeWidth = json.optInt("resize_width", resize),
                padColor = json.optJSONArray("pad_color")?.ints() ?: listOf(0, 0, 0),
                gray = json.optString("color_order") == ColorOrder.GRAY.name,
            )
        }
    }
}
