"""The Python API: the commands as functions, with messages that name fields in place of options."""
