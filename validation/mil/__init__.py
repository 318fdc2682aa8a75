"""The MIL reference executor: runs a saved Core ML ML Program on any machine, over torch and numpy."""
