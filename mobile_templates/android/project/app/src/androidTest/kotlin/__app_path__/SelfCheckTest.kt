package «app_id | kotlin_package»

import androidx.test.platform.app.InstrumentationRegistry
import org.junit.Assert.assertTrue
import org.junit.Test
import java.util.concurrent.Callable

/** On a phone or emulator: the packed model gives the reference's answers. */
class SelfCheckTest {
    @Test
    fun thisDeviceAgreesWithTheReference() {
        val app = InstrumentationRegistry.getInstrumentation().targetContext.applicationContext as StarterApplication
        val result = app.worker.submit(Callable { app.classifier.selfCheck() }).get()
        assertTrue(result.toJson(Classifier.device()), result.passed)
    }
}
