"""LiteRT: a TFLite file read, checked and executed."""
