package android.app;

public class Activity extends android.content.Context {
    public static final int RESULT_OK = -1;
    protected void onCreate(@org.jetbrains.annotations.Nullable android.os.Bundle savedInstanceState) {}
    protected void onStart() {}
    protected void onStop() {}
    public void finish() {}
    protected void onSaveInstanceState(@org.jetbrains.annotations.NotNull android.os.Bundle outState) {}
    protected void onActivityResult(int requestCode, int resultCode, @org.jetbrains.annotations.Nullable android.content.Intent data) {}
    public void setContentView(int layout) {}
    public <T extends android.view.View> T findViewById(int id) { throw new UnsupportedOperationException(); }
    public void startActivityForResult(android.content.Intent intent, int requestCode) {}
    public final void runOnUiThread(Runnable action) {}
    public boolean isDestroyed() { return false; }
    public final Application getApplication() { throw new UnsupportedOperationException(); }
    @org.jetbrains.annotations.NotNull public android.view.LayoutInflater getLayoutInflater() { throw new UnsupportedOperationException(); }
}
