"""A client's connection: order, deadlines, half-closes, back-pressure, and how it ends."""

from __future__ import annotations

import pytest

from balancer.data.http.client import LAST_WORD, LINGER, MAX_DISCARD, MAX_LINGER, MAX_PIPELINED
from balancer.data.http.framing import LAST_CHUNK, MAX_CHUNKS
from balancer.model.reason import Reason
from balancer.model.snapshot import ClientTimeouts, FixedResponse, Limits, Match, Redirect, Rule
from tests.support import http1
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, POST, Answers, Stage, forward_to, stage

FIXED = (Rule("fixed", Match(), FixedResponse(200, "x")),)
CLOSE = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
SLACK = 0.2  # seconds: the coarse clock is late by a little


def ok(head: http1.Head, body: bytes) -> bytes:
    return OK


def big(size: int = 200_000) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)


def total_failures(set_: Stage, reason: Reason) -> int:
    """Return how often `reason` was counted, with a group or without."""
    from balancer.model.reason import REASON_CODES

    return set_.failures(reason) + set_.cell("reasons|", REASON_CODES[reason])


# Order


def test_pipelined_requests_are_answered_in_order_whatever_the_order_of_their_kinds() -> None:
    rules = (Rule("fixed", Match(paths=("=/fixed",)), FixedResponse(200, "fixed")), *FIXED)
    with stage(rules=rules) as set_:
        client = set_.ask(GET.replace(b"/ ", b"/fixed ", 1) + GET + POST + GET.replace(b"/ ", b"/fixed ", 1))
        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in client.take().split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"fixed", b"x", b"x", b"fixed"]


def test_a_second_request_waits_for_the_answer_to_the_first() -> None:
    with stage() as set_:
        client = set_.ask(GET + GET)
        assert bytes(set_.upstreams[0].received).count(b"GET /") == 1
        set_.answer(OK)
        assert bytes(set_.upstreams[0].received).count(b"GET /") == 2
        set_.answer(OK)
        assert client.take().count(b"ok") == 2


def test_too_many_waiting_requests_stop_the_reading_and_nothing_else() -> None:
    count = MAX_PIPELINED // len(GET) + 10
    with stage() as set_:
        client = set_.ask(GET)
        client.feed(GET * count)
        assert not client.is_reading()
        set_.origin = Answers(ok)
        set_.upstreams[0].on_write = set_.origin
        set_.answer(OK)
        set_.upstreams[0].take()
        assert client.take().count(b"200 OK") >= 1
        assert client.is_reading()


# Half-close


@pytest.mark.parametrize("rules", [None, FIXED])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_client_that_has_said_all_gets_all_its_answers(rules: tuple[Rule, ...] | None, count: int) -> None:
    with stage(rules=rules or forward_to("demo")) as set_:
        set_.origin = Answers(ok)
        client = set_.client()
        client.feed(GET * count)
        client.feed_eof()
        set_.loop.run()
        assert client.take().count(b"200 OK") == count
        assert client.lost
        set_.check_quiet()


def test_a_half_closed_client_is_given_up_after_a_while() -> None:
    with stage(timeouts=ClientTimeouts(half_close=5.0)) as set_:
        client = set_.ask(GET)
        client.feed_eof()
        set_.go(4.9)
        assert not client.is_closing()
        set_.go(0.1 + SLACK)
        assert client.lost
        assert set_.failures(Reason.CLIENT_CLOSED) == 1
        set_.check_quiet()


def test_a_half_closed_client_is_gone_at_once_where_that_is_configured() -> None:
    with stage(timeouts=ClientTimeouts(half_close=0.0)) as set_:
        client = set_.ask(GET)
        client.feed_eof()
        set_.loop.run()
        assert client.lost and set_.failures(Reason.CLIENT_CLOSED) == 1


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", POST[:-1]])
def test_a_client_that_ends_before_its_request_is_whole_is_closed(sent: bytes) -> None:
    with stage() as set_:
        client = set_.client()
        client.feed(sent)
        client.feed_eof()
        set_.loop.run()
        assert client.lost and client.take() == b""
        set_.check_quiet()


def test_a_client_that_ends_within_its_second_request_gets_the_answer_to_the_first() -> None:
    with stage() as set_:
        set_.origin = Answers(ok)
        client = set_.client()
        client.feed(GET + GET[:-5])
        client.feed_eof()
        set_.loop.run()
        assert client.take().count(b"200 OK") == 1 and client.lost
        set_.check_quiet()


