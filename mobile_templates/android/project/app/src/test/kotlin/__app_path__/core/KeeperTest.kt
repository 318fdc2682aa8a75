package «app_id | kotlin_package».core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test
import java.io.IOException
import java.util.concurrent.Executor

class KeeperTest {
    /** Does nothing until it is told to. */
    private class Queue : Executor {
        val waiting = ArrayDeque<Runnable>()

        override fun execute(task: Runnable) {
            waiting += task
        }

        fun work() {
            while (waiting.isNotEmpty()) waiting.removeFirst().run()
        }
    }

    private val worker = Queue()
    private val main = Queue()
    private val told = mutableListOf<String>()
    private val logged = mutableListOf<Throwable>()
    private val keeper = Keeper<String, String>(worker, main) { logged += it }
    private val watcher: (Progress<String>) -> Unit = { told += words(it) }

    private fun words(progress: Progress<String>): String =
        when (progress) {
            is Progress.Running -> "running"
            is Progress.Done -> "done: ${progress.value}"
            is Progress.Failed -> "failed: ${progress.reason}"
        }

    @Test
    fun aNewScreenFindsWhatTheOldOneBegan() {
        keeper.watch(watcher)
        keeper.start("a") { "first" }
        keeper.unwatch(watcher)
        worker.work()
        main.work()
        assertEquals(listOf("running"), told)
        keeper.watch(watcher)
        assertEquals(listOf("running", "done: first"), told)
        assertEquals("a", keeper.key)
    }

    @Test
    fun onlyTheLatestCounts() {
        val begun = mutableListOf<String>()
        keeper.watch(watcher)
        keeper.start("a") { "first".also(begun::add) }
        worker.work()
        keeper.start("b") { "second".also(begun::add) }
        keeper.start("c") { "third".also(begun::add) }
        worker.work()
        main.work()
        assertEquals(listOf("running", "running", "running", "done: third"), told)
        assertEquals(listOf("first", "third"), begun)
    }

    @Test
    fun anotherScreenIsNotSilencedByTheOldOne() {
        keeper.watch {}
        keeper.watch(watcher)
        keeper.unwatch {}
        keeper.start("a") { "first" }
        assertEquals(listOf("running"), told)
    }

    @Test
    fun aFailureIsTold() {
        keeper.watch(watcher)
        for (error in listOf(IOException("gone"), UnsatisfiedLinkError("no libx.so"), OutOfMemoryError())) {
            keeper.start("a") { throw error }
            worker.work()
            main.work()
            assertEquals("failed: ${reasonOf(error)}", told.last())
            assertEquals(error, logged.last())
        }
        assertEquals("failed: gone", told[1])
        assertEquals("failed: The model's runtime does not load on this phone: no libx.so", told[3])
    }

    @Test
    fun anErrorThatNoAppCanLiveOnAfterIsThrownOn() {
        keeper.start("a") { throw StackOverflowError() }
        assertThrows(StackOverflowError::class.java) { worker.work() }
    }
}
