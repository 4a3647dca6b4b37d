"""The commands: they print and exit, and decide nothing."""
