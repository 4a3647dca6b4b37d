"""A loop, a clock and transports without sockets: the data path on a table top, every event by hand.

`FakeTransport` keeps to what uvloop's TCP transport does, its strictness included: no write after `write_eof` or after
`connection_lost`, no event while reading is paused, `connection_lost` from the loop and once, an end of file that is
told again when reading goes on.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import itertools
import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

Connection = Any  # whatever has the methods of an asyncio.Protocol
RESETS = struct.pack("ii", 1, 0)  # SO_LINGER of a connection that is ended by RST


class Clock:
    """Stands in for the module `time` where it is installed: both clocks stand still until told."""

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self.now = now
        self._ahead = wall - now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self._ahead

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @contextmanager
    def installed(self, package: str) -> Iterator[None]:
        """Let every module of `package` that is loaded read this clock.

        A compiled module has taken hold of the real `time` for good: for its sake that one is turned as well.
        """
        modules = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith(package) and getattr(module, "time", None) is time
        ]
        for module in modules:
            module.time = self  # type: ignore[attr-defined]
        with ExitStack() as turned:
            if any(not str(module.__file__).endswith(".py") for module in modules):
                for name in ("monotonic", "time"):
                    turned.enter_context(mock.patch.object(time, name, getattr(self, name)))
            try:
                yield
            finally:
                for module in modules:
                    module.time = time  # type: ignore[attr-defined]


class Timer:
    """What `call_later` returns."""

    def __init__(self, step: Callable[[], object]) -> None:
        self.step: Callable[[], object] | None = step

    def cancel(self) -> None:
        self.step = None


class FakeTask:
    """A coroutine, driven by hand; it may wait for a `Dial` and for nothing else."""

    def __init__(self, loop: FakeLoop, work: Coroutine[Any, Any, None]) -> None:
        self._loop = loop
        self._work = work
        self._after: list[Callable[[Any], object]] = []
        self._done = False
        loop.call_soon(self.step)

    def step(self) -> None:
        try:
            waits_for = self._work.send(None)
        except StopIteration:
            self._done = True
            for callback in self._after:
                callback(self)
            return
        assert isinstance(waits_for, Dial)
        waits_for.task = self

    def done(self) -> bool:
        return self._done

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._after.append(callback)


class FakeServer:
    """What `create_server` returns."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeLoop:
    """The part of an event loop that the data path uses. An exception in a callback is the test's."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.dials: list[Dial] = []  # those that wait for an answer, the oldest first
        self.servers: list[FakeServer] = []
        self.on_dial: Callable[[Dial], None] = lambda dial: None
        self._ready: deque[Callable[[], object]] = deque()
        self._later: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.clock.now

    def call_soon(self, step: Callable[..., object], *arguments: object) -> None:
        self._ready.append(lambda: step(*arguments))

    def call_later(self, delay: float, step: Callable[..., object], *arguments: object) -> Timer:
        timer = Timer(lambda: step(*arguments))
        heapq.heappush(self._later, (self.clock.now + delay, next(self._order), timer))
        return timer

    def create_task(self, work: Coroutine[Any, Any, None]) -> FakeTask:
        return FakeTask(self, work)

    async def create_server(self, factory: Callable[[], object], *, sock: object, backlog: int) -> FakeServer:
        self.servers.append(FakeServer())
        return self.servers[-1]

    async def connect_accepted_socket(self, factory: Callable[[], asyncio.Protocol], sock: object) -> object:
        protocol = factory()
        transport = FakeTransport(self, protocol, ("203.0.113.9", 40_000))
        protocol.connection_made(transport)
        return transport, protocol

    async def dial(
        self, loop: FakeLoop, ip: str, port: int, timeout: float, factory: Callable[[], Connection]
    ) -> tuple[FakeTransport, Connection]:
        """Stand in for `balancer.net.connect.dial`."""
        return await Dial(loop, (ip, port), timeout, factory)

    def run(self, rounds: int = 10_000) -> None:
        """Run what is ready, and what that makes ready, until nothing is."""
        while self._ready:
            rounds -= 1
            assert rounds, "the loop does not come to rest"
            self._ready.popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass, with all that is due in it."""
        until = self.clock.now + seconds
        self.run()
        while self._later and self._later[0][0] <= until:
            at, _, timer = heapq.heappop(self._later)
            self.clock.now = max(self.clock.now, at)
            if timer.step is not None:
                timer.step()
            self.run()
        self.clock.now = until


