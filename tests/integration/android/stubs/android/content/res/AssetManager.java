package android.content.res;

public final class AssetManager {
    @org.jetbrains.annotations.NotNull public java.io.InputStream open(@org.jetbrains.annotations.NotNull String name) throws java.io.IOException { throw new UnsupportedOperationException(); }
    @org.jetbrains.annotations.NotNull public AssetFileDescriptor openFd(@org.jetbrains.annotations.NotNull String name) throws java.io.IOException { throw new UnsupportedOperationException(); }
}
