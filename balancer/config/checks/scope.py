"""Scope: what a check may see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from balancer.config.fault import Steps
from balancer.config.sections.configuration import Configuration


@dataclass(frozen=True, slots=True)
class Scope:
    """A configuration of which parts may be left out because they have faults of their own.

    `group_names` are those that the file gives, faulty groups included; `is_whole` tells whether nothing is left out at
    or below some steps: what is not whole is not judged by what it lacks.
    """

    configuration: Configuration
    group_names: frozenset[str] | None  # None: not to be known
    is_whole: Callable[[Steps], bool]
    nofile: int | None  # descriptors that a process may have, None if unknown
    stop_grace: float | None  # seconds between SIGTERM and SIGKILL, None if unknown