class Dial:
    """A connect under way: the test accepts or refuses it, or lets its time pass."""

    def __init__(
        self, loop: FakeLoop, address: tuple[str, int], timeout: float, factory: Callable[[], Connection]
    ) -> None:
        self.loop = loop
        self.address = address
        self.task: FakeTask
        self._factory = factory
        self._made: tuple[FakeTransport, Connection] | None = None
        self._error: OSError | None = None
        loop.dials.append(self)
        if timeout:
            loop.call_later(timeout, self.time_out)
        loop.call_soon(loop.on_dial, self)

    def __await__(self) -> Generator[Dial, None, tuple[FakeTransport, Connection]]:
        yield self
        if self._error is not None:
            raise self._error
        assert self._made is not None
        return self._made

    @property
    def waits(self) -> bool:
        return self in self.loop.dials

    def accept(self) -> FakeTransport:
        """The target accepts; return this side's transport."""
        self.loop.dials.remove(self)
        protocol = self._factory()
        transport = FakeTransport(self.loop, protocol, self.address)
        self._made = transport, protocol
        protocol.connection_made(transport)
        self.loop.call_soon(self.task.step)
        return transport

    def fail(self, code: int = errno.ECONNREFUSED) -> None:
        """The connect fails with this errno."""
        self._end(OSError(code, os.strerror(code)))

    def time_out(self) -> None:
        if self.waits:
            self._end(TimeoutError())

    def _end(self, error: OSError) -> None:
        self.loop.dials.remove(self)
        self._error = error
        self.loop.call_soon(self.task.step)


class FakeSocket:
    """What a transport or a listener has of a socket: options, a name, a descriptor that a poll finds silent."""

    _silent = -1
    _ended = -1

    def __init__(self, name: tuple[str, int] = ("127.0.0.1", 8080)) -> None:
        self.options: dict[tuple[int, int], object] = {}
        self.closed = False
        self.ended = False  # the kernel has heard the peer's end
        self.info = bytes(232)  # TCP_INFO, but for
        self.acknowledged = 0  # bytes, by the peer
        self.backlog = 0
        self.waiting: list[FakeSocket] = []  # connections that nobody has accepted
        self._name = name

    def setsockopt(self, level: int, option: int, value: object) -> None:
        self.options[level, option] = value

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return (self.info[:120] + struct.pack("=Q", self.acknowledged) + self.info[128:])[:size]

    def getsockname(self) -> tuple[str, int]:
        return self._name

    def accept(self) -> tuple[FakeSocket, tuple[str, int]]:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0), ("203.0.113.9", 40_000)

    def setblocking(self, flag: bool) -> None:
        assert flag is False

    def fileno(self) -> int:
        if FakeSocket._silent < 0:
            FakeSocket._silent, FakeSocket._ended = os.eventfd(0), os.eventfd(1)
        return -1 if self.closed else FakeSocket._ended if self.ended else FakeSocket._silent

    def listen(self, backlog: int) -> None:
        self.backlog = backlog

    def dup(self) -> FakeSocket:
        return FakeSocket(self._name)

    def close(self) -> None:
        self.closed = True


