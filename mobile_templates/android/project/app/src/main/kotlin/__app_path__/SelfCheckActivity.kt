package «app_id | kotlin_package»

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.util.Log
import android.view.View
import android.widget.TextView
import «app_id | kotlin_package».core.SelfCheckResult

/** Runs the self-check and shows PASS or FAIL, the worst difference, and every number; shares it all as JSON. */
class SelfCheckActivity : Activity() {
    private lateinit var verdict: TextView
    private lateinit var worst: TextView
    private lateinit var details: TextView
    private lateinit var share: View

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_self_check)
        verdict = findViewById(R.id.verdict)
        worst = findViewById(R.id.worst)
        details = findViewById(R.id.details)
        share = findViewById(R.id.share)
        share.isEnabled = false
        val app = application as StarterApplication
        app.worker.execute {
            try {
                val classifier = app.classifier
                val result = classifier.selfCheck()
                runOnUiThread { if (!isDestroyed) draw(result) }
            } catch (error: Exception) {
                Log.e(TAG, "the self-check could not run", error)
                runOnUiThread { if (!isDestroyed) drawFailure(error) }
            }
        }
    }

    private fun draw(result: SelfCheckResult) {
        verdict.setText(if (result.passed) R.string.passed else R.string.not_passed)
        verdict.setTextColor(getColor(if (result.passed) R.color.passed else R.color.failed))
        worst.text = getString(R.string.worst, result.worst)
        val contract = result.contract
        val head = getString(
            R.string.check_head,
            contract.name,
            contract.precision,
            contract.parity,
            result.runtime,
            result.threads,
        )
        val lines = result.findings.map { finding ->
            val mark = getString(if (finding.passed) R.string.check_ok else R.string.check_bad)
            getString(R.string.check_line, mark, finding.check, finding.detail)
        }
        details.text = (listOf(head) + lines).joinToString("\n\n")
        val json = result.toJson(Classifier.device())
        Log.i(TAG, json)
        share.isEnabled = true
        share.setOnClickListener {
            val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, json)
            startActivity(Intent.createChooser(send, getString(R.string.share)))
        }
    }

    private fun drawFailure(error: Exception) {
        verdict.setText(R.string.not_passed)
        verdict.setTextColor(getColor(R.color.failed))
        worst.text = getString(R.string.failed, error.message ?: error.toString())
    }

    private companion object {
        const val TAG = "StarterSelfCheck"
    }
}