def tiny(count: int, path: bytes = b"/") -> bytes:
    """Return a request with a body in chunks of a byte."""
    head = b"POST %b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    return head + b"1\r\nx\r\n" * count + LAST_CHUNK


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("count", [MAX_CHUNKS - 1, MAX_CHUNKS, MAX_CHUNKS + 1, 3 * MAX_CHUNKS])
def test_a_body_of_many_turns_is_answered_though_the_client_has_said_all(count: int, fixed: bool) -> None:
    rules = (Rule("fixed", Match(paths=("=/fixed",)), FixedResponse(200, "fixed")), *forward_to("demo"))
    with stage(rules=rules) as set_:
        answers = set_.origin = Answers(ok)
        client = set_.client()
        client.feed(GET + tiny(count, b"/fixed" if fixed else b"/") + GET)
        client.feed_eof()
        set_.loop.run()
        assert client.take().count(b"200 OK") == 3 and client.lost
        assert [len(body) for _, body in answers.requests] == ([0, 0] if fixed else [0, count, 0])
        set_.check_quiet()


@pytest.mark.parametrize("half_close", [5.0, 0.0])
def test_a_body_of_many_turns_that_is_not_whole_is_closed_once_all_of_it_is_read(half_close: float) -> None:
    with stage(timeouts=ClientTimeouts(half_close=half_close)) as set_:
        set_.origin = Answers(ok)
        client = set_.client()
        client.feed(GET + tiny(3 * MAX_CHUNKS)[: -len(LAST_CHUNK)])
        client.feed_eof()
        set_.loop.run()
        assert client.take().count(b"200 OK") <= 1 and client.lost
        set_.check_quiet()


def test_a_client_whose_body_took_many_turns_is_given_up_as_any_that_has_said_all() -> None:
    with stage(timeouts=ClientTimeouts(half_close=5.0)) as set_:
        client = set_.client()
        client.feed(GET + tiny(3 * MAX_CHUNKS))
        client.feed_eof()
        set_.loop.run()
        set_.answer(OK)
        set_.go(4.9)
        assert not client.is_closing()
        set_.go(0.1 + SLACK)
        assert client.lost
        set_.check_quiet()


# Deadlines


def test_a_client_that_says_nothing_is_closed_without_a_word() -> None:
    with stage(timeouts=ClientTimeouts(first_byte=10.0), log=True) as set_:
        client = set_.client()
        set_.go(9.9)
        assert not client.is_closing()
        set_.go(0.1 + SLACK)
        assert client.lost and client.take() == b"" and not set_.lines


def test_a_head_must_be_there_in_time_however_it_drips() -> None:
    with stage(timeouts=ClientTimeouts(request_header=10.0)) as set_:
        client = set_.client()
        for byte in GET[:12]:
            client.feed(bytes((byte,)))
            set_.go(1.0)
        assert client.take().startswith(b"HTTP/1.1 408")
        assert client.saw_eof
        assert total_failures(set_, Reason.CLIENT_HEADER_TIMEOUT) == 1


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n"])
def test_an_empty_line_after_a_request_begins_no_other(blank: bytes) -> None:
    with stage(timeouts=ClientTimeouts(request_header=10.0, keep_alive=75.0)) as set_:
        set_.origin = Answers(ok)
        client = set_.ask(POST + blank)
        assert client.take().startswith(b"HTTP/1.1 200")
        set_.go(60.0)
        assert client.take() == b"" and not client.is_closing()
        client.feed(GET)
        set_.loop.run()
        assert client.take().startswith(b"HTTP/1.1 200")
        client.feed(blank)
        set_.listener.close_idle()
        set_.loop.run()
        assert client.lost


def test_no_more_than_two_empty_lines_may_stand_before_a_request() -> None:
    for parts in ([b"\r\n" * 3 + GET], [b"\r\n"] * 3, [b"\r", b"\n\r", b"\n\r\n"]):
        with stage() as set_:
            client = set_.client()
            for part in parts:
                client.feed(part)
            assert client.take().startswith(b"HTTP/1.1 400") and client.saw_eof


