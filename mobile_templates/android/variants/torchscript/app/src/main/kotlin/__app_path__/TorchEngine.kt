package «app_id | kotlin_package»

import android.content.Context
import «app_id | kotlin_package».core.Engine
import «app_id | kotlin_package».core.ModelContract
import «app_id | kotlin_package».core.TensorEncoder
import org.pytorch.IValue
import org.pytorch.LiteModuleLoader
import org.pytorch.Module
import org.pytorch.PyTorchAndroid
import org.pytorch.Tensor
import java.io.File

/** The model in PyTorch's lite interpreter. */
class TorchEngine(
    private val contract: ModelContract,
    private val module: Module,
    override val threads: Int,
) : Engine {
    private val encoder = TensorEncoder(contract.input)
    private val shape = contract.input.shape
        .map(Int::toLong)
        .toLongArray()

    init {
        PyTorchAndroid.setNumThreads(threads)
        require(contract.outputs.size == 1) { "The lite interpreter gives one tensor, not ${contract.outputs.size}." }
    }

    override val runtime = "PyTorch Lite «pytorch_version»"

    override fun run(pixels: ByteArray): Map<String, FloatArray> {
        val input = Tensor.fromBlob(encoder.encode(pixels), shape)
        val output = contract.outputs.single()
        val scores = module.forward(IValue.from(input)).toTensor().dataAsFloatArray
        require(scores.size == output.classes) { "The model gave ${scores.size} scores for ${output.classes} classes." }
        return mapOf(output.name to scores)
    }

    override fun close() = module.destroy()
}

/** Opens the packed model by way of a file: the lite interpreter reads no assets but whole into memory. */
fun openEngine(
    context: Context,
    contract: ModelContract,
): Engine {
    val threads = Runtime.getRuntime().availableProcessors().coerceIn(1, 4)
    // Named by its content, so that an update of the app never runs its predecessor's model.
    val file = File(context.codeCacheDir, "${contract.model.sha256}-${contract.model.file}")
    if (!file.exists()) {
        val partial = File(context.codeCacheDir, "${file.name}.partial")
        partial.writeBytes(context.readAsset(contract.model.file))
        check(partial.renameTo(file)) { "The model could not be written to $file." }
    }
    return TorchEngine(contract, LiteModuleLoader.load(file.path), threads)
}
