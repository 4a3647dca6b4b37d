"""names: from a place on the board back to what has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from balancer.control.facts import Key


class Names:
    """The listeners, groups and targets there ever were, by their places; "" is one that nobody knows."""

    def __init__(self, slots: Mapping[str, int], zones: Mapping[Key, str]) -> None:
        """`slots` are those of the running snapshot, `zones` the zone of every target there ever was."""
        self._zones = zones
        self._listeners: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._targets: dict[int, Key] = {}
        for key, place in slots.items():
            kind, *names = key.split("|")
            if kind == "listener":
                self._listeners[place] = names[0]
            elif kind == "group":
                self._groups[place] = names[0]
            elif kind == "state":
                self._targets[place] = names[0], names[1]

    def listener(self, place: int) -> str:
        """Return a listener's name."""
        return self._listeners.get(place, "")

    def group(self, place: int) -> str:
        """Return a target group's name."""
        return self._groups.get(place, "")

    def target(self, place: int) -> Key:
        """Return a target's group and name."""
        return self._targets.get(place, ("", ""))

    def zone(self, place: int) -> str:
        """Return a target's zone."""
        return self._zones.get(self.target(place), "")
