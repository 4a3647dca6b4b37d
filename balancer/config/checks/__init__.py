"""What only the whole can show, one thought a file: pure functions from a configuration to findings."""
