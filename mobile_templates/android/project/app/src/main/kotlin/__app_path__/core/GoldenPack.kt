package «app_id | kotlin_package».core

import org.json.JSONObject
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.Locale

/** Gives a file of the app's assets whole; throws IOException where there is none. */
typealias ReadFile = (String) -> ByteArray

/** How far the app's scores may be from the reference's; measured and explained where the model was exported. */
class Tolerance(
    val maxErrorOfPeak: Double,
    val minSnrDb: Double,
    val minCentredSnrDb: Double,
    val probabilityFloor: Double,
    /** Of few classes, the largest error of any probability; else null. */
    val maxProbabilityError: Double? = null,
)

/** One picture of the pack: its file, and what the reference makes of it. */
class GoldenImage(
    val name: String,
    val file: String,
    val pixels: ByteArray,
    val logits: FloatArray,
    val probabilities: FloatArray,
    val top: IntArray,
)

/** Pictures with the answers of the PyTorch model that was exported, and how exact an app's answers must be. */
class GoldenPack(
    val images: List<GoldenImage>,
    val tolerance: Tolerance,
    val activation: Activation,
) {
    companion object {
        private const val FOLDER = "golden"

        /** Reads the pack and proves every checksum and size; throws IllegalArgumentException naming what is wrong. */
        fun read(
            contract: ModelContract,
            open: ReadFile,
        ): GoldenPack {
            val description = open("$FOLDER/golden.json")
            require(sha256(description) == contract.golden.sha256) { "golden.json is not the one of this model." }
            val root = JSONObject(String(description, Charsets.UTF_8))
            require(root.getInt("schema_version") == 1) { "golden.json has another schema version than 1." }
            val activation = ModelContract.activation(root)
            require(activation == contract.activation) { "golden.json and ${ModelContract.FILE} name different activations." }
            val arrays = root.getJSONObject("arrays")
            val entries = root.getJSONArray("images").objects()
            val count = entries.size
            require(count > 0) { "The golden pack has no pictures." }
            val size = contract.crop.height * contract.crop.width * 3
            val best = minOf(5, contract.classes)
            val pixels = array(arrays, "pixels", listOf(count, contract.crop.height, contract.crop.width, 3), 1, open)
            val logits = array(arrays, "logits", listOf(count, contract.classes), 4, open).asFloatBuffer()
            val probabilities = array(arrays, "probabilities", listOf(count, contract.classes), 4, open).asFloatBuffer()
            val top = array(arrays, "top5", listOf(count, best), 4, open).asIntBuffer()
            val images = entries.map { entry ->
                val file = "$FOLDER/${entry.getString("file")}"
                require(sha256(open(file)) == entry.getString("sha256")) { "$file does not have its checksum." }
                GoldenImage(
                    name = entry.getString("name"),
                    file = file,
                    pixels = ByteArray(size).also { pixels.get(it) },
                    logits = FloatArray(contract.classes).also { logits.get(it) },
                    probabilities = FloatArray(contract.classes).also { probabilities.get(it) },
                    top = IntArray(best).also { top.get(it) },
                )
            }
            return GoldenPack(images, tolerance(root, "${contract.target}-${contract.precision}"), activation)
        }

        private fun tolerance(
            root: JSONObject,
            artifact: String,
        ): Tolerance {
            val tolerances = root.getJSONObject("tolerances")
            require(tolerances.has(artifact)) { "golden.json has no tolerance for $artifact." }
            val found = tolerances.getJSONObject(artifact)
            return Tolerance(
                maxErrorOfPeak = found.getDouble("max_error_of_peak"),
                minSnrDb = found.getDouble("min_snr_db"),
                minCentredSnrDb = found.getDouble("min_centred_snr_db"),
                probabilityFloor = found.optDouble("probability_floor", SMALLEST_NORMAL),
                maxProbabilityError = if (found.isNull(OF_FEW)) null else found.getDouble(OF_FEW),
            )
        }

        private const val OF_FEW = "max_probability_error"
        private const val SMALLEST_NORMAL = 1.1754943508222875e-38

        private fun array(
            arrays: JSONObject,
            name: String,
            shape: List<Int>,
            bytes: Int,
            open: ReadFile,
        ): ByteBuffer {
            val entry = arrays.getJSONObject(name)
            val found = entry.getJSONArray("shape").ints()
            require(found == shape) { "The golden $name have the shape $found, this model needs $shape." }
            val data = open("$FOLDER/${entry.getString("file")}")
            require(sha256(data) == entry.getString("sha256")) { "The golden $name do not have their checksum." }
            require(data.size == shape.reduce(Int::times) * bytes) { "The golden $name have ${data.size} bytes." }
            return ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)
        }
    }
}

/** The sha256 of [data] in lower-case hexadecimal. */
fun sha256(data: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(data).joinToString("") { "%02x".format(Locale.ROOT, it) }
