package «app_id | kotlin_package»

import android.content.Context
import android.graphics.Bitmap
import android.os.Build
import «app_id | kotlin_package».core.Engine
import «app_id | kotlin_package».core.Labels
import «app_id | kotlin_package».core.ModelContract
import «app_id | kotlin_package».core.OutputKind
import «app_id | kotlin_package».core.OutputSpec
import «app_id | kotlin_package».core.Preprocess
import «app_id | kotlin_package».core.SelfCheck
import «app_id | kotlin_package».core.SelfCheckResult
import «app_id | kotlin_package».core.TopK

/** A class by name, with its probability. */
class Prediction(
    val label: String,
    val probability: Float,
)

/** What the model says about one picture: the best first. [seen]: RGB bytes of the crop that it was shown. */
class Classification(
    val best: List<Prediction>,
    val seen: ByteArray,
    val preprocessMilliseconds: Double,
    val inferenceMilliseconds: Double,
)

/** Picture in, labels out. Not for several threads at once. */
class Classifier(
    private val context: Context,
    val contract: ModelContract,
    private val labels: Labels,
    private val engine: Engine,
) {
    private val preprocess = Preprocess(contract.crop)
    private val output: OutputSpec =
        contract.outputs.firstOrNull { it.kind == OutputKind.PROBABILITIES } ?: contract.outputs.first()

    val runtime: String get() = engine.runtime
    val threads: Int get() = engine.threads

    fun classify(bitmap: Bitmap): Classification {
        val began = System.nanoTime()
        val pixels = preprocess.crop(BitmapPixels(bitmap))
        val prepared = System.nanoTime()
        val scores = engine.run(pixels).getValue(output.name)
        val ended = System.nanoTime()
        val probabilities = if (output.kind == OutputKind.LOGITS) TopK.probabilities(scores, contract.activation) else scores
        return Classification(
            best = TopK.best(probabilities, SHOWN).map { Prediction(labels[it.index], it.score) },
            seen = pixels,
            preprocessMilliseconds = (prepared - began) / 1e6,
            inferenceMilliseconds = (ended - prepared) / 1e6,
        )
    }

    /** Holds this phone against the reference, on the pictures of the golden pack. */
    fun selfCheck(): SelfCheckResult {
        val decode = { data: ByteArray -> BitmapPixels(ImageDecoding.decode(data)) }
        return SelfCheck(contract, engine, context::readAsset, decode).run()
    }

    companion object {
        const val SHOWN = 5

        /**
         * Opens the model that is packed into the app; throws where a file is missing or not the exported one. Reads all of it: not
         * for the main thread.
         */
        fun open(context: Context): Classifier {
            val contract = ModelContract.parse(String(context.readAsset(ModelContract.FILE), Charsets.UTF_8))
            contract.model.read(context::readAsset)
            val labels = Labels.parse(contract.labels.read(context::readAsset), contract.classes)
            return Classifier(context, contract, labels, openEngine(context, contract))
        }

        /** What a report says about the phone. */
        fun device(): Map<String, String> =
            mapOf(
                "manufacturer" to Build.MANUFACTURER,
                "model" to Build.MODEL,
                "android" to Build.VERSION.RELEASE,
                "api" to Build.VERSION.SDK_INT.toString(),
                "abi" to Build.SUPPORTED_ABIS.first(),
            )
    }
}

/** An asset of the app, whole. */
internal fun Context.readAsset(name: String): ByteArray = assets.open(name).use { it.readBytes() }
