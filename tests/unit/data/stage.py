"""The data path of one worker on a table top: a `Live` over a fake loop, its clients and targets played by the test."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, cast
from unittest import mock

from balancer.board import board as shared
from balancer.board import layout, slots
from balancer.board.board import Board
from balancer.data.http.client import ClientProtocol
from balancer.data.http.exchange import Exchange
from balancer.data.listener import LiveListener
from balancer.data.live import Live
from balancer.data.place import Place
from balancer.data.place import log as log_
from balancer.data.target import LiveTarget
from balancer.model.names import Evidence, State
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import AccessLog, Forward, Listener, Match, Rule, Snapshot, Target, TargetGroup
from balancer.net import connect
from tests.support import http1
from tests.support.transports import Clock, Dial, FakeLoop, FakeSocket, FakeTransport

PREFIX = b"0123456789abcdef"  # of request ids
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody"


def group_of(count: int = 1, name: str = "demo", **settings: Any) -> TargetGroup:
    """Return a group of targets t0, t1, … in zones zone-0, zone-1, …"""
    targets = tuple(Target(f"t{i}", f"10.0.0.{i}:8000", f"10.0.0.{i}", 8000, 1, f"zone-{i}") for i in range(count))
    return TargetGroup(name, targets=targets, **settings)


def forward_to(*groups: str) -> tuple[Rule, ...]:
    return (Rule("rules[0]", Match(), Forward(tuple((group, 1) for group in groups))),)


class Bugs(logging.Handler):
    """Remembers what the worker logged as a fault of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Stage:
    """A worker with one listener, `web`; every message that it sends to control is in `said`."""

    def __init__(
        self,
        group: TargetGroup | None = None,
        *,
        remember: bool = True,
        log: bool = False,
        places: int = 1,
        **listener: Any,
    ) -> None:
        self.clock = Clock()
        self.loop = FakeLoop(self.clock)
        self.loop.on_dial = self._dialled
        self.said: list[dict[str, object]] = []
        self.lines: list[str] = []  # of the access log, where `log`
        self.upstreams: list[FakeTransport] = []  # every connection that a target accepted, in order
        self.accepts = True  # targets accept at once; else the dials wait in `loop.dials`
        self.origin: Callable[[FakeTransport], object] = lambda transport: None  # looks after each write to a target
        descriptor = shared.create()
        self.board = Board(descriptor)
        os.close(descriptor)
        self._patches = ExitStack()
        self._patches.enter_context(mock.patch.object(connect, "dial", self.loop.dial))
        self._patches.enter_context(mock.patch.object(connect, "unread", lambda transport: transport.unread))
        self._patches.enter_context(self.clock.installed("balancer.data"))
        self._bugs = Bugs()
        log_.addHandler(self._bugs)
        self._patches.callback(log_.removeHandler, self._bugs)
        self.live = Live(cast(Any, self.loop), self.board, 0, places, self.said.append)
        self.place: Place = self.live.place
        self.place.remember = remember
        self.place.prefix = PREFIX
        if log:
            self.place.access_log.enabled = True
            self.place.access_log.write = self.lines.append  # type: ignore[method-assign,assignment]
        self._sock = FakeSocket()
        self.group = group_of() if group is None else group
        spec = Listener("web", "127.0.0.1:8080", **({"rules": forward_to(self.group.name)} | listener))
        self.snapshot = Snapshot(1, 1, access_log=AccessLog(""), listeners=(spec,), target_groups=(self.group,))
        self.publish(self.snapshot)

    def publish(self, snapshot: Snapshot) -> None:
        """Let the worker run another snapshot."""
        given = slots.assign(slots.keys(snapshot), self.snapshot.slots)
        self.snapshot = replace(snapshot, slots=given)
        self.live.build(self.snapshot, cast(Any, {listener.name: self._sock for listener in snapshot.listeners}))
        self.live.swap()
        self.loop.run()

    def publish_without(self, name: str) -> None:
        """Let the worker run a snapshot that knows nothing of that group: another one has its requests."""
        other = group_of(1, "other")
        listeners = tuple(replace(listener, rules=forward_to("other")) for listener in self.snapshot.listeners)
        rest = tuple(group for group in self.snapshot.target_groups if group.name not in (name, "other"))
        self.publish(replace(self.snapshot, target_groups=(*rest, other), listeners=listeners))

    def republish(self, **changes: Any) -> None:
        """Publish again with a changed group."""
        self.group = replace(self.group, **changes)
        self.publish(replace(self.snapshot, target_groups=(self.group,)))

    def close(self) -> None:
        self._patches.close()
        for live in (self.place, *self.live.targets.values()):
            for view in ("row", "head", "column"):
                if hasattr(live, view):
                    getattr(live, view).release()

    # Parts

    @property
    def listener(self) -> LiveListener:
        return self.live.listeners["web"]

    @property
    def targets(self) -> list[LiveTarget]:
        return self.live.groups[self.group.name].targets

    def client(self, peer: str = "203.0.113.9") -> FakeTransport:
        """Return the transport of a client that just connected."""
        protocol = ClientProtocol(self.listener)
        transport = FakeTransport(self.loop, protocol, (peer, 40_000))
        protocol.connection_made(transport)
        return transport

    def ask(self, data: bytes = GET) -> FakeTransport:
        """Return a new client that has sent `data`, with all that followed of it."""
        client = self.client()
        client.feed(data)
        self.loop.run()
        return client

    def answer(self, data: bytes = OK, upstream: int = -1) -> None:
        """The target at the end of that connection (by default the newest) sends `data`."""
        self.upstreams[upstream].feed(data)
        self.loop.run()

    def go(self, seconds: float) -> None:
        """Let time pass; an exception in what the coarse clock does is the test's."""
        self.loop.advance(seconds)
        for record in self._bugs.records:
            if "coarse clock" in record.getMessage() and record.exc_info and record.exc_info[1]:
                raise record.exc_info[1]

    def _dialled(self, dial: Dial) -> None:
        if self.accepts and dial.waits:
            self.accept(dial)

    def accept(self, dial: Dial) -> FakeTransport:
        transport = dial.accept()
        transport.on_write = self.origin
        self.upstreams.append(transport)
        return transport

    # What control does

    def state(self, target: int, state: State, evidence: Evidence = Evidence.NONE) -> None:
        """Publish the state of a target, and tell the worker."""
        at = shared.state_at(self.snapshot.slots[f"state|{self.group.name}|t{target}"])

        def write(cells: memoryview[int]) -> None:
            cells[at + layout.STATE], cells[at + layout.EVIDENCE] = state.code, evidence.code
            cells[at + layout.FACTOR] = 1000

        self.board.publish(write)
        self.live.states()
        self.loop.run()

    # What the board says

    def cell(self, key: str, offset: int = 0) -> int:
        return self.place.row[self.snapshot.slots[key] + offset]

    def failures(self, reason: Reason) -> int:
        return self.cell(f"reasons|{self.group.name}", REASON_CODES[reason])

    def retries(self, reason: Reason) -> int:
        return self.cell(f"reasons|{self.group.name}", layout.REASONS_RETRIES + REASON_CODES[reason])

    def finished(self) -> int:
        """Return how many requests the board counts, whatever their end."""
        row = self.place.row
        return sum(
            sum(row[at : at + layout.HITS_BLOCK]) for key, at in self.snapshot.slots.items() if key.startswith("hits|")
        )

    def check_quiet(self) -> None:
        """Nothing is in flight: every gauge says so, in the objects and on the board."""
        self.loop.run()
        assert (self.listener.active, self.cell("listener|web", layout.LISTENER_ACTIVE)) == (0, 0)
        for target in self.targets:
            key = f"target|{self.group.name}|{target.name}"
            assert (target.active, self.cell(key, layout.TARGET_ACTIVE)) == (0, 0), target.name
            assert target.connecting == 0
        assert self.live.groups[self.group.name].retrying == 0


