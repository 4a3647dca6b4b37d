"""A request's body by itself: what it gives, where it ends, and until when more of it must be here."""

from __future__ import annotations

import pytest

from balancer.data.http.fields import CHUNKED, Bad
from balancer.data.http.pace import GRACE, STEP
from balancer.data.http.request_body import MAX_DISCARD, RequestBody
from balancer.model.reason import Reason
from balancer.model.snapshot import ClientTimeouts, Limits, Listener

IDLE, WAIT_FOR_100 = 30.0, 1.0


def body(length: int, *, expecting: bool = False, limit: int = 0, rate: int = 0) -> RequestBody:
    timeouts = ClientTimeouts(request_body_idle=IDLE, expect_continue=WAIT_FOR_100)
    limits = Limits(body=limit, min_body_rate=rate)
    return RequestBody(length, Listener("web", "127.0.0.1:0", timeouts=timeouts, limits=limits), expecting=expecting)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_body_of_known_length_ends_at_its_last_byte_and_hands_on_what_follows(cut: int) -> None:
    data, got, rest = b"abcdeGET", b"", b""
    one = body(5)
    for piece in (data[:cut], data[cut:]):
        if one.done:
            rest += piece
            continue
        payload, rest = one.feed(piece)
        got += b"".join(payload)
    assert (got, rest, one.done) == (b"abcde", b"GET", True)


def test_a_body_in_chunks_ends_with_its_last_chunk_and_is_held_to_the_limit() -> None:
    one = body(CHUNKED, limit=5)
    assert one.feed(b"5\r\nabcde\r\n") == ([b"abcde"], b"")
    assert not one.done
    assert one.feed(b"0\r\n\r\nGET") == ([], b"GET")
    assert one.done
    with pytest.raises(Bad) as bad:
        body(CHUNKED, limit=4).feed(b"5\r\nabcde\r\n")
    assert bad.value.reason is Reason.BODY_TOO_LARGE


def test_who_expects_a_100_has_that_long_and_then_the_time_of_a_body() -> None:
    one = body(5, expecting=True)
    assert one.begin(100.0) == 100.0 + WAIT_FOR_100
    assert not one.may_be_discarded
    one.expecting = False
    assert one.want(101.0) == 101.0 + IDLE
    assert one.may_be_discarded
    assert not body(MAX_DISCARD + 1).may_be_discarded


def test_silence_ends_it_when_its_time_is_over_and_not_before() -> None:
    one = body(10)
    assert one.begin(0.0) == IDLE
    one.feed(b"ab")
    assert one.want(20.0) == 20.0 + IDLE
    with pytest.raises(Bad) as bad:
        one.judge(20.0 + IDLE, reading=True)
    assert bad.value.reason is Reason.CLIENT_BODY_TIMEOUT


def test_a_body_below_the_rate_ends_after_its_grace_but_not_while_we_do_not_read() -> None:
    one = body(100_000, rate=100)
    assert one.begin(0.0) == GRACE
    one.feed(b"a" * 500)
    one.want(9.0)
    assert one.judge(GRACE, reading=False) == GRACE + STEP  # it is us who hold it back
    one.held(6.0)
    assert one.judge(15.0, reading=True) == 20.0  # nine seconds of its own: not to be judged yet
    with pytest.raises(Bad) as bad:
        one.judge(20.0, reading=True)
    assert bad.value.reason is Reason.CLIENT_TOO_SLOW
    assert bad.value.detail == "500 bytes of the body in 14 s, limits.min_body_rate is 100"
