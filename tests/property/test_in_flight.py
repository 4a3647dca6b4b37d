"""Work in hand, over any sequence of events: each request begins once and ends once, and every count comes back to zero."""

from __future__ import annotations

import errno
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from balancer.board import layout
from balancer.data.http.client import ClientProtocol
from balancer.data.http.exchange import Exchange
from balancer.model.names import Evidence, PolicyName, State
from balancer.model.reason import Reason
from balancer.model.snapshot import Passive, Queue, Retry, UpstreamTimeouts
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, POST, Stage, group_of

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
SENDS = st.sampled_from(
    [
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
    ]
)
ANSWERS = st.sampled_from(
    [
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
    ]
)
STATES = st.sampled_from([State.HEALTHY, State.HEALTHY, State.UNHEALTHY, State.EJECTED, State.DRAINING])
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


class InFlight(RuleBasedStateMachine):
    """A worker with three targets; clients, targets, control and the clock do what they like."""

    def __init__(self) -> None:
        super().__init__()
        self.set: Stage
        self.clients: list[FakeTransport] = []

    @initialize(limits=st.sampled_from(sorted(LIMITS)), log=st.booleans())
    def begin(self, limits: str, log: bool) -> None:
        self.set = Stage(group_of(3, **LIMITS[limits]), log=log)
        self.set.accepts = False
        for target in range(3):
            self.set.state(target, State.HEALTHY)

    def client(self, index: int) -> FakeTransport:
        return self.clients[index % len(self.clients)]

    def upstream(self, index: int) -> FakeTransport | None:
        living = [upstream for upstream in self.set.upstreams if not upstream.lost]
        return living[index % len(living)] if living else None

    @rule(data=SENDS, index=st.integers(0, 3), new=st.booleans())
    def a_client_sends(self, data: bytes, index: int, new: bool) -> None:
        if not self.clients or (new and len(self.clients) < 8):
            self.clients.append(self.set.client())
            index = -1
        self.client(index).feed(data)
        self.set.loop.run()

    @precondition(lambda self: self.clients)
    @rule(
        index=st.integers(0, 3),
        what=st.sampled_from(["feed_eof", "feed_reset", "stall", "drain"]),
    )
    def a_client_ends_or_stops_reading(self, index: int, what: str) -> None:
        if not self.client(index).lost:
            getattr(self.client(index), what)()
        self.set.loop.run()

    @precondition(lambda self: self.set.loop.dials)
    @rule(
        index=st.integers(0, 3), ends=st.sampled_from([0, 0, 0, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EMFILE])
    )
    def a_connect_ends(self, index: int, ends: int) -> None:
        dials = self.set.loop.dials
        dial = dials[index % len(dials)]
        if ends:
            dial.fail(ends)
        else:
            self.set.accept(dial)
        self.set.loop.run()

    @precondition(lambda self: self.set.loop.dials)
    @rule()
    def every_connect_is_accepted(self) -> None:
        while self.set.loop.dials:
            self.set.accept(self.set.loop.dials[0])
            self.set.loop.run()

    @rule(data=ANSWERS, index=st.integers(0, 3))
    def a_target_answers(self, data: bytes, index: int) -> None:
        upstream = self.upstream(index)
        if upstream is not None:
            upstream.feed(data)
            self.set.loop.run()

    @rule(index=st.integers(0, 3), what=st.sampled_from(["feed_eof", "feed_reset", "stall", "drain"]))
    def a_target_ends_or_stops_reading(self, index: int, what: str) -> None:
        upstream = self.upstream(index)
        if upstream is not None:
            getattr(upstream, what)()
            self.set.loop.run()

    @rule(which=st.integers(0, 2), state=STATES)
    def control_sees_a_state(self, which: int, state: State) -> None:
        self.set.state(which, state, Evidence.SOFT if state is State.UNHEALTHY else Evidence.NONE)

    @rule(limits=st.sampled_from(sorted(LIMITS)), count=st.integers(1, 3))
    def the_configuration_changes(self, limits: str, count: int) -> None:
        changed = group_of(count, **LIMITS[limits])
        self.set.republish(
            **{name: getattr(changed, name) for name in changed.__slots__ if name not in ("name", "discover")}
        )

    @rule()
    def control_vetoes_an_ejection(self) -> None:
        self.set.live.veto("demo", "t0")

    @rule(seconds=st.sampled_from([0.05, 0.2, 1.0, 3.0, 7.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.set.go(seconds)

    @invariant()
    def every_request_is_inside_or_has_ended_once(self) -> None:
        if not hasattr(self, "set"):
            return
        set_ = self.set
        assert set_.listener.active == set_.cell("listener|web", layout.LISTENER_ACTIVE) >= 0
        assert set_.finished() + set_.listener.active == set_.place.count
        assert set_.failures(Reason.INTERNAL_ERROR) == 0

    @invariant()
    def work_in_hand_is_what_the_exchanges_hold(self) -> None:
        if not hasattr(self, "set"):
            return
        exchanges = [*self.set.listener.tunnels]
        for client in self.set.listener.connections:
            assert isinstance(client, ClientProtocol)
            exchanges.append(client.exchange)
        held: dict[str, set[Exchange]] = {}
        for exchange in exchanges:
            if exchange._holding and exchange.target is not None:
                held.setdefault(exchange.target.name, set()).add(exchange)
        for target in self.set.targets:
            assert target.active == len(held.get(target.name, ()))
            assert target.active == self.set.cell(f"target|demo|{target.name}", layout.TARGET_ACTIVE)
            assert not set(target.idle) - target.connections
            assert all(connection.exchange is None and not connection.closed for connection in target.idle)

    def teardown(self) -> None:
        if not hasattr(self, "set"):
            return
        for client in self.clients:
            if not client.lost:
                client.feed_reset()
        self.set.go(40.0)
        while self.set.loop.dials:
            self.set.loop.dials[0].fail()
            self.set.loop.run()
        try:
            self.set.check_quiet()
            assert self.set.finished() == self.set.place.count
            assert not self.set.listener.connections
            assert not self.set.listener.tunnels
        finally:
            self.set.close()


TestInFlight = InFlight.TestCase
TestInFlight.settings = settings(max_examples=settings().max_examples // 5, stateful_step_count=40)
