package android.content;

public class Intent {
    public static final String ACTION_GET_CONTENT = "android.intent.action.GET_CONTENT";
    public static final String ACTION_SEND = "android.intent.action.SEND";
    public static final String CATEGORY_OPENABLE = "android.intent.category.OPENABLE";
    public static final String EXTRA_TEXT = "android.intent.extra.TEXT";
    public static final int FLAG_GRANT_READ_URI_PERMISSION = 1;
    public static final int FLAG_GRANT_WRITE_URI_PERMISSION = 2;
    public Intent(String action) {}
    public Intent(Context context, Class<?> kind) {}
    public static Intent createChooser(Intent target, CharSequence title) { throw new UnsupportedOperationException(); }
    @org.jetbrains.annotations.Nullable public String getAction() { return null; }
    @org.jetbrains.annotations.Nullable public android.net.Uri getData() { return null; }
    @org.jetbrains.annotations.Nullable public ClipData getClipData() { return null; }
    public void setClipData(@org.jetbrains.annotations.Nullable ClipData clip) {}
    @org.jetbrains.annotations.NotNull public Intent setType(@org.jetbrains.annotations.Nullable String type) { return this; }
    @org.jetbrains.annotations.NotNull public Intent addCategory(String category) { return this; }
    @org.jetbrains.annotations.NotNull public Intent addFlags(int flags) { return this; }
    @org.jetbrains.annotations.NotNull public Intent putExtra(String name, @org.jetbrains.annotations.Nullable String value) { return this; }
    @org.jetbrains.annotations.NotNull public Intent putExtra(String name, @org.jetbrains.annotations.Nullable android.os.Parcelable value) { return this; }
}
