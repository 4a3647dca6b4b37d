"""Composition: supervisor, control and worker as processes."""
