package android.util;

public final class Log {
    public static int i(@org.jetbrains.annotations.Nullable String tag, @org.jetbrains.annotations.NotNull String message) { return 0; }
    public static int w(@org.jetbrains.annotations.Nullable String tag, @org.jetbrains.annotations.Nullable String message, @org.jetbrains.annotations.Nullable Throwable error) { return 0; }
    public static int e(@org.jetbrains.annotations.Nullable String tag, @org.jetbrains.annotations.Nullable String message, @org.jetbrains.annotations.Nullable Throwable error) { return 0; }
}
