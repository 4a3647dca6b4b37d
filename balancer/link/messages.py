"""What processes say to one another: one small JSON object a packet, its kind under the key `is`.

The table of kinds, their fields and their ways is in docs/architecture.md. Rule 1: a kind that is not in `KINDS` is
not said and not heard. Rule 2: no packet is larger than `LIMIT`; what is large travels as a descriptor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]

LIMIT = 64 * 1024  # bytes
KINDS = frozenset(
    {
        "start",
        "listen",
        "listening",
        "unbound",
        "offer",
        "built",
        "refused",
        "commit",
        "withdraw",
        "swapped",
        "states",
        "asks",
        "eject",
        "veto",
        "unreachable",
        "ready",
        "worker",
        "stop",
        "drained",
        "reload",
        "fail",
    }
)


class BadMessage(ValueError):
    """A packet that is no message, or a message that is too large to be one."""


def encode(message: Message) -> bytes:
    """Return the packet of a message; BadMessage if its kind is unknown or it is larger than `LIMIT`."""
    if message.get("is") not in KINDS:
        raise BadMessage(f"message of kind {message.get('is')!r} (use one of {', '.join(sorted(KINDS))})")
    packet = json.dumps(message, separators=(",", ":")).encode()
    if len(packet) > LIMIT:
        raise BadMessage(f"message {message['is']!r} of {len(packet)} bytes (send at most {LIMIT})")
    return packet


def decode(packet: bytes) -> Message:
    """Return the message of a packet; BadMessage if it holds none."""
    if len(packet) > LIMIT:
        raise BadMessage(f"packet of more than {LIMIT} bytes")
    try:
        message = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"packet is not JSON: {error}") from error
    if not isinstance(message, dict) or message.get("is") not in KINDS:
        raise BadMessage("packet is not a message of a known kind")
    return message


@dataclass(frozen=True, slots=True)
class Place:
    """A worker place as control finds it: `pid` 0 while nobody is in it, `revision` 0 until it runs a snapshot."""

    place: int
    pid: int
    revision: int


@dataclass(frozen=True, slots=True)
class ControlStart:
    """What there is when control starts: nothing at the first start; later what was committed and who runs it.

    `listeners` maps the committed names to the addresses as bound. `snapshot` is the encoded one that was committed
    last, None when there was none.
    """

    places: tuple[Place, ...] = ()
    listeners: dict[str, str] = field(default_factory=dict)
    stopping: bool = False
    snapshot: bytes | None = None


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """What a worker is: `place` out of `places`; `listeners` names its sockets in the order in which they travel."""

    place: int
    places: int
    revision: int
    listeners: tuple[str, ...]


def control_start(message: Message, snapshot: bytes | None) -> ControlStart:
    """Return what a `start` message tells control; BadMessage if it is not one."""
    try:
        places = tuple(Place(int(one["place"]), int(one["pid"]), int(one["revision"])) for one in message["places"])
        return ControlStart(places, dict(message["listeners"]), bool(message["stopping"]), snapshot)
    except (KeyError, TypeError, ValueError) as error:
        raise BadMessage(f"start message without its fields: {error!r}") from error


def worker_start(message: Message) -> WorkerStart:
    """Return what a `start` message tells a worker; BadMessage if it is not one."""
    try:
        names = tuple(str(name) for name in message["listeners"])
        return WorkerStart(int(message["place"]), int(message["places"]), int(message["revision"]), names)
    except (KeyError, TypeError, ValueError) as error:
        raise BadMessage(f"start message without its fields: {error!r}") from error
