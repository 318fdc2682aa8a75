package android.content;

public abstract class Context {
    public android.content.res.AssetManager getAssets() { throw new UnsupportedOperationException(); }
    public android.content.res.Resources getResources() { throw new UnsupportedOperationException(); }
    public java.util.concurrent.Executor getMainExecutor() { throw new UnsupportedOperationException(); }
    public static final String ACTIVITY_SERVICE = "activity";
    public Object getSystemService(@org.jetbrains.annotations.NotNull String name) { throw new UnsupportedOperationException(); }
    public ContentResolver getContentResolver() { throw new UnsupportedOperationException(); }
    public Context getApplicationContext() { throw new UnsupportedOperationException(); }
    public String getPackageName() { throw new UnsupportedOperationException(); }
    public java.io.File getCacheDir() { throw new UnsupportedOperationException(); }
    public java.io.File getCodeCacheDir() { throw new UnsupportedOperationException(); }
    public void startActivity(Intent intent) {}
    public final int getColor(int id) { throw new UnsupportedOperationException(); }
    @org.jetbrains.annotations.NotNull public final String getString(int id) { throw new UnsupportedOperationException(); }
    @org.jetbrains.annotations.NotNull public final String getString(int id, Object... arguments) { throw new UnsupportedOperationException(); }
}
