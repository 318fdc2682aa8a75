package android.graphics;

public abstract class ColorSpace {
    public enum Named { SRGB }
    @org.jetbrains.annotations.NotNull public static ColorSpace get(@org.jetbrains.annotations.NotNull Named name) { throw new UnsupportedOperationException(); }
}
