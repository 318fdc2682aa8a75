package «app_id | kotlin_package».core

import java.util.concurrent.Executor

/** How far a piece of work has come. */
sealed interface Progress<out T> {
    object Running : Progress<Nothing>

    class Done<T>(
        val value: T,
    ) : Progress<T>

    class Failed(
        val reason: String,
    ) : Progress<Nothing>
}

/**
 * Does work that outlives the screen which asked for it: after a rotation the new screen finds it here, under way or done. Only the
 * latest counts. Everything but the work itself, which is [worker]'s, happens on [main].
 */
class Keeper<K : Any, T>(
    private val worker: Executor,
    private val main: Executor,
    private val log: (Throwable) -> Unit,
) {
    /** What the latest work is about. */
    var key: K? = null
        private set
    var progress: Progress<T>? = null
        private set
    private var watcher: ((Progress<T>) -> Unit)? = null

    @Volatile
    private var latest = 0

    /** Begins [work]; what was begun before is forgotten, and not even started where it still waits. */
    fun start(
        key: K,
        work: () -> T,
    ) {
        this.key = key
        val number = latest + 1
        latest = number
        show(Progress.Running)
        worker.execute {
            if (number == latest) {
                val outcome = orTold<Progress<T>>({ Progress.Done(work()) }) { reason, error ->
                    log(error)
                    Progress.Failed(reason)
                }
                main.execute { if (number == latest) show(outcome) }
            }
        }
    }

    /** Tells [watcher] how it stands, now and whenever that changes, instead of the one before. */
    fun watch(watcher: (Progress<T>) -> Unit) {
        this.watcher = watcher
        progress?.let(watcher)
    }

    /** Tells [watcher] no more. */
    fun unwatch(watcher: (Progress<T>) -> Unit) {
        if (this.watcher === watcher) this.watcher = null
    }

    private fun show(progress: Progress<T>) {
        this.progress = progress
        watcher?.invoke(progress)
    }
}
