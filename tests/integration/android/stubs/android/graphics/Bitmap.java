package android.graphics;

public final class Bitmap {
    public enum Config { ARGB_8888 }
    public static Bitmap createBitmap(@org.jetbrains.annotations.NotNull int[] colors, int width, int height, @org.jetbrains.annotations.NotNull Config config) { throw new UnsupportedOperationException(); }
    public void recycle() {}
    public int getWidth() { return 0; }
    public int getHeight() { return 0; }
    public boolean hasAlpha() { return false; }
    public void getPixels(@org.jetbrains.annotations.NotNull int[] pixels, int offset, int stride, int x, int y, int width, int height) {}
}
