package android.graphics;

public final class ImageDecoder {
    public static final int ALLOCATOR_SOFTWARE = 1;
    public abstract static class Source {}
    public static class ImageInfo {
        @org.jetbrains.annotations.NotNull public android.util.Size getSize() { throw new UnsupportedOperationException(); }
    }
    public interface OnHeaderDecodedListener {
        void onHeaderDecoded(@org.jetbrains.annotations.NotNull ImageDecoder decoder, @org.jetbrains.annotations.NotNull ImageInfo info, @org.jetbrains.annotations.NotNull Source source);
    }
    @org.jetbrains.annotations.NotNull public static Source createSource(@org.jetbrains.annotations.NotNull android.content.ContentResolver resolver, @org.jetbrains.annotations.NotNull android.net.Uri uri) { throw new UnsupportedOperationException(); }
    @org.jetbrains.annotations.NotNull public static Source createSource(@org.jetbrains.annotations.NotNull java.nio.ByteBuffer buffer) { throw new UnsupportedOperationException(); }
    @org.jetbrains.annotations.NotNull public static Bitmap decodeBitmap(@org.jetbrains.annotations.NotNull Source source, @org.jetbrains.annotations.NotNull OnHeaderDecodedListener listener) throws java.io.IOException { throw new UnsupportedOperationException(); }
    public int getAllocator() { return 0; }
    public void setAllocator(int allocator) {}
    public boolean isUnpremultipliedRequired() { return false; }
    public void setUnpremultipliedRequired(boolean required) {}
    public void setTargetColorSpace(ColorSpace colorSpace) {}
    public void setTargetSampleSize(int size) {}
}
