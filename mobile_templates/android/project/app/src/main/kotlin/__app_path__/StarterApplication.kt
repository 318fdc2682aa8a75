package «app_id | kotlin_package»

import android.app.Application
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors

/** Holds what outlives a rotation of the screen: the opened model, and the one thread that uses it. */
class StarterApplication : Application() {
    /** Opened on first use, on [worker]: reading the model takes longer than the screen may wait. */
    val classifier: Classifier by lazy { Classifier.open(this) }

    val worker: ExecutorService = Executors.newSingleThreadExecutor()
}
