"""The embedded demo: weights, labels, and endless labelled pictures."""
