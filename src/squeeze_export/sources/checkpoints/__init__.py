"""Checkpoint files: opened by content, read without executing anything, and held against a network."""