def test_a_body_may_take_long_as_long_as_it_comes() -> None:
    with stage(timeouts=ClientTimeouts(request_body_idle=3.0), limits=Limits(min_body_rate=0)) as set_:
        set_.origin = Answers(ok)
        client = set_.ask(POST[:-4])
        for byte in b"bod":
            set_.go(2.5)
            client.feed(bytes((byte,)))
        assert client.take() == b""
        set_.go(3.0 + SLACK)
        assert client.take().startswith(b"HTTP/1.1 408")
        assert set_.failures(Reason.CLIENT_BODY_TIMEOUT) == 1
        assert set_.upstreams[0].was_reset  # the target must not take what it has for a whole request
        set_.check_quiet()


def test_a_body_that_we_do_not_read_is_not_late() -> None:
    with stage(timeouts=ClientTimeouts(request_body_idle=3.0)) as set_:
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 500000\r\n\r\n")
        set_.upstreams[0].stall()
        client.feed(bytes(200_000))
        assert not client.is_reading()
        set_.go(20.0)
        assert client.take() == b"" and not client.is_closing()
        set_.upstreams[0].drain()
        set_.loop.run()
        assert client.is_reading()


def test_an_idle_connection_is_closed_after_keep_alive() -> None:
    with stage(timeouts=ClientTimeouts(keep_alive=75.0)) as set_:
        set_.origin = Answers(ok)
        client = set_.ask(GET)
        set_.go(74.0)
        assert not client.is_closing()
        client.feed(GET)
        set_.go(74.0)
        assert not client.is_closing()
        set_.go(2.0)
        assert client.lost


def test_a_connection_serves_as_many_requests_as_it_may() -> None:
    with stage(limits=Limits(keep_alive_requests=3)) as set_:
        set_.origin = Answers(ok)
        client = set_.ask(GET * 5)
        answers = client.take()
        assert answers.count(b"200 OK") == 3
        assert answers.count(b"Connection: close") == 1
        assert client.is_closing() or client.saw_eof


@pytest.mark.parametrize("times", [(), (b"100",), (b"100", b"100")])
def test_a_client_waits_for_a_100_and_gets_exactly_one(times: tuple[bytes, ...]) -> None:
    """From the target, or from us after a second; a second one is swallowed."""
    with stage() as set_:
        client = set_.ask(POST[:-4].replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert b"Expect: 100-continue" in set_.upstreams[0].received
        for _ in times:
            set_.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        set_.go(1.0 + SLACK)
        assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.feed(b"body")
        set_.answer(OK)
        assert client.take().startswith(b"HTTP/1.1 200 OK")
        set_.check_quiet()


def test_a_refusal_before_the_body_is_sent_at_once_and_ends_the_connection() -> None:
    with stage() as set_:
        client = set_.ask(POST[:-4].replace(b"Host", b"Expect: 100-continue\r\nHost"))
        set_.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 413") and b"Connection: close" in answer
        assert client.saw_eof


# Ends


def test_a_refused_head_ends_the_connection_so_that_the_answer_can_be_read() -> None:
    with stage(log=True) as set_:
        client = set_.ask(b"GET a HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 400") and b'details="bad_target"' in answer
        assert client.saw_eof and not client.is_closing()  # FIN, and what still comes is thrown away
        client.feed(bytes(1000))
        set_.go(LINGER + SLACK)
        assert client.lost and not client.was_reset
        assert not set_.upstreams and len(set_.lines) == 1


def test_a_lingering_client_may_not_send_for_ever() -> None:
    with stage() as set_:
        client = set_.ask(b"broken\r\n\r\n")
        client.feed(bytes(MAX_LINGER + 1))
        set_.loop.run()
        assert client.lost


def test_what_is_behind_a_body_that_is_thrown_away_does_not_count_as_its_own() -> None:
    rules = (Rule("fixed", Match(paths=("=/fixed",)), FixedResponse(200, "fixed")), *forward_to("demo"))
    put = b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % MAX_DISCARD + bytes(MAX_DISCARD)
    with stage(rules=rules) as set_:
        answers = set_.origin = Answers(ok)
        client = set_.ask(tiny(2 * MAX_CHUNKS, b"/fixed") + put + GET)
        assert client.take().count(b"200 OK") == 3 and not client.is_closing()
        assert [len(body) for _, body in answers.requests] == [MAX_DISCARD, 0]
        client.feed(tiny(MAX_DISCARD // 5, b"/fixed"))
        set_.loop.run()
        assert client.saw_eof, "more than that of its own does"


@pytest.mark.parametrize(("size", "kept"), [(4, True), (MAX_DISCARD, True), (MAX_DISCARD + 1, False)])
def test_an_answer_of_ours_keeps_the_connection_if_little_of_the_body_is_to_come(size: int, kept: bool) -> None:
    with stage(rules=FIXED) as set_:
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size)
        assert client.take().endswith(b"x")
        assert client.saw_eof is not kept
        if kept:
            client.feed(bytes(size) + GET)
            set_.loop.run()
            assert client.take().endswith(b"x")


def test_a_small_body_that_does_not_come_ends_the_connection() -> None:
    with stage(rules=FIXED) as set_:
        client = set_.ask(POST[:-4])
        set_.go(LINGER + SLACK)
        assert client.saw_eof and not client.lost
        set_.go(LINGER + SLACK)
        assert client.lost


def test_a_chunked_body_that_is_thrown_away_is_bounded_and_checked() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    with stage(rules=FIXED) as set_:
        client = set_.ask(head + http1.chunked(b"abc") + GET)
        assert client.take().count(b"200 OK") == 2
        client = set_.ask(head)
        client.feed(b"fffff\r\n" + bytes(MAX_DISCARD))
        assert client.saw_eof
        client = set_.ask(head)
        client.feed(b"nonsense\r\n")
        assert client.saw_eof


def test_a_reset_while_the_target_thinks_is_passed_on() -> None:
    with stage(log=True) as set_:
        client = set_.ask(GET)
        client.feed_reset()
        set_.loop.run()
        assert set_.upstreams[0].lost
        assert '"status":499,"source":"balancer","reason":"client_closed"' in set_.lines[0]
        set_.check_quiet()


def test_a_truncated_answer_ends_in_a_reset() -> None:
    with stage() as set_:
        client = set_.ask(GET)
        set_.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        assert client.was_reset
        assert set_.failures(Reason.RESPONSE_TRUNCATED) == 1


# Back-pressure


def test_a_full_client_stops_the_target_until_it_reads_again() -> None:
    with stage() as set_:
        client = set_.ask(GET)
        client.stall()
        set_.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000))
        assert not set_.upstreams[0].is_reading()
        client.drain()
        set_.loop.run()
        assert set_.upstreams[0].is_reading()


