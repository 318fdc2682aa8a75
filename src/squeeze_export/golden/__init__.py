"""The golden pack, and the calibration images."""
