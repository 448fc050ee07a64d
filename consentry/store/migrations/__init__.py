"""Schema migrations of the control store."""
