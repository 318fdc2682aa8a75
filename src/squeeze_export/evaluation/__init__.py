"""`evaluate`: every artifact of a bundle, and the reference, over labelled images; see docs/accuracy.md."""
