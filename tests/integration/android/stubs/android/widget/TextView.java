package android.widget;

public class TextView extends android.view.View {
    public CharSequence getText() { return ""; }
    public final void setText(CharSequence text) {}
    public final void setText(int id) {}
    public void setTextColor(int color) {}
}
