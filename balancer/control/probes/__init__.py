"""Probes: when each target is checked, how, and what was seen."""
