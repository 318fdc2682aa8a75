"""The precision ladder: bytes, accuracy and milliseconds of every precision beside each other."""
