package «app_id | kotlin_package»

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.Intent
import android.graphics.Bitmap
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.MediaStore
import android.util.Log
import android.view.View
import android.view.ViewGroup
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import kotlin.math.roundToInt

/** Pick or take a photo, and see what the model finds in it. */
class MainActivity : Activity() {
    private lateinit var image: ImageView
    private lateinit var status: TextView
    private lateinit var results: ViewGroup
    private lateinit var timing: TextView
    private var shown: Uri? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        image = findViewById(R.id.image)
        status = findViewById(R.id.status)
        results = findViewById(R.id.results)
        timing = findViewById(R.id.timing)
        findViewById<View>(R.id.pick).setOnClickListener { pick() }
        findViewById<View>(R.id.camera).setOnClickListener { takePhoto() }
        findViewById<View>(R.id.self_check).setOnClickListener {
            startActivity(Intent(this, SelfCheckActivity::class.java))
        }
        // After a rotation the picture is classified again: that takes less time than the animation.
        savedInstanceState?.getString(SHOWN)?.let { classify(Uri.parse(it)) }
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        shown?.let { outState.putString(SHOWN, it.toString()) }
    }

    private fun pick() {
        val picker = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            Intent(MediaStore.ACTION_PICK_IMAGES)
        } else {
            Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE)
        }
        open(picker.setType("image/*"), PICK)
    }

    private fun takePhoto() {
        val uri = PhotoProvider.uriFor(this)
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE)
            .putExtra(MediaStore.EXTRA_OUTPUT, uri)
            .addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION or Intent.FLAG_GRANT_READ_URI_PERMISSION)
        // Permissions travel with the clip, not with the extra.
        intent.clipData = ClipData.newRawUri(null, uri)
        open(intent, CAMERA)
    }

    private fun open(
        intent: Intent,
        request: Int,
    ) {
        try {
            startActivityForResult(intent, request)
        } catch (error: ActivityNotFoundException) {
            Log.w(TAG, "no app for ${intent.action}", error)
            status.setText(R.string.no_app)
        }
    }

    override fun onActivityResult(
        requestCode: Int,
        resultCode: Int,
        data: Intent?,
    ) {
        super.onActivityResult(requestCode, resultCode, data)
        if (resultCode != RESULT_OK) return
        when (requestCode) {
            PICK -> data?.data?.let(::classify)
            CAMERA -> classify(PhotoProvider.uriFor(this))
        }
    }

    private fun classify(uri: Uri) {
        shown = uri
        status.setText(R.string.working)
        val app = application as StarterApplication
        app.worker.execute {
            try {
                val classifier = app.classifier
                val found = classifier.classify(ImageDecoding.decode(contentResolver, uri))
                show(uri) { draw(classifier, found) }
            } catch (error: Exception) {
                // A picture that cannot be read, or a model that cannot be opened: both are told, with the reason.
                Log.e(TAG, "cannot classify $uri", error)
                show(uri) { status.text = getString(R.string.failed, error.message ?: error.toString()) }
            }
        }
    }

    /** Does something on the screen, unless it is gone or already waits for another picture. */
    private fun show(
        uri: Uri,
        action: () -> Unit,
    ) {
        runOnUiThread { if (!isDestroyed && shown == uri) action() }
    }

    private fun draw(
        classifier: Classifier,
        found: Classification,
    ) {
        val crop = classifier.contract.crop
        val colors = IntArray(crop.width * crop.height) { place ->
            val (red, green, blue) = List(3) { found.seen[place * 3 + it].toInt() and 0xFF }
            (0xFF shl 24) or (red shl 16) or (green shl 8) or blue
        }
        image.setImageBitmap(Bitmap.createBitmap(colors, crop.width, crop.height, Bitmap.Config.ARGB_8888))
        image.visibility = View.VISIBLE
        results.removeAllViews()
        found.best.forEachIndexed { place, prediction -> results.addView(row(place + 1, prediction)) }
        status.text = getString(R.string.found, found.best.first().label, percent(found.best.first()))
        timing.text = getString(
            R.string.timing,
            found.preprocessMilliseconds,
            found.inferenceMilliseconds,
            classifier.runtime,
            classifier.threads,
        )
    }

    private fun row(
        rank: Int,
        prediction: Prediction,
    ): View {
        val row = layoutInflater.inflate(R.layout.item_result, results, false)
        row.findViewById<TextView>(R.id.label).text = prediction.label
        row.findViewById<TextView>(R.id.percent).text = getString(R.string.percent, percent(prediction))
        row.findViewById<ProgressBar>(R.id.bar).progress = (prediction.probability * BAR_STEPS).roundToInt()
        row.contentDescription = getString(R.string.result_spoken, rank, prediction.label, percent(prediction))
        return row
    }

    private fun percent(prediction: Prediction): Float = prediction.probability * 100

    private companion object {
        const val TAG = "Starter"
        const val SHOWN = "shown"
        const val PICK = 1
        const val CAMERA = 2
        const val BAR_STEPS = 1000
    }
}
