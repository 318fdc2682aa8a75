"""Any classifier as the source: built from what a user names, given its weights, and captured as one program."""
