"""Scenes: who of a group was in rotation at a moment, as the bytes of a slot and as a value. Pure.

A worker notes one whenever it builds a rotation that differs from its last; every request carries the number of the
scene in which it was placed. Times are the worker's monotonic milliseconds; `at_wall` and `at` are one moment on both
clocks.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from balancer.board import layout

_HEAD = struct.Struct("=QddIHB")  # number, wall, monotonic, group, targets there are, tiers
_TIER = struct.Struct("=BB")
_TARGET = struct.Struct("=QIIBBBB")
_MARK = struct.Struct("=Q")
_ROTATION, _NO_ADDRESS, _OWN, _DRILLED = 1, 2, 4, 8
MOST_TARGETS = (layout.SCENES.slot - _HEAD.size - layout.MAX_TIERS * _TIER.size - _MARK.size) // _TARGET.size


@dataclass(frozen=True, slots=True)
class Seen:
    """One target in a scene. `target`: its place on the board; `weight` in hundredths; `tier` -1: in none.

    `own`: ejected by this worker for itself; `drilled`: its zone is failed on purpose. `since`: monotonic ms of its
    state.
    """

    target: int
    tier: int
    state: int
    evidence: int
    weight: int
    since: int
    in_rotation: bool
    no_address: bool = False
    own: bool = False
    drilled: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """A group as a worker saw it: the share of each tier in percent, whether it was in panic, and its targets.

    `count`: how many targets there were; more than are told where they did not fit.
    """

    number: int
    at_wall: float
    at: float
    group: int
    count: int
    shares: tuple[int, ...]
    panic: tuple[bool, ...]
    targets: tuple[Seen, ...]


def body(group: int, shares: Sequence[int], panic: Sequence[bool], targets: Sequence[Seen], count: int) -> bytes:
    """Return what makes a scene what it is: two that have the same body are the same scene.

    `count`: how many targets there are; `targets` may be only the first `MOST_TARGETS` of them.
    """
    tiers = b"".join(_TIER.pack(min(share, 255), lost) for share, lost in zip(shares, panic))
    told = b"".join(
        _TARGET.pack(
            one.since,
            one.target,
            min(one.weight, 0xFFFF_FFFF),
            one.tier & 0xFF,
            one.state,
            one.evidence,
            one.in_rotation * _ROTATION | one.no_address * _NO_ADDRESS | one.own * _OWN | one.drilled * _DRILLED,
        )
        for one in targets[:MOST_TARGETS]
    )
    return struct.pack("=IHB", group, min(count, 0xFFFF), len(shares)) + tiers + told


def pack(number: int, size: int, *, at_wall: float, at: float, content: bytes) -> bytes:
    """Return the slot, of `size` bytes, of a scene with that body."""
    whole = struct.pack("=Qdd", number, at_wall, at) + content
    return whole.ljust(size - _MARK.size, b"\0") + _MARK.pack(number)


def unpack(slot: bytes) -> Scene | None:
    """Return the scene in a slot; None if there is none, or not a whole one."""
    number, at_wall, at, group, count, tiers = _HEAD.unpack_from(slot, 0)
    if not number or _MARK.unpack_from(slot, len(slot) - _MARK.size)[0] != number:
        return None
    offset = _HEAD.size
    shares, panic, targets = [], [], []
    for _ in range(min(tiers, layout.MAX_TIERS)):
        share, lost = _TIER.unpack_from(slot, offset)
        shares.append(share)
        panic.append(bool(lost))
        offset += _TIER.size
    for _ in range(min(count, MOST_TARGETS)):
        since, target, weight, tier, state, evidence, flags = _TARGET.unpack_from(slot, offset)
        targets.append(
            Seen(
                target,
                -1 if tier == 0xFF else tier,
                state,
                evidence,
                weight,
                since,
                bool(flags & _ROTATION),
                bool(flags & _NO_ADDRESS),
                bool(flags & _OWN),
                bool(flags & _DRILLED),
            )
        )
        offset += _TARGET.size
    return Scene(number, at_wall, at, group, count, tuple(shares), tuple(panic), tuple(targets))
