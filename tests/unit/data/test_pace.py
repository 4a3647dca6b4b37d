"""A body that comes too slowly ends, one that is only slow does not, and we blame nobody for our own pauses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from balancer.data.http.pace import GRACE, STEP, Pace
from balancer.model.reason import Reason
from balancer.model.snapshot import ClientTimeouts, Limits
from tests.unit.data.stage import Stage, stage

SLACK = 0.3  # seconds: the coarse clock is late by a little
HEAD = b"POST / HTTP/1.1\r\nHost: a.test\r\n"


def ended_at(received: Callable[[float], float], rate: int = 500, last: float = 600.0) -> float | None:
    """Return the second in which a body is found too slow of which so many bytes are here after so many seconds."""
    pace, at = Pace(rate), GRACE
    while at <= last:
        if pace.is_too_slow(at, int(received(at))):
            return at
        at += STEP
    return None


@pytest.mark.parametrize(
    ("name", "received", "end"),
    [
        ("nothing", lambda t: 0, GRACE),
        ("a byte a second", lambda t: t, GRACE),
        ("just under the rate", lambda t: 499 * t, GRACE),
        ("just the rate", lambda t: 500 * t, None),
        ("a hundred kilobytes a second", lambda t: 100_000 * t, None),
        ("all at first, then a rest of 25 s", lambda t: 15_000 if t < 25 else 15_000 + 500 * t, None),
        ("much at first, then nothing", lambda t: 1_000_000, GRACE + 30 + STEP * 0),
        ("a burst of a rate's worth every 30 s", lambda t: 15_000 * (t // 30 + 1), None),
    ],
)
def test_the_average_of_the_last_half_minute_decides(
    name: str, received: Callable[[float], float], end: float | None
) -> None:
    assert ended_at(received) == end


def upload(set_: Stage, pieces: int, size: int, every: float, coding: bytes = b"Content-Length: 100000000") -> float:
    """Send pieces of a body at their times; return after how many seconds the client was answered, or all were sent."""
    client = set_.ask(HEAD + coding + b"\r\n\r\n")
    began = set_.clock.monotonic()
    piece = b"a" * size if coding.startswith(b"Content") else b"%x\r\n%b\r\n" % (size, b"a" * size)
    for _ in range(pieces):
        if client.received or client.is_closing():
            break
        client.feed(piece)
        for upstream in set_.upstreams:
            upstream.take()
        set_.go(every)
    return set_.clock.monotonic() - began


def test_an_upload_of_100_kilobytes_a_second_takes_its_ten_minutes() -> None:
    with stage() as set_:
        assert upload(set_, 600, 100_000, 1.0) == pytest.approx(600, abs=1)
        assert set_.failures(Reason.CLIENT_TOO_SLOW) == set_.failures(Reason.CLIENT_BODY_TIMEOUT) == 0


@pytest.mark.parametrize("coding", [b"Content-Length: 100000000", b"Transfer-Encoding: chunked"])
def test_a_byte_a_second_ends_after_ten(coding: bytes) -> None:
    with stage(log=True) as set_:
        assert upload(set_, 60, 1, 1.0, coding) == pytest.approx(GRACE, abs=1 + SLACK)
        assert set_.failures(Reason.CLIENT_TOO_SLOW) == 1
        assert '"status":408' in set_.lines[-1] and "limits.min_body_rate is 500" in set_.lines[-1]
        assert set_.upstreams[0].lost, "the target must not take what it has for a whole request"
        set_.check_quiet()


def test_without_a_rate_a_byte_a_second_is_served() -> None:
    with stage(limits=Limits(min_body_rate=0)) as set_:
        assert upload(set_, 120, 1, 1.0) == pytest.approx(120, abs=1)
        assert set_.failures(Reason.CLIENT_TOO_SLOW) == 0


def test_a_body_that_stops_is_silent_before_it_is_slow_where_that_is_sooner() -> None:
    with stage(timeouts=ClientTimeouts(request_body_idle=5.0)) as set_:
        set_.ask(HEAD + b"Content-Length: 10\r\n\r\nabc")
        set_.go(5 + SLACK)
        assert set_.failures(Reason.CLIENT_BODY_TIMEOUT) == 1


def test_time_in_which_the_target_takes_nothing_is_not_the_clients() -> None:
    with stage() as set_:
        client = set_.ask(HEAD + b"Content-Length: 100000000\r\n\r\n")
        upstream = set_.upstreams[0]
        upstream.stall()
        client.feed(b"a" * 70_000)
        assert not client.is_reading()
        set_.go(50)
        upstream.drain()
        set_.loop.run()
        assert client.is_reading()
        client.feed(b"a" * 6_000)
        set_.go(9)
        assert set_.failures(Reason.CLIENT_TOO_SLOW) == 0 and not client.received


def test_a_client_that_waits_for_its_100_is_not_slow() -> None:
    with stage(timeouts=ClientTimeouts(expect_continue=20.0)) as set_:
        client = set_.ask(HEAD + b"Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n")
        set_.go(19)
        assert set_.failures(Reason.CLIENT_TOO_SLOW) == 0
        set_.go(1 + GRACE + 2 * SLACK)
        assert client.take().startswith(b"HTTP/1.1 100 ") and set_.failures(Reason.CLIENT_TOO_SLOW) == 1
