package org.tensorflow.lite;

public final class Interpreter implements AutoCloseable {
    public static class Options {
        public Options setNumThreads(int threads) { return this; }
        public Options setUseXNNPACK(boolean use) { return this; }
    }
    public Interpreter(@org.jetbrains.annotations.NotNull java.nio.ByteBuffer model, Options options) {}
    public void runSignature(@org.jetbrains.annotations.NotNull java.util.Map<String, Object> inputs, @org.jetbrains.annotations.NotNull java.util.Map<String, Object> outputs) {}
    @Override public void close() {}
}
