package «app_id | kotlin_package»

import android.content.Context
import «app_id | kotlin_package».core.Engine
import «app_id | kotlin_package».core.ModelContract
import «app_id | kotlin_package».core.TensorEncoder
import org.tensorflow.lite.Interpreter
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

/** The model in LiteRT's interpreter, on the processor's cores by way of XNNPACK. */
class LiteRtEngine(
    private val contract: ModelContract,
    model: ByteBuffer,
    override val threads: Int,
) : Engine {
    private val interpreter =
        Interpreter(model, Interpreter.Options().setNumThreads(threads).setUseXNNPACK(true))
    private val encoder = TensorEncoder(contract.input)
    private val outputs = contract.outputs.associate { it.name to arrayOf(FloatArray(it.classes)) }

    override val runtime = "LiteRT «litert_version» (XNNPACK)"

    override fun run(pixels: ByteArray): Map<String, FloatArray> {
        encoder.encode(pixels)
        // By the names of the file's one signature: the order of its tensors is nobody's promise.
        interpreter.runSignature(mapOf<String, Any>(contract.input.name to encoder.buffer.rewind()), outputs)
        return outputs.mapValues { it.value[0].copyOf() }
    }

    override fun close() = interpreter.close()
}

/** Opens the packed model, mapped into memory where it lies in the APK: build.gradle.kts keeps it uncompressed. */
fun openEngine(
    context: Context,
    contract: ModelContract,
): Engine {
    val threads = Runtime.getRuntime().availableProcessors().coerceIn(1, 4)
    val model = context.assets.openFd(contract.model.file).use { file ->
        FileInputStream(file.fileDescriptor).channel.use { channel ->
            channel.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
        }
    }
    return LiteRtEngine(contract, model, threads)
}
