"""Fault: where in the configuration, what is wrong, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MOST = 100  # faults of a file that are kept, said and shown
Steps = tuple[str | int, ...]
"""The way to a value from the root: keys and list indexes."""


class Severity(StrEnum):
    """An error keeps a configuration from being used; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1, as editors do."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault, or one warning.

    `path` uses names: `target_groups.demo.targets.a1.weigth`; "" where the whole file is meant. `file` is "" where no
    file is at fault. `problem` and `remedy` are lower case, without a full stop.
    """

    file: str
    line: int
    column: int
    path: str
    problem: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        return f"{where}{path}{self.problem} ({self.remedy})"

    @property
    def message(self) -> str:
        """Return what is wrong and what to write instead, without the place."""
        return f"{self.problem} ({self.remedy})"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault before its place is known: `steps` leads to the value (or, with `on_key`, to the key) that is meant."""

    steps: Steps
    problem: str
    remedy: str
    severity: Severity = Severity.ERROR
    on_key: bool = False
    place: Place | None = None


def one_line(text: str) -> str:
    """Return text that comes from a file as it may stand in a message: what cannot be seen is written as an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def warning(steps: Steps, problem: str, remedy: str, *, on_key: bool = False) -> Finding:
    """Return a finding that does not keep the configuration from being used."""
    return Finding(steps, problem, remedy, Severity.WARNING, on_key)


def few(faults: tuple[Fault, ...], most: int = MOST) -> tuple[Fault, ...]:
    """Return the first of the faults, and of the rest how many they are: a file may have a hundred thousand."""
    if len(faults) <= most:
        return faults
    more = f"and {len(faults) - most} more"
    return (*faults[:most], Fault("", 0, 0, "", more, "balancer check --json shows all", faults[0].severity))


def ordered(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults by file and line, each once."""
    return tuple(sorted(set(faults)))
