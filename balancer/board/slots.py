"""Which series lies where: names → places on the board, kept for ever once given, so that no reload moves a counter.

Keys are text, joined by "|" (no name may hold it): `listener|web`, `flow|web|demo`, `hits|web|demo|a1`,
`target|demo|a1`, `reasons|demo` are blocks in every worker's row, `checks|demo|a1` and `failovers|demo` in control's;
`group|demo` and `state|demo|a1` are blocks that control writes. A request without a target counts under the empty
names: `hits|web||`, `flow|web|`, `reasons|`.

Two kinds are no places: `gone|demo|a1` is the number of the zone that a target had when it left, `zone|zone-a` a zone's
number. So the labels of a counter stay what they were, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from balancer.board import layout
from balancer.model.snapshot import FixedResponse, Forward, Listener, Redirect, Snapshot


class NoRoom(Exception):
    """The board has no place left for another series; the message says what to do."""


def keys(snapshot: Snapshot, before: Snapshot | None = None) -> list[str]:
    """Return every key that `snapshot` counts under, in a stable order.

    Those of target groups that are in `before` too, as the very same objects, are left out: they have their places.
    """
    groups = {group.name: group for group in snapshot.target_groups}
    same = {id(group) for group in before.target_groups} if before is not None else set()
    counted = {(one.name, name) for one in before.listeners for name in forwards(one)} if before is not None else set()
    wanted = ["reasons|"]
    for group in snapshot.target_groups:
        if id(group) in same:
            continue
        wanted += [f"group|{group.name}", f"reasons|{group.name}", f"failovers|{group.name}"]
        for target in group.targets:
            wanted += [f"{kind}|{group.name}|{target.name}" for kind in ("state", "target", "checks")]
    for listener in snapshot.listeners:
        wanted += [f"listener|{listener.name}", f"flow|{listener.name}|", f"hits|{listener.name}||"]
        for name in forwards(listener):
            if name not in groups or (id(groups[name]) in same and (listener.name, name) in counted):
                continue
            wanted += [f"flow|{listener.name}|{name}", f"hits|{listener.name}|{name}|"]
            wanted += [f"hits|{listener.name}|{name}|{target.name}" for target in groups[name].targets]
    return wanted


def forwards(listener: Listener) -> list[str]:
    """Return the names of the groups that a listener's rules forward to, each once."""
    names: dict[str, None] = {}
    for rule in listener.rules:
        match rule.action:
            case Forward(groups):
                names.update(dict.fromkeys(name for name, _ in groups))
            case Redirect() | FixedResponse():
                pass
    return list(names)


def assign(wanted: Iterable[str], held: dict[str, int]) -> dict[str, int]:
    """Return places for all of `wanted`: those of `held` where there are any, else new ones after the last.

    Everything in `held` stays: a series that went away keeps its numbers. Raises NoRoom.
    """
    wanted = [key for key in wanted if key not in held]
    if not wanted:
        return held
    slots = dict(held)
    ends = {"cells": 0, "group": 0, "state": 0, "words": 0}
    for key, place in held.items():
        area, size = _area(key)
        ends[area] = max(ends[area], place + size)
    rooms = {"cells": layout.NOWHERE, "group": layout.MAX_GROUPS, "state": layout.MAX_TARGETS}
    for key in wanted:
        if key in slots:
            continue
        area, size = _area(key)
        if ends[area] + size > rooms[area]:
            raise NoRoom(
                f"no room on the board for {key!r} (use fewer listeners, target groups or targets, or restart)"
            )
        slots[key] = ends[area]
        ends[area] += size
    return slots


def remember(gone: Iterable[tuple[str, str, str]], held: dict[str, int]) -> dict[str, int]:
    """Return `held` with the zones of targets that left: (target group, target, zone)."""
    slots = dict(held)
    for group, target, zone in gone:
        number = slots.get(f"zone|{zone}")
        if number is None:
            number = slots[f"zone|{zone}"] = sum(key.startswith("zone|") for key in slots)
        slots[f"gone|{group}|{target}"] = number
    return slots


def zones_of_gone(slots: Mapping[str, int]) -> dict[tuple[str, str], str]:
    """Return (target group, target) → zone of those that left, each as it was when it left last."""
    named = {number: key.partition("|")[2] for key, number in slots.items() if key.startswith("zone|")}
    gone = (key.split("|") for key in slots if key.startswith("gone|"))
    return {(group, target): named[slots[f"gone|{group}|{target}"]] for _, group, target in gone}


def _area(key: str) -> tuple[str, int]:
    kind = key.partition("|")[0]
    if kind in ("gone", "zone"):
        return ("words", 0)
    return (kind, 1) if kind in ("group", "state") else ("cells", layout.BLOCKS[kind])
