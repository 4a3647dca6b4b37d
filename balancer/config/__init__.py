"""YAML text to faults, or to a snapshot."""
