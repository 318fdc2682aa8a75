"""Core ML: ML Program packages, and the compressed weights in them."""
