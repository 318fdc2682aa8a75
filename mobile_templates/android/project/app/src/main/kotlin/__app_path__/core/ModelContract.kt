package «app_id | kotlin_package».core

import org.json.JSONArray
import org.json.JSONObject

enum class Layout { NHWC, NCHW }

enum class ColorOrder { RGB, BGR, GRAY }

/** How 0..255 pixels become the model's input: `value = pixel * scale + bias` per channel, in [colorOrder]. */
class InputSpec(
    val name: String,
    val shape: List<Int>,
    val layout: Layout,
    val colorOrder: ColorOrder,
    val scale: List<Float>,
    val bias: List<Float>,
)

enum class OutputKind { LOGITS, PROBABILITIES }

/** What makes probabilities of logits: those of a softmax sum to one, those of a sigmoid are independent of each other. */
enum class Activation { SOFTMAX, SIGMOID }

/** One output of the model: a score per class. */
class OutputSpec(
    val name: String,
    val kind: OutputKind,
    val classes: Int,
)

/** A file of the app and the sha256 that it was exported with. */
class FileSpec(
    val file: String,
    val sha256: String,
) {
    /** The file's bytes; throws IllegalArgumentException where they are not the exported ones. */
    fun read(open: ReadFile): ByteArray {
        val data = open(file)
        val found = sha256(data)
        require(found == sha256) { "$file has sha256 $found, the exported one had $sha256." }
        return data
    }
}

/** What the app knows of its model, read from `contract.json`; nothing about it stands in the code. */
class ModelContract(
    val name: String,
    val target: String,
    val precision: String,
    val classes: Int,
    val activation: Activation,
    val parity: String,
    val crop: CropSpec,
    val input: InputSpec,
    val outputs: List<OutputSpec>,
    val model: FileSpec,
    val labels: FileSpec,
    val golden: FileSpec,
) {
    companion object {
        const val FILE = "contract.json"

        /** Reads a contract; throws IllegalArgumentException or JSONException where it is not one this app can keep. */
        fun parse(text: String): ModelContract {
            val root = JSONObject(text)
            val version = root.getInt("schema_version")
            require(version == 1 || version == 2) { "$FILE has schema version $version, this app reads 1 and 2." }
            val crop = CropSpec.parse(root.getJSONObject("preprocessing"))
            val input = input(root.getJSONObject("input"), crop)
            val classes = root.getInt("num_classes")
            val outputs = root.getJSONArray("outputs").objects().map { output(it, classes) }
            require(outputs.isNotEmpty()) { "The model has no output." }
            val files = root.getJSONObject("files")
            val model = files.getJSONObject("model")
            val labels = files.getJSONObject("labels")
            require(labels.getInt("count") == classes) { "$classes classes have ${labels.getInt("count")} labels." }
            val parity = root.getJSONObject("parity")
            return ModelContract(
                name = root.getString("name"),
                target = root.getString("target"),
                precision = root.getString("precision"),
                classes = classes,
                activation = activation(root),
                parity = "${parity.getString("verdict")} (${parity.getString("executor")})",
                crop = crop,
                input = input,
                outputs = outputs,
                model = FileSpec(model.getString("file"), model.getString("sha256")),
                labels = FileSpec("labels.txt", labels.getString("sha256")),
                golden = FileSpec("golden/golden.json", files.getJSONObject("golden").getString("sha256")),
            )
        }

        /** As contract.json and golden.json say it; softmax where they say nothing. */
        internal fun activation(root: JSONObject): Activation = known("activation", root.optString("activation", "softmax"))

        private fun input(
            json: JSONObject,
            crop: CropSpec,
        ): InputSpec {
            val type = json.getString("dtype")
            require(type == "float32") { "The input is $type, this app writes float32." }
            val layout = Layout.valueOf(json.getString("layout"))
            val shape = json.getJSONArray("shape").ints()
            val order = known<ColorOrder>("color_order", json.getString("color_order"))
            require(crop.gray == (order == ColorOrder.GRAY)) { "The preprocessing does not make what the input takes: $order." }
            val channels = if (crop.gray) 1 else 3
            val expected = when (layout) {
                Layout.NHWC -> listOf(1, crop.height, crop.width, channels)
                Layout.NCHW -> listOf(1, channels, crop.height, crop.width)
            }
            require(shape == expected) { "The input has shape $shape, the crop makes $expected." }
            return InputSpec(
                name = json.getString("name"),
                shape = shape,
                layout = layout,
                colorOrder = order,
                scale = json.getJSONArray("scale").floats(channels),
                bias = json.getJSONArray("bias").floats(channels),
            )
        }

        private fun output(
            json: JSONObject,
            classes: Int,
        ): OutputSpec {
            val shape = json.getJSONArray("shape").ints()
            require(shape == listOf(1, classes)) { "The output has shape $shape, expected [1, $classes]." }
            return OutputSpec(json.getString("name"), OutputKind.valueOf(json.getString("kind").uppercase()), classes)
        }
    }
}

internal fun JSONArray.objects(): List<JSONObject> = List(length()) { getJSONObject(it) }

internal fun JSONArray.ints(): List<Int> = List(length()) { getInt(it) }

/** The value of that name; throws IllegalArgumentException naming [key] and what this app knows. */
internal inline fun <reified T : Enum<T>> known(
    key: String,
    name: String,
): T {
    val values = enumValues<T>()
    return requireNotNull(values.find { it.name.replace('_', '-').equals(name, ignoreCase = true) }) {
        "$key is $name, this app knows ${values.joinToString { it.name.replace('_', '-').lowercase() }}."
    }
}

private fun JSONArray.floats(count: Int): List<Float> {
    require(length() == count) { "$count channels need as many numbers, not ${length()}." }
    return List(length()) { getDouble(it).toFloat() }
}
