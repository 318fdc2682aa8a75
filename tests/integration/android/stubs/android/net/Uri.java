package android.net;

public abstract class Uri implements android.os.Parcelable {
    @org.jetbrains.annotations.Nullable public abstract String getLastPathSegment();
    public static Uri parse(String text) { throw new UnsupportedOperationException(); }
}
