"""One PreprocessingSpec: resize, crop, scale; the phone code repeats it step by step."""
