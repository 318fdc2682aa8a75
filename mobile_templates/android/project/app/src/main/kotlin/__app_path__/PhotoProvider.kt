package «app_id | kotlin_package»

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/**
 * The files that the camera app may write its photos to, in this app's cache: no storage permission is needed. Each shot has a new
 * one, so that a camera that writes nothing cannot make an old photo look like the new one.
 */
class PhotoProvider : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun openFile(
        uri: Uri,
        mode: String,
    ): ParcelFileDescriptor {
        val file = context?.let { fileOf(it, uri) } ?: throw FileNotFoundException("$uri")
        return ParcelFileDescriptor.open(file, ParcelFileDescriptor.parseMode(mode))
    }

    override fun getType(uri: Uri): String = "image/jpeg"

    /** Name and size, which camera and gallery apps may ask for. */
    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor? {
        val file = context?.let { fileOf(it, uri) } ?: return null
        val known = mapOf<String, Any>(OpenableColumns.DISPLAY_NAME to file.name, OpenableColumns.SIZE to file.length())
        val columns = projection?.filter(known::containsKey) ?: known.keys.toList()
        return MatrixCursor(columns.toTypedArray()).apply { addRow(columns.map(known::getValue)) }
    }

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
        private const val FOLDER = "photos"
        private val NAME = Regex("[0-9]+\\.jpg")

        /** A place for a photo that is not taken yet. */
        fun newPlace(context: Context): Uri {
            File(context.cacheDir, FOLDER).mkdirs()
            return uriOf(context, "${System.currentTimeMillis()}.jpg")
        }

        /** Whether the camera wrote something there. */
        fun isTaken(
            context: Context,
            uri: Uri,
        ): Boolean = (fileOf(context, uri)?.length() ?: 0L) > 0L

        /** Deletes all photos but this one. */
        fun keepOnly(
            context: Context,
            uri: Uri,
        ) {
            val kept = fileOf(context, uri)
            File(context.cacheDir, FOLDER).listFiles()?.filter { it != kept }?.forEach(File::delete)
        }

        private fun uriOf(
            context: Context,
            name: String,
        ): Uri = Uri.parse("content://${context.packageName}.photos/$name")

        private fun fileOf(
            context: Context,
            uri: Uri,
        ): File? {
            val name = uri.lastPathSegment?.takeIf(NAME::matches) ?: return null
            return File(File(context.cacheDir, FOLDER), name).takeIf { uri == uriOf(context, name) }
        }
    }
}
