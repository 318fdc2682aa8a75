package android.view;

public abstract class LayoutInflater {
    public View inflate(int layout, @org.jetbrains.annotations.Nullable ViewGroup root, boolean attach) { throw new UnsupportedOperationException(); }
}