def test_a_response_that_fills_its_client_leaves_its_connection_reading() -> None:
    """Else the next request on that connection, of whomever, would never be answered."""
    with stage() as set_:
        client = set_.ask(GET)
        client.stall()
        set_.answer(big())
        assert set_.targets[0].idle and set_.upstreams[0].is_reading()
        other = set_.ask(GET)
        set_.answer(OK, upstream=0)
        assert other.take().endswith(b"ok")


def test_a_client_that_does_not_read_gets_nothing_more_begun() -> None:
    with stage() as set_:
        client = set_.ask(GET)
        client.stall()
        set_.answer(big())
        held = client.get_write_buffer_size()
        client.feed(GET * 3)
        set_.loop.run()
        set_.upstreams[0].take()
        assert client.get_write_buffer_size() == held
        assert set_.listener.active == 0
        set_.origin = Answers(ok)
        set_.upstreams[0].on_write = set_.origin
        client.drain()
        set_.loop.run()
        assert client.take().count(b"200 OK") == 4


def test_pipelined_answers_of_ours_do_not_pile_up_before_a_client_that_does_not_read() -> None:
    with stage(rules=(Rule("fixed", Match(), FixedResponse(200, "x" * 60_000)),)) as set_:
        client = set_.client()
        client.stall()
        client.feed(GET * 50)
        set_.loop.run()
        assert client.get_write_buffer_size() < 200_000
        client.drain()
        set_.loop.run()
        assert client.take().count(b"200 OK") == 50


def test_a_client_that_stops_reading_is_given_up_after_write_idle() -> None:
    with stage(timeouts=ClientTimeouts(write_idle=10.0)) as set_:
        client = set_.ask(GET)
        client.stall()
        set_.answer(big(300_000)[:-1])
        set_.go(9.5)
        client.drain(1000)  # a little is enough
        set_.go(9.5)
        assert not client.lost
        set_.go(11.0)
        assert client.was_reset
        assert set_.failures(Reason.CLIENT_TOO_SLOW) == 1
        set_.check_quiet()


