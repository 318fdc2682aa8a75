package «app_id | kotlin_package»

import android.app.Application
import android.net.Uri
import android.util.Log
import «app_id | kotlin_package».core.Keeper
import «app_id | kotlin_package».core.SelfCheckResult
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors

/** Holds what outlives a rotation of the screen: the opened model, the one thread that uses it, and what came of it. */
class StarterApplication : Application() {
    /** Opened on first use, on [worker]: reading the model takes longer than the screen may wait. */
    val classifier: Classifier by lazy { Classifier.open(this) }

    val worker: ExecutorService = Executors.newSingleThreadExecutor()

    /** The last photo, and what the model sees in it. */
    val photos: Keeper<Uri, Classification> by lazy { Keeper(worker, mainExecutor) { Log.e(TAG, "cannot classify", it) } }

    /** The last self-check. */
    val selfChecks: Keeper<Unit, SelfCheckResult> by lazy {
        Keeper(worker, mainExecutor) { Log.e(TAG, "the self-check could not run", it) }
    }

    fun classify(uri: Uri) {
        photos.start(uri) {
            val classifier = classifier
            val bitmap = ImageDecoding.decode(this, uri)
            try {
                classifier.classify(bitmap)
            } finally {
                // Its memory is not the garbage collector's, which does not hurry for it.
                bitmap.recycle()
            }
        }
    }

    fun checkItself() {
        selfChecks.start(Unit) { classifier.selfCheck() }
    }

    private companion object {
        const val TAG = "Starter"
    }
}
