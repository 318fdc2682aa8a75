package android.content.res;

public class Resources {
    @org.jetbrains.annotations.NotNull public String getQuantityString(int id, int quantity, Object... arguments) { throw new UnsupportedOperationException(); }
}