def test_a_client_that_reads_slowly_is_served_though_nothing_more_leaves_for_the_kernel() -> None:
    with stage(timeouts=ClientTimeouts(write_idle=10.0)) as set_:
        client = set_.ask(GET)
        client.stall()
        set_.answer(big(300_000)[:-1])
        for _ in range(40):
            client.sock.acknowledged += 1000  # out of the kernel's buffer
            set_.go(1.0)
        assert not client.lost
        set_.go(20.0 + SLACK)
        assert client.was_reset
        set_.check_quiet()


def test_a_slow_client_gets_the_rest_of_a_last_answer() -> None:
    """The time to linger begins when the answer has left, not while it waits for a slow reader."""
    with stage() as set_:
        client = set_.ask(CLOSE + b"stray")
        client.stall()
        set_.answer(big())
        set_.go(LINGER * 3)
        client.drain(150_000)
        set_.go(LINGER / 2)
        client.drain()
        assert len(client.take()) > 200_000 and client.saw_eof
        set_.go(LINGER + SLACK)
        assert client.lost


def test_a_small_rest_of_a_last_answer_is_not_thrown_away_either() -> None:
    with stage() as set_:
        client = set_.ask(CLOSE + b"stray")
        client.stall()
        set_.answer(OK)
        set_.go(LINGER * 3)
        client.drain()
        set_.loop.run()
        assert client.take().endswith(b"ok")


def test_a_lingering_client_that_was_full_is_closed_in_the_end() -> None:
    with stage() as set_:
        client = set_.ask(CLOSE + b"stray")
        client.stall()
        set_.answer(big())
        client.drain()
        set_.go(LINGER + SLACK)
        assert client.lost


# What a worker does to its clients at the end


def answer_to_shutdown(set_: Stage) -> FakeTransport:
    client = set_.ask(GET)
    set_.listener.abort(Reason.SHUTTING_DOWN)
    set_.loop.run()
    return client


def test_who_still_waits_when_the_time_is_over_is_told() -> None:
    with stage() as set_:
        client = answer_to_shutdown(set_)
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 503") and b"shutting_down" in answer and b"Connection: close" in answer
        assert client.lost
        set_.check_quiet()


def test_idle_clients_are_closed_and_busy_ones_after_their_answer() -> None:
    with stage() as set_:
        idle, busy = set_.client(), set_.ask(GET)
        set_.listener.close_idle()
        set_.loop.run()
        assert idle.lost and not busy.is_closing()
        set_.answer(OK)
        assert b"Connection: close" in busy.take() and busy.lost
        set_.check_quiet()


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"


def leave(set_: Stage, stops: bool) -> None:
    """The worker stops, or the listener leaves the configuration."""
    set_.place.draining = stops
    set_.listener.close_idle()
    set_.loop.run()


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_a_request_behind_an_answer_that_did_not_say_close_is_served(stops: bool, early: bool) -> None:
    with stage() as set_:
        client = set_.ask(GET + (GET + GET if early else b""))
        set_.answer(HALF)
        leave(set_, stops)
        if not early:
            client.feed(GET + GET)
        set_.answer(b"cd")
        assert b"Connection: close" not in client.take()
        set_.answer(OK)
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 200") and b"Connection: close" in answer and client.saw_eof
        set_.go(LINGER + SLACK)
        assert client.lost and client.take() == b"" and set_.finished() == 2
        set_.check_quiet()


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("asks", [True, False])
def test_a_client_whose_answer_did_not_say_close_has_a_moment_to_ask_again(stops: bool, asks: bool) -> None:
    with stage() as set_:
        client = set_.ask(GET)
        set_.answer(HALF)
        leave(set_, stops)
        set_.answer(b"cd")
        for _ in range(4):
            set_.go(LAST_WORD / 5)
            leave(set_, stops)  # a worker that stops looks again and again
        assert client.take().endswith(b"abcd") and not client.is_closing()
        if asks:
            client.feed(GET)
            set_.loop.run()
            set_.answer(OK)
            assert b"Connection: close" in client.take() and client.lost
        else:
            set_.go(LAST_WORD / 5 + SLACK)
            assert client.lost
        set_.check_quiet()


@pytest.mark.parametrize("stops", [True, False])
def test_an_answer_of_ours_says_close_where_the_connection_is_to_end(stops: bool) -> None:
    with stage() as set_:
        client = set_.ask(POST)
        leave(set_, stops)
        set_.answer(b"nonsense")
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 502") and b"Connection: close" in answer and client.lost
        set_.check_quiet()