class FakeTransport(asyncio.Transport):
    """One end of a connection; the test is the peer: `feed`, `feed_eof`, `feed_reset`, `stall`, `drain`."""

    def __init__(
        self,
        loop: FakeLoop,
        protocol: Connection | None = None,
        peer: tuple[str, int] = ("203.0.113.9", 40_000),
    ) -> None:
        super().__init__()
        self.loop = loop
        self.protocol = protocol
        self.peer = peer
        self.sock = FakeSocket()
        self.received = bytearray()  # by the peer
        self.writes = 0
        self.saw_eof = False  # the peer has, after all of `received`
        self.lost = False  # connection_lost was told
        self.unread = b""  # what lies in the kernel when the connection breaks
        self.on_write: Callable[[FakeTransport], object] = lambda transport: None
        self._stalled = False
        self._buffer = bytearray()
        self._high, self._low = 64 * 1024, 16 * 1024
        self._paused_protocol = False
        self._eof_written = False
        self._closing = False
        self._ending = False
        self._reading = True
        self._incoming: deque[bytes | None] = deque()  # None: end of file

    # The peer

    def feed(self, data: bytes) -> None:
        """The peer sends bytes."""
        self._incoming.append(data)
        self._deliver()

    def feed_eof(self) -> None:
        """The peer shuts its sending side down."""
        self._incoming.append(None)
        self._deliver()

    def feed_reset(self) -> None:
        """The peer resets."""
        self._incoming.clear()
        self._force_close(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def stall(self) -> None:
        """The peer stops reading."""
        self._stalled = True

    def drain(self, count: int | None = None) -> None:
        """The peer takes `count` of the bytes that wait; with None it takes everything and goes on reading."""
        if count is None:
            self._stalled = False
        part = bytes(self._buffer[:count])
        del self._buffer[: len(part)]
        self._arrive(part)
        self._after_write()

    def take(self) -> bytes:
        """Return what the peer got since the last look."""
        taken = bytes(self.received)
        self.received.clear()
        return taken

    @property
    def was_reset(self) -> bool:
        """True if this side ended the connection with RST."""
        return self.lost and self.sock.options.get((socket.SOL_SOCKET, socket.SO_LINGER)) == RESETS

    def _deliver(self) -> None:
        while self._incoming and self._reading and not self._closing and self.protocol is not None:
            data = self._incoming[0]
            if data is None:  # told again each time that reading goes on: it stays
                self._reading = False
                if not self.protocol.eof_received():
                    self.close()
                return
            self._incoming.popleft()
            self.protocol.data_received(data)

    def _arrive(self, data: bytes) -> None:
        if data:
            self.sock.acknowledged += len(data)
            self.received += data
            self.loop.call_soon(self.on_write, self)

    def _after_write(self) -> None:
        if self._paused_protocol and len(self._buffer) <= self._low:
            self._paused_protocol = False
            assert self.protocol is not None
            self.protocol.resume_writing()
        if not self._buffer:
            if self._closing:
                self._force_close(None)
            elif self._eof_written:
                self.saw_eof = True

    # asyncio.Transport

    def write(self, data: bytes | memoryview) -> None:  # type: ignore[override]
        assert type(data) in (bytes, memoryview)
        self.writes += 1
        if self.lost:
            raise RuntimeError("write after connection_lost")
        if self._eof_written:
            raise RuntimeError("write after write_eof")
        if not data or self._ending:
            return
        if not self._stalled:
            self._arrive(bytes(data))
            return
        self._buffer += data
        if len(self._buffer) > self._high and not self._paused_protocol:
            self._paused_protocol = True
            assert self.protocol is not None
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        if self.lost:
            raise RuntimeError("write_eof after connection_lost")
        self._eof_written = True
        if not self._buffer:
            self.saw_eof = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if self._closing:
            return
        self._closing, self._reading = True, False
        if not self._buffer:
            self._force_close(None)

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, error: Exception | None) -> None:
        if self._ending:
            return
        self._closing, self._ending, self._reading = True, True, False
        self._buffer.clear()
        self.loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        protocol, self.protocol = self.protocol, None
        self.lost = self.saw_eof = True
        if protocol is not None:
            protocol.connection_lost(error)
        self.sock.closed = True

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self.loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_protocol(self) -> Connection:
        assert self.protocol is not None
        return self.protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": self.peer, "socket": self.sock}.get(name, default)
