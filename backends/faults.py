"""The failure switch: how a backend misbehaves from now on, set by `POST /fail?mode=…`.

    mode=healthz      only /healthz fails (503); everything else is served
    mode=hang         requests are accepted and not answered; they are when the switch is turned off
    mode=reset        the connection ends with a RST instead of an answer
    mode=close        the connection ends with a FIN instead of an answer
    mode=status:503   every answer has that status (200-599)
    mode=off          back to normal

`hang`, `reset`, `close` and `status` hit health checks too, as they would in a service that is broken; `&health=pass`
spares /healthz. `&times=3` ends the fault by itself after three requests. /fail and /count always work.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backends.query import whole

# l_onoff=1, l_linger=0: closing then sends RST and drops what was not sent yet.
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Mode(StrEnum):
    """The ways to fail; the values are the words of `mode=`."""

    HEALTHZ = "healthz"
    HANG = "hang"
    RESET = "reset"
    CLOSE = "close"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail. `status` counts for `STATUS` only; `times` is how many requests it hits, None for no end."""

    mode: Mode
    status: int = 503
    spares_health: bool = False
    times: int | None = None

    def hits(self, health: bool) -> bool:
        """Return whether a health check (or, with False, any other request) meets this fault."""
        if self.mode is Mode.HEALTHZ:
            return health
        return not (health and self.spares_health)

    def __str__(self) -> str:
        return f"status:{self.status}" if self.mode is Mode.STATUS else self.mode.value


def read(query: Mapping[str, str]) -> Fault | None:
    """Return the fault that the query of `POST /fail` asks for, None for `mode=off`.

    Raises ValueError with a sentence for the caller when the query cannot be understood.
    """
    mode, _, argument = query.get("mode", "").partition(":")
    if mode == "off":
        return None
    if mode not in {known.value for known in Mode}:
        raise ValueError(f"mode is {mode!r} (write healthz, hang, reset, close, status:503 or off)")
    status = whole(argument, "status", 200, 599) if mode == "status" else 503
    times = whole(query["times"], "times", 1, 1_000_000) if "times" in query else None
    return Fault(Mode(mode), status, query.get("health") == "pass", times)


class Switch:
    """The fault in force, if any, and a way to wait for its end."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self._left: int | None = None
        self._changed = asyncio.Event()

    def turn(self, fault: Fault | None) -> None:
        """Put `fault` in force, or none; whoever waits in `changed` goes on."""
        self.fault = fault
        self._left = fault.times if fault else None
        self._changed.set()
        self._changed = asyncio.Event()

    def met(self, health: bool) -> Fault | None:
        """Return the fault that this request meets, and count it down."""
        fault = self.fault
        if fault is None or not fault.hits(health):
            return None
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.fault = None
        return fault

    async def changed(self) -> None:
        """Return when the switch is turned again."""
        await self._changed.wait()


def cut(transport: asyncio.Transport, reset: bool) -> None:
    """End the connection now, with a RST or with a FIN."""
    if reset:
        connection: Any = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
    else:
        transport.close()
