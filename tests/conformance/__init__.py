"""Suites that others wrote, run against ours and its peers, and the list of rows that our own tests cover."""
