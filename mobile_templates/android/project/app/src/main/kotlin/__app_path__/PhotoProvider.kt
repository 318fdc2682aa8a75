package «app_id | kotlin_package»

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import java.io.File
import java.io.FileNotFoundException

/** The one file that the camera app may write its photo to, in this app's cache: no storage permission is needed. */
class PhotoProvider : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun openFile(
        uri: Uri,
        mode: String,
    ): ParcelFileDescriptor {
        val context = context ?: throw FileNotFoundException("$uri: the app is not running")
        if (uri != uriFor(context)) throw FileNotFoundException("$uri")
        return ParcelFileDescriptor.open(File(context.cacheDir, FILE), ParcelFileDescriptor.parseMode(mode))
    }

    override fun getType(uri: Uri): String = "image/jpeg"

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor? = null

    override fun insert(
        uri: Uri,
        values: ContentValues?,
    ): Uri? = null

    override fun update(
        uri: Uri,
        values: ContentValues?,
        selection: String?,
        selectionArgs: Array<String>?,
    ): Int = 0

    override fun delete(
        uri: Uri,
        selection: String?,
        selectionArgs: Array<String>?,
    ): Int = 0

    companion object {
        private const val FILE = "photo.jpg"

        fun uriFor(context: Context): Uri = Uri.parse("content://${context.packageName}.photos/$FILE")
    }
}
