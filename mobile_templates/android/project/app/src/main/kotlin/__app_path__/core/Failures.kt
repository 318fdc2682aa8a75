package «app_id | kotlin_package».core

/**
 * Runs [body]; what an app can live on after goes to [failed], with the reason in words: exceptions, a runtime whose native library
 * does not load on this phone (in Java's terms an error), and too little memory. Every other error is thrown on.
 */
inline fun <T> orTold(
    body: () -> T,
    failed: (String, Throwable) -> T,
): T =
    try {
        body()
    } catch (error: Throwable) {
        failed(reasonOf(error) ?: throw error, error)
    }

/** What [error] means to the reader of the screen; null where the app must not go on. */
fun reasonOf(error: Throwable): String? =
    when (error) {
        is Exception -> error.message ?: error.javaClass.simpleName
        is LinkageError -> "The model's runtime does not load on this phone: ${error.message ?: error.javaClass.simpleName}"
        is OutOfMemoryError -> "There is not enough memory for it."
        else -> null
    }
