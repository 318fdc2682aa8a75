package android.os;

public final class Bundle {
    @org.jetbrains.annotations.Nullable public String getString(@org.jetbrains.annotations.Nullable String key) { return null; }
    public void putString(@org.jetbrains.annotations.Nullable String key, @org.jetbrains.annotations.Nullable String value) {}
}
