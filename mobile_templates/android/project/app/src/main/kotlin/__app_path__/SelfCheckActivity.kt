package «app_id | kotlin_package»

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.util.Log
import android.view.View
import android.widget.TextView
import «app_id | kotlin_package».core.Progress
import «app_id | kotlin_package».core.SelfCheckResult

/** Runs the self-check and shows PASS or FAIL, the worst difference, and every number; shares it all as JSON. */
class SelfCheckActivity : Activity() {
    private lateinit var verdict: TextView
    private lateinit var worst: TextView
    private lateinit var details: TextView
    private lateinit var share: View
    private lateinit var again: View
    private val app get() = application as StarterApplication
    private val watcher: (Progress<SelfCheckResult>) -> Unit = ::show

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_self_check)
        verdict = findViewById(R.id.verdict)
        worst = findViewById(R.id.worst)
        details = findViewById(R.id.details)
        share = findViewById(R.id.share)
        again = findViewById(R.id.again)
        again.setOnClickListener { app.checkItself() }
        findViewById<View>(R.id.back).setOnClickListener { finish() }
        if (app.selfChecks.progress == null) app.checkItself()
    }

    override fun onStart() {
        super.onStart()
        app.selfChecks.watch(watcher)
    }

    override fun onStop() {
        app.selfChecks.unwatch(watcher)
        super.onStop()
    }

    private fun show(progress: Progress<SelfCheckResult>) {
        again.isEnabled = progress !is Progress.Running
        share.isEnabled = progress is Progress.Done
        worst.text = ""
        details.text = ""
        when (progress) {
            is Progress.Running -> {
                verdict.setText(R.string.checking)
                verdict.setTextColor(getColor(R.color.accent))
            }

            is Progress.Failed -> {
                draw(false)
                worst.text = getString(R.string.failed, progress.reason)
            }

            is Progress.Done -> {
                draw(progress.value)
            }
        }
    }

    private fun draw(passed: Boolean) {
        verdict.setText(if (passed) R.string.passed else R.string.not_passed)
        verdict.setTextColor(getColor(if (passed) R.color.passed else R.color.failed))
    }

    private fun draw(result: SelfCheckResult) {
        draw(result.passed)
        worst.text = getString(R.string.worst, result.worst)
        val contract = result.contract
        val head = getString(
            R.string.check_head,
            contract.name,
            contract.precision,
            contract.parity,
            result.runtime,
            resources.getQuantityString(R.plurals.threads, result.threads, result.threads),
        )
        val lines = result.findings.map { finding ->
            val mark = getString(if (finding.passed) R.string.check_ok else R.string.check_bad)
            getString(R.string.check_line, mark, finding.check, finding.detail)
        }
        details.text = (listOf(head) + lines).joinToString("\n\n")
        val json = result.toJson(Classifier.device())
        Log.i(TAG, json)
        share.setOnClickListener {
            val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, json)
            startActivity(Intent.createChooser(send, getString(R.string.share)))
        }
    }

    private companion object {
        const val TAG = "StarterSelfCheck"
    }
}
