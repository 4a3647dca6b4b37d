"""Drills: a zone failed on purpose, for a set time, with a guard rail and a report."""
