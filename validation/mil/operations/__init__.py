"""The MIL operations, a module for each kind; `ops.OPERATIONS` is the one table of them."""
