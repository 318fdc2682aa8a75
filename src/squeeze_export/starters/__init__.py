"""Starter projects: app templates filled with one artifact of a bundle."""
