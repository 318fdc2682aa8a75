package android.content;

public abstract class ContentProvider {
    @org.jetbrains.annotations.Nullable public final Context getContext() { return null; }
    public abstract boolean onCreate();
    @org.jetbrains.annotations.Nullable public android.os.ParcelFileDescriptor openFile(@org.jetbrains.annotations.NotNull android.net.Uri uri, @org.jetbrains.annotations.NotNull String mode) throws java.io.FileNotFoundException { return null; }
    @org.jetbrains.annotations.Nullable public abstract String getType(@org.jetbrains.annotations.NotNull android.net.Uri uri);
    @org.jetbrains.annotations.Nullable public abstract android.database.Cursor query(
            @org.jetbrains.annotations.NotNull android.net.Uri uri, @org.jetbrains.annotations.Nullable String[] projection, @org.jetbrains.annotations.Nullable String selection, @org.jetbrains.annotations.Nullable String[] selectionArgs, @org.jetbrains.annotations.Nullable String sortOrder);
    @org.jetbrains.annotations.Nullable public abstract android.net.Uri insert(@org.jetbrains.annotations.NotNull android.net.Uri uri, @org.jetbrains.annotations.Nullable ContentValues values);
    public abstract int update(@org.jetbrains.annotations.NotNull android.net.Uri uri, @org.jetbrains.annotations.Nullable ContentValues values, @org.jetbrains.annotations.Nullable String selection, @org.jetbrains.annotations.Nullable String[] selectionArgs);
    public abstract int delete(@org.jetbrains.annotations.NotNull android.net.Uri uri, @org.jetbrains.annotations.Nullable String selection, @org.jetbrains.annotations.Nullable String[] selectionArgs);
}
