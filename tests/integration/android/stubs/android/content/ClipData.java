package android.content;

public class ClipData {
    public static ClipData newRawUri(CharSequence label, android.net.Uri uri) { throw new UnsupportedOperationException(); }
}
