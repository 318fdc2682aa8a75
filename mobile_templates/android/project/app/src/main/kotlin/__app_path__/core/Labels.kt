package «app_id | kotlin_package».core

import java.nio.ByteBuffer

/** The names of the classes, in the order of the model's scores. */
class Labels(
    private val names: List<String>,
) {
    val size: Int get() = names.size

    operator fun get(index: Int): String = names[index]

    companion object {
        /** Reads one name per line, UTF-8; throws where their number is not [classes] or a byte is no UTF-8. */
        fun parse(
            data: ByteArray,
            classes: Int,
        ): Labels {
            val text = Charsets.UTF_8
                .newDecoder()
                .decode(ByteBuffer.wrap(data))
                .toString()
            val names = text.removeSuffix("\n").split('\n')
            require(names.size == classes) { "There are ${names.size} labels for $classes classes." }
            return Labels(names)
        }
    }
}