@contextmanager
def stage(group: TargetGroup | None = None, **settings: Any) -> Iterator[Stage]:
    """Set a stage, and clear it away."""
    made = Stage(group, **settings)
    try:
        yield made
    finally:
        made.close()


def exchange_of(client: FakeTransport) -> Exchange:
    assert isinstance(client.protocol, ClientProtocol)
    return client.protocol.exchange


class Answers:
    """An origin: reads strictly what is written to a target, and answers each whole request with what `make` says."""

    def __init__(self, make: Callable[[http1.Head, bytes], bytes]) -> None:
        self.make = make
        self.requests: list[tuple[http1.Head, bytes]] = []  # in the order of their last byte
        self.raw: list[bytes] = []

    def __call__(self, transport: FakeTransport) -> None:
        data = bytes(transport.received)
        while (cut := whole_request(data)) is not None:
            head, body, size = cut
            self.raw.append(data[:size])
            data = data[size:]
            transport.received[:] = data
            self.requests.append((head, body))
            transport.loop.call_soon(transport.feed, self.make(head, body))


def whole_request(data: bytes) -> tuple[http1.Head, bytes, int] | None:
    """Return (head, body, size) of the request that `data` begins with, None if it is not whole. Raises BadMessage."""
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        return None
    head = http1.request_head(data[:end])
    length = http1.body_length(head)
    if length is not None:
        length = max(0, length)
        return None if len(data) < end + length else (head, data[end : end + length], end + length)
    body, at = b"", end
    while True:
        stop = data.find(b"\r\n", at)
        if stop < 0:
            return None
        size = http1.chunk_size(data[at:stop])
        at = stop + 2
        if len(data) < at + size + 2:
            return None
        body += data[at : at + size]
        if data[at + size : at + size + 2] != b"\r\n":
            raise http1.BadMessage("no CRLF after a chunk")
        at += size + 2
        if not size:
            return head, body, at
