"""The lite interpreter: a .ptl file read, checked and executed."""
