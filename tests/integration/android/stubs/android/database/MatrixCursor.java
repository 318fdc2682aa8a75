package android.database;

public class MatrixCursor implements Cursor {
    public MatrixCursor(String[] columns) {}
    public void addRow(Object[] values) {}
    public void addRow(Iterable<?> values) {}
}
