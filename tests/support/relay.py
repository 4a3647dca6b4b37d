"""`python -m tests.support.relay HOST:PORT=HOST:PORT …`: relays that fail on command, one for each pair.

A line on stdin, `PORT MODE`, sets how the relay that listens on PORT behaves; the line comes back when it does:

    pass       bytes go both ways
    reset      every connection is ended with RST, and each new one as soon as it is accepted
    swallow    connections are accepted, nothing is read and nothing passed on: what a pulled cable looks like
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from pathlib import Path
from typing import cast

import uvloop

from tests.support.process import Proc
from tests.support.waiting import wait_for

Pair = tuple[tuple[str, int], tuple[str, int]]


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


class _End(asyncio.Protocol):
    """One of the two connections of a pair."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.relay.ends.add(self)
        if self.relay.mode == "reset":
            self.reset()
        elif self.relay.mode == "swallow":
            self.transport.pause_reading()
        if self.other is None:
            self.task = asyncio.ensure_future(self.onward())

    async def onward(self) -> None:
        """Connect to the target for a client that was accepted."""
        loop = asyncio.get_running_loop()
        far = _End(self.relay)
        far.other = self
        try:
            await loop.create_connection(lambda: far, *self.relay.target)
        except OSError:
            self.reset()
            return
        self.other = far
        if self.transport is None or self.transport.is_closing():
            far.reset()
            return
        for data in self.early:
            far.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.pass_on(data)

    def eof_received(self) -> bool:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self.other.transport.write_eof()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.ends.discard(self)
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            if exc is None:
                self.other.transport.close()
            else:
                self.other.reset()

    def reset(self) -> None:
        """End with RST."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class Relay:
    """What listens for one target."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.mode = "pass"
        self.ends: set[_End] = set()

    def become(self, mode: str) -> None:
        """Behave so from now on, on the connections that exist, too."""
        self.mode = mode
        for end in list(self.ends):
            if end.transport is None:
                continue
            if mode == "reset":
                end.reset()
            elif mode == "swallow":
                end.transport.pause_reading()
            elif not end.transport.is_closing():
                end.transport.resume_reading()


async def serve(pairs: list[str]) -> None:
    """Relay until stdin ends."""
    loop = asyncio.get_running_loop()
    relays: dict[str, Relay] = {}
    for pair in pairs:
        own, _, target = pair.partition("=")
        relay = Relay(_address(target))
        host, port = _address(own)
        await loop.create_server(lambda relay=relay: _End(relay), host, port, backlog=1024)  # type: ignore[misc]
        relays[str(port)] = relay
    control = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(control), sys.stdin)
    print("ready", flush=True)
    while line := (await control.readline()).decode().split():
        relays[line[0]].become(line[1])
        print(*line, flush=True)


class Relays(Proc):
    """The relays as a process of their own; `become` returns once a relay behaves as it was told."""

    def __init__(self, pairs: list[Pair]) -> None:
        words = [f"{own[0]}:{own[1]}={target[0]}:{target[1]}" for own, target in pairs]
        super().__init__([sys.executable, "-m", "tests.support.relay", *words], commanded=True)
        wait_for(lambda: self._lines() > 0 or not self.running, 15.0, "the relays listen")
        assert self.running, Path(self.err).read_text()

    def _lines(self) -> int:
        return self.out.read_bytes().count(b"\n")

    def become(self, port: int, mode: str) -> None:
        """Let the relay on a port behave so."""
        before = self._lines()
        assert self.process.stdin is not None
        self.process.stdin.write(f"{port} {mode}\n".encode())
        self.process.stdin.flush()
        wait_for(lambda: self._lines() > before, 5.0, f"the relay on {port} is told to {mode}")


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1:]))
