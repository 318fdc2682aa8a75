package PACKAGE.core

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Judges files of scores (little-endian float32, picture by picture) as the self-check does, and prints what it measures. */
object ParityDump {
    @JvmStatic
    fun main(arguments: Array<String>) {
        for (path in arguments) {
            println("file $path")
            dump(File(path))
        }
    }

    private fun dump(file: File) {
        val floats = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        val scores = List(Project.golden.images.size) { FloatArray(Project.contract.classes).also { floats.get(it) } }
        for (found in Parity.compare(Project.contract.outputs[0].kind, Project.golden, scores)) {
            val numbers = listOf(found.maxError, found.allowedError, found.snrDb, found.centredSnrDb)
            val problems = found.problems(Project.golden.tolerance).size
            println("${found.observed};${numbers.joinToString(";")};${found.worstImage};${found.flips.joinToString(",")};$problems")
        }
    }
}
