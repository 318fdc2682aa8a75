"""`evaluate`: every artifact of a bundle, and the reference, over labelled images; see docs/how-to/measure-accuracy.md."""
