"""The record of instructions a request, by interpreter and case, and how what is counted compares with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).resolve().parent / "instructions.json"
MARGIN = (
    0.07  # share by which a case may differ: two counts differ by less than a hundredth, two machines by little more
)

Figures = Mapping[str, float]


def read(key: str, path: Path = FILE) -> dict[str, int]:
    """Return what is recorded for the interpreter `key`, by case; empty when nothing is."""
    if not path.exists():
        return {}
    kept: dict[str, dict[str, int]] = json.loads(path.read_text())
    return kept.get(key, {})


def write(key: str, found: Figures, path: Path = FILE) -> None:
    """Record `found`; cases that were not counted, and other interpreters, keep what they have."""
    kept: dict[str, dict[str, int]] = json.loads(path.read_text()) if path.exists() else {}
    kept[key] = kept.get(key, {}) | {case: round(figure) for case, figure in found.items()}
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n")


def over(found: Figures, recorded: Figures) -> list[str]:
    """Return the cases that need too much more than is recorded."""
    return [case for case, figure in found.items() if case in recorded and figure > recorded[case] * (1 + MARGIN)]


def under(found: Figures, recorded: Figures) -> list[str]:
    """Return the cases that need so much less that the record guards them no longer."""
    return [case for case, figure in found.items() if case in recorded and figure < recorded[case] * (1 - MARGIN)]


def line(case: str, figure: float, recorded: Figures) -> str:
    """Return a case to read in a terminal."""
    if case not in recorded:
        return f"{case:<20}{figure:>10.0f}"
    share = figure / recorded[case] - 1
    return f"{case:<20}{figure:>10.0f}{recorded[case]:>10.0f}{share:>+9.1%}{'  OVER' if share > MARGIN else ''}"
