"""Finished bundles: proven again, and their artifacts compared with each other."""
