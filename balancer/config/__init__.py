"""YAML text → faults, or a Snapshot; pydantic lives here, at the edge, and nowhere else."""
