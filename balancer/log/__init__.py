"""The program's own log: its lines, their limits, and the thread that writes them to stderr."""
