package android.os;

public class Build {
    // Not constants to the compiler, as on a phone: neither side of a version check may be taken for dead.
    public static final String MANUFACTURER = String.valueOf("");
    public static final String MODEL = String.valueOf("");
    public static final String[] SUPPORTED_ABIS = {};
    public static class VERSION {
        public static final int SDK_INT = Integer.parseInt("28");
        public static final String RELEASE = String.valueOf("");
    }
    public static class VERSION_CODES {
        public static final int TIRAMISU = 33;
    }
}