def test_a_redirect_tells_the_client_where_to_go() -> None:
    with stage(rules=(Rule("r", Match(), Redirect("https://{host}/new{path}")),)) as set_:
        answer = set_.ask(b"GET /old?x=1 HTTP/1.1\r\nHost: A.test\r\n\r\n").take()
        assert answer.startswith(b"HTTP/1.1 308") and b"\r\nLocation: https://a.test/new/old?x=1\r\n" in answer


@pytest.mark.parametrize(
    ("peer", "said", "where"),
    [
        ("10.0.0.9", b"X-Forwarded-Proto: https\r\n", b"https://a.test:443/new"),
        ("10.0.0.9", b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\n", b"https://a.test:8443/new"),
        ("10.0.0.9", b"", b"http://a.test:8080/new"),
        ("10.0.0.9", b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 99999\r\n", b"https://a.test:443/new"),
        (
            "10.0.0.9",
            b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: Shop.test:8443, b\r\n",
            b"https://shop.test:8443/new",
        ),
        ("10.0.0.9", b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: /?\r\n", b"https://a.test:443/new"),
        ("203.0.113.9", b"X-Forwarded-Host: evil.test\r\n", b"http://a.test:8080/new"),
        ("203.0.113.9", b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\n", b"http://a.test:8080/new"),
    ],
)
def test_a_redirect_leads_to_the_scheme_and_port_at_which_the_client_asked(
    peer: str, said: bytes, where: bytes
) -> None:
    rules = (Rule("r", Match(), Redirect("{scheme}://{host}:{port}/new")),)
    with stage(rules=rules, trusted_proxies=("10.0.0.0/8",)) as set_:
        client = set_.client(peer)
        client.feed(b"GET /old HTTP/1.1\r\nHost: a.test\r\n" + said + b"\r\n")
        set_.loop.run()
        assert b"\r\nLocation: " + where + b"\r\n" in client.take()


def test_behind_a_trusted_proxy_the_port_of_the_host_line_is_what_the_target_is_told() -> None:
    with stage(trusted_proxies=("10.0.0.0/8",)) as set_:
        client = set_.client("10.0.0.9")
        client.feed(b"GET / HTTP/1.1\r\nHost: a.test:4433\r\nX-Forwarded-Proto: https\r\n\r\n")
        set_.loop.run()
        assert b"\r\nX-Forwarded-Port: 4433\r\n" in set_.upstreams[0].take()


@pytest.mark.parametrize(
    ("peer", "said", "status"),
    [
        ("10.0.0.9", b"X-Forwarded-Proto: http\r\n", b"308"),
        ("10.0.0.9", b"X-Forwarded-Proto: https\r\n", b"200"),
        ("10.0.0.9", b"", b"308"),
        ("203.0.113.9", b"X-Forwarded-Proto: https\r\n", b"308"),
    ],
)
@pytest.mark.parametrize("remember", [True, False])
def test_a_rule_sees_the_scheme_that_a_trusted_proxy_says(
    peer: str, said: bytes, status: bytes, remember: bool
) -> None:
    """The first thing one wants with TLS ended in front: http is sent to https, and https is not sent to itself."""
    https = Rule("r", Match(headers=(("x-forwarded-proto", "http"),)), Redirect("https://{host}{path}"))
    with stage(rules=(https, *forward_to("demo")), trusted_proxies=("10.0.0.0/8",), remember=remember) as set_:
        for _ in range(3):
            client = set_.client(peer)
            client.feed(b"GET /a HTTP/1.1\r\nHost: a.test\r\n" + said + b"\r\n")
            set_.loop.run()
            if status == b"200":
                set_.answer(OK)
            assert client.take().startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("keep", [True, False])
def test_a_failure_says_to_an_old_client_whether_the_connection_stays(keep: bool) -> None:
    fields = b"Connection: keep-alive\r\n" if keep else b""
    with stage(rules=()) as set_:
        client = set_.ask(b"GET / HTTP/1.0\r\nHost: a.test\r\n" + fields + b"\r\n")
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 404")
        assert (b"Connection: keep-alive" in answer) is keep and (b"Connection: close" in answer) is not keep
        assert client.is_closing() is not keep
