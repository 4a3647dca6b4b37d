"""missing: targets that vanished from discovery undrained: counted in their zone, never available, for a minute. Pure.

Else a zone that loses two of three containers would look wholly healthy with the one that is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from balancer.control.discovery.merge import source
from balancer.model.names import Evidence, State
from balancer.model.snapshot import Target
from balancer.picking.zones import Standing

GRACE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class _Entry:
    target: Target
    until: float


class Missing:
    """Those that are missing, by target group."""

    def __init__(self) -> None:
        self._entries: dict[str, list[_Entry]] = {}

    def lost(self, group: str, target: Target, now: float) -> None:
        """Count a found target that is not found any more; a written one left on purpose."""
        entries = self._entries.setdefault(group, [])
        if source(target.name) and all(entry.target.name != target.name for entry in entries):
            entries.append(_Entry(target, now + GRACE))

    def found(self, group: str, target: Target) -> None:
        """Let an address that came take the part of one of its name that is missing: its own, else any."""
        entries = self._entries.get(group, [])
        mine = [entry for entry in entries if source(entry.target.name) == source(target.name)]
        same = [entry for entry in mine if entry.target.name == target.name] or mine
        if source(target.name) and same:
            entries.remove(same[0])

    def over(self, now: float) -> list[str]:
        """Forget those whose minute is over; return the groups that had some."""
        changed = []
        for group, entries in self._entries.items():
            left = [entry for entry in entries if entry.until > now]
            if len(left) != len(entries):
                self._entries[group] = left
                changed.append(group)
        return changed

    def forget(self, group: str) -> None:
        """Drop a group that is gone."""
        self._entries.pop(group, None)

    def count(self, group: str) -> int:
        """Return how many of a group are missing."""
        return len(self._entries.get(group, []))

    def standings(self, group: str, first: int) -> list[Standing]:
        """Return what zone maths should know of them; slots count from `first`."""
        return [
            Standing(slot, one.target.zone, one.target.weight, State.UNHEALTHY, Evidence.HARD, missing=True)
            for slot, one in enumerate(self._entries.get(group, []), first)
        ]
