package android.view;

public class View {
    public static final int VISIBLE = 0;
    public static final int GONE = 8;
    public interface OnClickListener {
        void onClick(View view);
    }
    public final <T extends View> T findViewById(int id) { throw new UnsupportedOperationException(); }
    public void setOnClickListener(@org.jetbrains.annotations.Nullable OnClickListener listener) {}
    public int getVisibility() { return 0; }
    public void setVisibility(int visibility) {}
    public boolean isEnabled() { return false; }
    public void setEnabled(boolean enabled) {}
    public CharSequence getContentDescription() { return ""; }
    public void setContentDescription(CharSequence text) {}
}
