"""The data path: all that a worker runs."""
