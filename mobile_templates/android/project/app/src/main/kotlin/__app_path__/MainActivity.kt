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
import «app_id | kotlin_package».core.Activation
import «app_id | kotlin_package».core.Progress
import java.io.FileNotFoundException
import kotlin.math.roundToInt

/** Pick or take a photo, and see what the model finds in it. */
class MainActivity : Activity() {
    private lateinit var image: ImageView
    private lateinit var status: TextView
    private lateinit var results: ViewGroup
    private lateinit var timing: TextView
    private val app get() = application as StarterApplication
    private val watcher: (Progress<Classification>) -> Unit = ::show

    /** Where the camera app was asked to put its photo. */
    private var asked: Uri? = null

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
        asked = savedInstanceState?.getString(ASKED)?.let(Uri::parse)
        // After a rotation the application still has the result; where the system had ended the app, it is made again.
        if (app.photos.key == null) savedInstanceState?.getString(SHOWN)?.let { app.classify(Uri.parse(it)) }
    }

    override fun onStart() {
        super.onStart()
        app.photos.watch(watcher)
    }

    override fun onStop() {
        app.photos.unwatch(watcher)
        super.onStop()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        asked?.let { outState.putString(ASKED, it.toString()) }
        app.photos.key?.let { outState.putString(SHOWN, it.toString()) }
    }

    private fun pick() {
        val files = Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*")
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            // Some systems come without the photo picker.
            open(PICK, Intent(MediaStore.ACTION_PICK_IMAGES).setType("image/*"), files)
        } else {
            open(PICK, files)
        }
    }

    private fun takePhoto() {
        val uri = PhotoProvider.newPlace(this)
        asked = uri
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE)
            .putExtra(MediaStore.EXTRA_OUTPUT, uri)
            .addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION or Intent.FLAG_GRANT_READ_URI_PERMISSION)
        // Permissions travel with the clip, not with the extra.
        intent.clipData = ClipData.newRawUri(null, uri)
        open(CAMERA, intent)
    }

    /** Asks the first of [intents] that an app of this phone answers. */
    private fun open(
        request: Int,
        vararg intents: Intent,
    ) {
        for (intent in intents) {
            try {
                startActivityForResult(intent, request)
                return
            } catch (error: ActivityNotFoundException) {
                Log.w(TAG, "no app for ${intent.action}", error)
            }
        }
        status.setText(R.string.no_app)
    }

    override fun onActivityResult(
        requestCode: Int,
        resultCode: Int,
        data: Intent?,
    ) {
        super.onActivityResult(requestCode, resultCode, data)
        if (resultCode != RESULT_OK) return
        when (requestCode) {
            PICK -> data?.data?.let(app::classify)
            CAMERA -> asked?.let(::taken)
        }
    }

    private fun taken(uri: Uri) {
        if (PhotoProvider.isTaken(this, uri)) {
            PhotoProvider.keepOnly(this, uri)
            app.classify(uri)
        } else {
            app.photos.start(uri) { throw FileNotFoundException(getString(R.string.no_photo)) }
        }
    }

    private fun show(progress: Progress<Classification>) {
        when (progress) {
            is Progress.Running -> status.setText(R.string.working)
            is Progress.Failed -> fail(progress.reason)
            is Progress.Done -> draw(app.classifier, progress.value)
        }
    }

    /** A picture that cannot be read, or a model that cannot be opened: both are told, and nothing of another photo is left. */
    private fun fail(reason: String) {
        image.visibility = View.GONE
        results.removeAllViews()
        timing.text = ""
        status.text = getString(R.string.failed, reason)
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
        val times = getString(
            R.string.timing,
            found.preprocessMilliseconds,
            found.inferenceMilliseconds,
            classifier.runtime,
            resources.getQuantityString(R.plurals.threads, classifier.threads, classifier.threads),
        )
        val independent = classifier.contract.activation == Activation.SIGMOID
        timing.text = if (independent) getString(R.string.independent, times) else times
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
        const val ASKED = "asked"
        const val PICK = 1
        const val CAMERA = 2
        const val BAR_STEPS = 1000
    }
}
