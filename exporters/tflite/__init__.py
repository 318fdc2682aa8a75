"""TFLite: float and quantised files, by two converters."""
