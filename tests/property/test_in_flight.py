"""Work in hand, over any sequence of events: each request begins and ends once, and every count comes back to zero.

The sequences are scripts of a seeded random generator, dense in what goes wrong; a failure names its seed and its last
steps. `HYPOTHESIS_PROFILE=nightly` runs more of them.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from balancer.board import layout
from balancer.data.http.client import ClientProtocol
from balancer.data.http.exchange import Exchange
from balancer.data.target import LiveTarget
from balancer.model.names import Evidence, PolicyName, State
from balancer.model.reason import Reason
from balancer.model.snapshot import Passive, Queue, Retry, TargetGroup, UpstreamTimeouts
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, POST, Stage, group_of

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
SENDS = (
    GET,
    GET,
    GET * 3,
    POST,
    POST[:-2],
    b"dy",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
    b"0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + bytes(70_000),
    bytes(20_000),
    UPGRADE,
    b"broken\r\n\r\n",
)
ANSWERS = (
    OK,
    OK,
    OK,
    b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000),
    bytes(100_000),
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    OK + b"too much",
    b"HTTP/1.1 2",
    b"garbage\r\n\r\n",
)
LIMITS: dict[str, dict[str, Any]] = {
    "usual": {},
    "tight": {
        "max_connections": 2,
        "queue": Queue(2, 5.0),
        "retry": Retry(on=("connect", "reset", "timeout", "502", "non_idempotent"), per_try=3.0),
        "timeouts": UpstreamTimeouts(request=6.0, response_header=6.0, connect=2.0),
        "passive": Passive(consecutive_connect_failures=2, consecutive_gateway_failures=2, base_ejection=3.0),
    },
    "bare": {"retry": Retry(max_retries=0), "passive": None, "rescue": False, "policy": PolicyName.LEAST_CONN},
}
# What a reload may change beside: the time that a request may take, for one.
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"timeouts": UpstreamTimeouts()},
    {"timeouts": UpstreamTimeouts(request=4.0)},
)


class Script:
    """A worker with three targets; clients, targets, control and the clock do what a random generator likes."""

    def __init__(self, seed: int, settings_of: dict[str, Any]) -> None:
        self.random = random.Random(seed)
        self.settings = settings_of
        self.set = Stage(group_of(3, **settings_of), log=self.random.random() < 0.5)
        self.set.accepts = False
        self.clients: list[FakeTransport] = []
        self.steps: list[str] = []
        self.actions: list[Callable[[], str]] = [
            *[self.client_sends] * 12,
            *[self.connect_ends] * 6,
            *[self.target_answers] * 10,
            *[self.client_ends_or_stops_reading] * 2,
            *[self.target_ends_or_stops_reading] * 2,
            *[self.control_sees_a_state] * 2,
            *[self.time_passes] * 3,
            self.configuration_changes,
            self.control_vetoes,
        ]

    def run(self, steps: int) -> None:
        for target in range(3):
            self.set.state(target, State.HEALTHY)
        for _ in range(steps):
            self.steps.append(self.random.choice(self.actions)())
            self.set.loop.run()
            self.check()
        self.end()

    # What may happen

    def client_sends(self) -> str:
        living = [client for client in self.clients if not client.is_closing()]
        if not living or (len(living) < 8 and self.random.random() < 0.4):
            self.clients.append(self.set.client())
            living = self.clients[-1:]
        client, data = self.random.choice(living), self.random.choice(SENDS)
        client.feed(data)
        return f"client {self.clients.index(client)} sends {data[:50]!r}"

    def client_ends_or_stops_reading(self) -> str:
        living = [client for client in self.clients if not client.lost]
        return self._do(living, ("feed_eof", "feed_reset", "stall", "drain"), "client")

    def target_ends_or_stops_reading(self) -> str:
        living = [upstream for upstream in self.set.upstreams if not upstream.lost]
        return self._do(living, ("feed_eof", "feed_reset", "stall", "drain"), "target")

    def _do(self, transports: list[FakeTransport], ways: tuple[str, ...], who: str) -> str:
        if not transports:
            return "nothing"
        transport, way = self.random.choice(transports), self.random.choice(ways)
        transport.unread = self.random.choice((b"", OK, OK[:-1]))
        getattr(transport, way)()
        return f"{who} {transport.peer} {way}"

    def connect_ends(self) -> str:
        dials = self.set.loop.dials
        if not dials:
            return "nothing"
        dial = self.random.choice(dials)
        if self.random.random() < 0.3:
            code = self.random.choice((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EMFILE))
            dial.fail(code)
            return f"connect to {dial.address} fails: {code}"
        self.set.accept(dial)
        return f"connect to {dial.address} succeeds"

    def target_answers(self) -> str:
        busy = [u for u in self.set.upstreams if not u.lost and (u.received or self.random.random() < 0.05)]
        if not busy:
            return "nothing"
        upstream, data = self.random.choice(busy), self.random.choice(ANSWERS)
        upstream.feed(data)
        if data is OK:
            upstream.take()
        return f"target {upstream.peer} answers {data[:40]!r}"

    def control_sees_a_state(self) -> str:
        which = self.random.randrange(len(self.set.targets))
        state = self.random.choice((State.HEALTHY, State.HEALTHY, State.UNHEALTHY, State.EJECTED, State.DRAINING))
        self.set.state(which, state, Evidence.SOFT if state is State.UNHEALTHY else Evidence.NONE)
        return f"t{which} is {state}"

    def configuration_changes(self) -> str:
        count = self.random.choice((1, 2, 3, 3))
        changed = group_of(count, **(self.settings | self.random.choice(CHANGES)))
        fields = [name for name in TargetGroup.__slots__ if name not in ("name", "discover")]
        self.set.republish(**{name: getattr(changed, name) for name in fields})
        return f"reload with {count} targets"

    def control_vetoes(self) -> str:
        self.set.live.veto("demo", "t0")
        return "veto"

    def time_passes(self) -> str:
        seconds = self.random.choice((0.05, 0.2, 1.0, 3.0, 7.0, 31.0))
        self.set.go(seconds)
        return f"{seconds} s"

    # What always holds

    def check(self) -> None:
        set_ = self.set
        assert set_.listener.active == set_.cell("listener|web", layout.LISTENER_ACTIVE) >= 0
        assert set_.finished() + set_.listener.active == set_.place.count
        assert set_.failures(Reason.INTERNAL_ERROR) == 0
        exchanges = [*set_.listener.tunnels]
        for client in set_.listener.connections:
            assert isinstance(client, ClientProtocol)
            exchanges.append(client.exchange)
        held: dict[LiveTarget, set[Exchange]] = {}
        for exchange in exchanges:
            if exchange._holding and exchange.target is not None:
                held.setdefault(exchange.target, set()).add(exchange)
            watched = exchange in set_.place.deadlines.watched
            assert watched == (exchange.deadline != float("inf"))
        for target, there in held.items():  # those that left the configuration too
            assert target.active == len(there)
        for target in set_.targets:
            assert target.active == len(held.get(target, ()))
            assert target.active == set_.cell(f"target|demo|{target.name}", layout.TARGET_ACTIVE)
            assert not set(target.idle) - target.connections
            for connection in target.idle:
                assert connection.exchange is None and not connection.closed
                assert connection.transport.is_reading()  # or its end would not be heard

    def end(self) -> None:
        """Every client leaves: then nothing is in hand, and each request has been counted once."""
        for client in self.clients:
            if not client.lost:
                client.feed_reset()
        self.set.go(40.0)
        while self.set.loop.dials:
            self.set.loop.dials[0].fail()
            self.set.loop.run()
        self.set.check_quiet()
        assert self.set.finished() == self.set.place.count
        assert not self.set.listener.connections
        assert not self.set.listener.tunnels


SCRIPTS = settings().max_examples // 10


@pytest.mark.parametrize("limits", sorted(LIMITS))
def test_every_request_ends_once_and_leaves_nothing_behind(limits: str) -> None:
    for seed in range(SCRIPTS):
        script = Script(seed, LIMITS[limits])
        try:
            script.run(120)
        except Exception as error:
            error.add_note(f"seed {seed}, the last steps: " + "; ".join(script.steps[-25:]))
            raise
        finally:
            script.set.close()
