"""Tunnels: bytes pass both ways untouched, half-closes travel, a full side stops the other, silence ends both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from balancer.board import layout
from balancer.data.deadlines import Deadlines
from balancer.data.http.tunnel import Tunnel
from balancer.model.names import State
from balancer.model.reason import Reason
from balancer.model.snapshot import ClientTimeouts, Passive, Retry, UpstreamTimeouts
from tests.support.transports import Clock, FakeLoop, FakeTransport
from tests.unit.data.stage import GET, OK, Stage, group_of, stage

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n"
)


class Ends(NamedTuple):
    """The two ends of a tunnel with nothing around it, and what it said when it was over."""

    loop: FakeLoop
    deadlines: Deadlines
    client: FakeTransport
    target: FakeTransport
    over: list[tuple[Reason | None, int, int]]

    def go(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.deadlines.look(self.loop.clock.now)
        self.loop.run()


@contextmanager
def tunnel(idle: float) -> Iterator[Ends]:
    loop, deadlines = FakeLoop(Clock()), Deadlines()
    client, target = FakeTransport(loop), FakeTransport(loop)
    over: list[tuple[Reason | None, int, int]] = []
    with loop.clock.installed("balancer.data"):
        Tunnel(client, target, deadlines, idle, 3.0, lambda *end: over.append(end))
        yield Ends(loop, deadlines, client, target, over)


@pytest.fixture
def ends() -> Iterator[Ends]:
    with tunnel(idle=10.0) as made:
        yield made


def test_bytes_pass_both_ways_untouched(ends: Ends) -> None:
    for piece in (b"\x81\x05hello", b"\x00" * 300, b"\r\n\r\n"):
        ends.client.feed(piece)
        ends.target.feed(piece[::-1])
        assert ends.target.take() == piece and ends.client.take() == piece[::-1]


@pytest.mark.parametrize("first", [0, 1])
def test_a_half_close_travels_and_the_other_way_stays_open(ends: Ends, first: int) -> None:
    one, other = (ends.client, ends.target) if not first else (ends.target, ends.client)
    one.feed(b"last words")
    one.feed_eof()
    assert other.take() == b"last words" and other.saw_eof and not other.is_closing()
    other.feed(b"answer")
    assert one.take() == b"answer"
    other.feed_eof()
    ends.loop.run()
    assert one.lost and other.lost
    assert ends.over == [(None, *((10, 6) if not first else (6, 10)))]


def test_a_half_closed_tunnel_has_less_time(ends: Ends) -> None:
    ends.client.feed_eof()
    ends.go(3.1)
    assert ends.over == [(Reason.IDLE_TIMEOUT, 0, 0)]


def test_a_reset_is_passed_on_as_one(ends: Ends) -> None:
    ends.client.feed_reset()
    ends.loop.run()
    assert ends.target.was_reset and ends.over == [(None, 0, 0)]


def test_a_full_side_stops_the_other_until_it_takes_again(ends: Ends) -> None:
    ends.target.stall()
    ends.client.feed(bytes(100_000))
    assert not ends.client.is_reading() and ends.target.is_reading()
    ends.client.feed(b"more")
    ends.target.drain()
    ends.loop.run()
    assert ends.client.is_reading()
    assert len(ends.target.take()) == 100_004


def test_silence_in_both_directions_ends_it(ends: Ends) -> None:
    for side in (ends.client, ends.target, ends.client):
        ends.go(9.0)
        side.feed(b"ping")
    ends.go(9.0)
    assert not ends.over
    ends.go(1.1)
    assert ends.over == [(Reason.IDLE_TIMEOUT, 8, 4)] and ends.client.lost and ends.target.lost
    assert not ends.deadlines.watched


def test_silence_may_last_for_ever_where_that_is_configured() -> None:
    with tunnel(idle=0.0) as ends:
        ends.go(1e6)
        assert not ends.over


# On the way of a request


def switched(set_: Stage, rest: bytes = b"") -> FakeTransport:
    client = set_.ask(UPGRADE)
    set_.answer(SWITCHED + rest)
    return client


def test_an_upgrade_is_asked_for_and_answered_in_full() -> None:
    with stage() as set_:
        client = switched(set_, b"first frame")
        asked = set_.upstreams[0].take()
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in asked and b"Sec-WebSocket-Key: x" in asked
        head, _, rest = client.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101") and b"Connection: Upgrade\r\nUpgrade: websocket" in head
        assert b"Sec-WebSocket-Accept: y" in head and rest == b"first frame"
        client.feed(b"ping")
        assert set_.upstreams[0].take() == b"ping"
        assert set_.cell("target|demo|t0", layout.TARGET_ACTIVE) == 1


def test_a_switch_ends_a_row_of_failures_like_any_good_answer() -> None:
    with stage(group_of(1, retry=Retry(max_retries=0), passive=Passive(consecutive_gateway_failures=2))) as set_:
        for _ in range(3):
            set_.ask(UPGRADE)
            set_.upstreams[-1].feed_reset()
            set_.loop.run()
            switched(set_)
            assert set_.cell("target|demo|t0", layout.TARGET_STREAKS) == 0


def test_bytes_that_came_with_the_request_go_first() -> None:
    with stage() as set_:
        client = set_.ask(UPGRADE + b"early")
        set_.upstreams[0].take()
        set_.answer(SWITCHED)
        client.feed(b" and late")
        assert set_.upstreams[0].take() == b"early and late"


def test_a_client_that_was_done_before_the_answer_is_done_in_the_tunnel_too() -> None:
    with stage() as set_:
        client = set_.ask(UPGRADE + b"early")
        client.feed_eof()
        set_.loop.run()
        set_.upstreams[0].take()
        set_.answer(SWITCHED + b"last words")
        target = set_.upstreams[0]
        assert target.take() == b"early" and target.saw_eof
        assert client.take().endswith(b"last words")
        target.feed_eof()
        set_.loop.run()
        assert client.lost and target.lost and set_.finished() == 1
        set_.check_quiet()


def test_one_that_was_done_before_the_answer_has_the_time_of_a_half_closed_tunnel() -> None:
    with stage() as set_:
        client = set_.ask(UPGRADE)
        client.feed_eof()
        set_.answer(SWITCHED)
        set_.go(60.5)
        assert client.lost and set_.failures(Reason.IDLE_TIMEOUT) == 1
        set_.check_quiet()


def test_a_tunnel_is_one_request_and_ends_once() -> None:
    with stage(log=True) as set_:
        client = switched(set_, b"12345")
        client.feed(b"abc")
        set_.upstreams[0].feed(b"6789")
        client.feed_eof()
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        assert set_.finished() == 1 and set_.cell("hits|web|demo|t0", 0) == 1
        assert '"status":101,"source":"upstream","reason":""' in set_.lines[0]
        assert '"bytes_in":3,"bytes_out":9,' in set_.lines[0]
        set_.check_quiet()


def test_the_limit_of_a_request_does_not_end_a_tunnel() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(request=5.0))) as set_:
        client = switched(set_)
        client.take()
        set_.go(60.0)
        set_.upstreams[0].feed(b"still here")
        assert client.take() == b"still here"
        client.feed_reset()
        set_.check_quiet()
        assert set_.finished() == 1


def test_a_silent_tunnel_ends_after_tunnel_idle() -> None:
    with stage(timeouts=ClientTimeouts(tunnel_idle=60.0)) as set_:
        client = switched(set_)
        set_.go(60.2)
        assert client.lost and set_.failures(Reason.IDLE_TIMEOUT) == 1
        set_.check_quiet()


def test_a_tunnel_lives_through_a_reload_and_ends_when_its_target_has_drained() -> None:
    with stage(group_of(2, drain_timeout=30.0)) as set_:
        client = switched(set_)
        client.take()
        which = int(set_.upstreams[0].peer[0][-1])
        set_.republish(drain_timeout=20.0)
        set_.upstreams[0].feed(b"one")
        assert client.take() == b"one"
        set_.republish(targets=tuple(t for t in set_.group.targets if t.name != f"t{which}"))
        set_.go(19.0)
        set_.upstreams[0].feed(b"two")
        assert client.take() == b"two"
        set_.go(2.0)
        assert client.lost and set_.failures(Reason.TARGET_REMOVED) == 1
        set_.check_quiet()


def test_a_target_that_turns_unhealthy_keeps_its_tunnels() -> None:
    with stage(group_of(2)) as set_:
        client = switched(set_)
        set_.state(int(set_.upstreams[0].peer[0][-1]), State.UNHEALTHY)
        client.take()
        set_.upstreams[0].feed(b"alive")
        assert client.take() == b"alive"


def test_the_end_of_the_worker_ends_a_tunnel() -> None:
    with stage() as set_:
        client = switched(set_)
        set_.listener.abort(Reason.SHUTTING_DOWN)
        set_.loop.run()
        assert client.lost and set_.upstreams[0].lost and set_.failures(Reason.SHUTTING_DOWN) == 1
        set_.check_quiet()


@pytest.mark.parametrize(
    "request_",
    [
        UPGRADE.replace(b"websocket", b"h2c"),
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        UPGRADE.replace(b"Connection: Upgrade\r\n", b""),
        GET,
    ],
)
def test_what_is_no_offer_to_switch_is_passed_on_as_an_ordinary_request(request_: bytes) -> None:
    with stage() as set_:
        client = set_.ask(request_)
        assert b"pgrade:" not in set_.upstreams[0].take()
        set_.answer(OK)
        assert client.take().startswith(b"HTTP/1.1 200")
        client = set_.ask(request_)
        set_.answer(SWITCHED)
        assert b"upgrade_failed" in client.take()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (OK, b"200"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"403"),
        (SWITCHED.replace(b"websocket", b"h2c"), b"502"),
    ],
)
def test_another_answer_to_an_offer_is_an_answer(answer: bytes, status: bytes) -> None:
    with stage() as set_:
        client = set_.ask(UPGRADE)
        set_.answer(answer)
        assert client.take()[9:12] == status
        assert not set_.listener.tunnels
        set_.check_quiet()


@pytest.mark.parametrize(
    "request_",
    [
        UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
        UPGRADE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        UPGRADE.replace(b"Sec-WebSocket-Key: x\r\n", b""),
    ],
)
def test_a_malformed_offer_is_refused(request_: bytes) -> None:
    with stage() as set_:
        assert b"bad_upgrade" in set_.ask(request_).take()
        assert not set_.upstreams
