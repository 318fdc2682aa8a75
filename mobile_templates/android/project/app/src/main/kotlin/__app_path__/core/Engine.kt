package «app_id | kotlin_package».core

/** The model in a runtime, ready to be executed; one call at a time. */
interface Engine : AutoCloseable {
    /** What computes, as the screen shows it. */
    val runtime: String
    val threads: Int

    /** Runs the model on RGB bytes of the crop's size; gives each declared output's scores by name. */
    fun run(pixels: ByteArray): Map<String, FloatArray>
}
