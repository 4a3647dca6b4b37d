"""A request from its head to its record: what waits, what takes too long, what its client gets."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from balancer.board import layout
from balancer.data.target import UNSEEN
from balancer.model.names import State
from balancer.model.reason import Reason
from balancer.model.snapshot import ClientTimeouts, Passive, Queue, Retry, UpstreamTimeouts
from tests.support import http1
from tests.support.builds import interpreted_only
from tests.support.transports import RESETS, FakeTransport
from tests.unit.data.stage import GET, OK, POST, Answers, Stage, exchange_of, forward_to, group_of, stage

SLACK = 0.2
PUT_CHUNKED = b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + http1.chunked(b"body")
NO_RETRY = Retry(max_retries=0)


def warm(set_: Stage) -> None:
    """Let a connection to the first target be pooled."""
    set_.ask(GET)
    set_.answer(OK)
    set_.upstreams[-1].take()


def status_of(answer: bytes) -> int:
    return int(answer[9:12]) if answer else 0


# What comes together goes together


def written(transport: FakeTransport) -> tuple[int, bytes]:
    """Return how many writes the peer was sent something in since the last look, and what."""
    count, transport.writes = transport.writes, 0
    return count, transport.take()


FRAMED = [
    b"Content-Length: 5\r\n\r\nhello",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"Content-Length: 100000\r\n\r\n" + b"a" * 100_000,
    b"Transfer-Encoding: chunked\r\n\r\n10000\r\n" + b"a" * 65536 + b"\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("framed", FRAMED)
def test_a_request_that_comes_in_one_piece_goes_in_one_write(framed: bytes) -> None:
    with stage(group_of(1)) as set_:
        for _ in range(3):  # on a new connection, then on that one again
            client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + framed)
            count, sent = written(set_.upstreams[0])
            assert count == 1 and sent.endswith(framed.partition(b"\r\n")[2])
            set_.answer(OK)
            assert written(client)[0] == 1
        set_.check_quiet()


@pytest.mark.parametrize("framed", FRAMED)
def test_a_response_that_comes_in_one_piece_goes_in_one_write(framed: bytes) -> None:
    with stage(group_of(1)) as set_:
        client = set_.client()
        for _ in range(3):
            client.feed(GET)
            set_.loop.run()
            set_.answer(b"HTTP/1.1 200 OK\r\nX-One: 1\r\n" + framed)
            count, answer = written(client)
            assert count == 1 and status_of(answer) == 200 and answer.endswith(framed.partition(b"\r\n\r\n")[2])
        set_.check_quiet()


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_head_does_not_wait_for_a_body_that_is_not_here(cut: int) -> None:
    here, rest = FRAMED[1][:-cut], FRAMED[1][-cut:]
    with stage(group_of(1)) as set_:
        warm(set_)
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + here)
        assert b"POST / HTTP/1.1\r\n" in set_.upstreams[0].received
        client.feed(rest)
        assert set_.upstreams[0].take().endswith(b"0\r\n\r\n")
        set_.upstreams[0].feed(b"HTTP/1.1 200 OK\r\nX-One: 1\r\n" + here)
        assert status_of(bytes(client.received)) == 200
        set_.upstreams[0].feed(rest)
        assert client.take().endswith(b"0\r\n\r\n")
        assert len(set_.upstreams) == 1
        set_.check_quiet()


def test_a_body_that_breaks_where_its_head_came_is_an_answer_cut_off() -> None:
    """However the bytes are cut: the head is with the client before the end."""
    with stage(group_of(1)) as set_:
        client = set_.ask(GET)
        set_.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
        assert status_of(client.take()) == 200 and client.was_reset
        assert set_.failures(Reason.RESPONSE_TRUNCATED) == 1
        set_.check_quiet()


def test_a_request_whose_body_breaks_where_its_head_came_does_not_reach_the_target() -> None:
    with stage(group_of(1)) as set_:
        warm(set_)
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
        assert status_of(client.take()) == 400 and set_.upstreams[0].lost
        assert not set_.upstreams[0].received
        assert status_of(set_.ask(GET).take()) == 0
        set_.answer(OK)
        set_.check_quiet()


# Limits, queue, time


def test_a_request_waits_in_its_turn_for_a_place() -> None:
    with stage(group_of(1, max_connections=1)) as set_:
        clients = [set_.ask(GET.replace(b"/", b"/%d" % number, 1)) for number in range(3)]
        for number, client in enumerate(clients):
            assert b"GET /%d " % number in set_.upstreams[0].take()
            set_.answer(OK)
            assert status_of(client.take()) == 200
        assert len(set_.upstreams) == 1
        set_.check_quiet()


@pytest.mark.parametrize("limit", [1, 4, 5, UNSEEN, UNSEEN + 1, 1024])
def test_what_other_workers_have_at_a_target_counts_from_the_moment_they_have_it(limit: int) -> None:
    with stage(group_of(1, max_connections=limit), places=2) as set_:
        cell = set_.snapshot.slots["target|demo|t0"] + layout.TARGET_ACTIVE
        row = set_.board.row(1)
        row[cell] = max(0, limit - 500)
        set_.go(0.1 + SLACK)  # the clock has looked
        row[cell] = limit - 1
        first, second = set_.ask(GET), set_.ask(GET)
        assert set_.targets[0].active == 1
        set_.answer(OK)
        set_.answer(OK)
        assert status_of(first.take()) == status_of(second.take()) == 200
        row.release()


def test_what_waits_and_has_sent_its_fin_makes_room_for_who_may_still_be_there() -> None:
    """A browser that goes away closes; whether it still listens cannot be known: it stays while there is room."""
    with stage(group_of(1, max_connections=1, queue=Queue(2, 30.0)), log=True) as set_:
        busy, gone, other = (set_.ask(GET) for _ in range(3))
        gone.feed_eof()
        set_.go(0.2)
        assert not gone.lost
        late, refused = set_.ask(GET), set_.ask(GET)
        assert gone.lost and b"queue_full" in refused.take()
        for _ in range(3):
            set_.answer(OK)
        assert [status_of(client.take()) for client in (busy, other, late)] == [200] * 3
        assert [json.loads(line)["reason"] for line in set_.lines][:2] == ["client_closed", "queue_full"]
        set_.check_quiet()


@pytest.mark.parametrize(
    ("queue", "reason"), [(Queue(0, 5.0), Reason.QUEUE_FULL), (Queue(8, 1.0), Reason.QUEUE_TIMEOUT)]
)
def test_a_queue_is_bounded_in_length_and_time(queue: Queue, reason: Reason) -> None:
    with stage(group_of(1, max_connections=1, queue=queue)) as set_:
        set_.ask(GET)
        waits = set_.ask(GET)
        set_.go(1.0 + SLACK)
        answer = waits.take()
        assert status_of(answer) == 503 and reason.word.encode() in answer and b"Retry-After: 1" in answer


def test_a_client_that_leaves_the_queue_takes_no_place() -> None:
    with stage(group_of(1, max_connections=1)) as set_:
        first, second, third = (set_.ask(GET) for _ in range(3))
        second.feed_reset()
        set_.answer(OK)
        set_.answer(OK)
        assert first.take() and third.take()
        set_.check_quiet()


def test_a_queue_is_full_of_those_who_wait_not_of_those_who_have_left() -> None:
    with stage(group_of(1, max_connections=1, queue=Queue(10, 60.0))) as set_:
        busy, waits = set_.ask(GET), set_.ask(GET)
        for _ in range(1000):
            set_.ask(GET).feed_reset()
            set_.loop.run()
        live = set_.live.groups["demo"]
        assert len(live.waiting) < 100, "and those who have left are not kept for as long as they might have waited"
        others = [set_.ask(GET) for _ in range(9)]
        assert not any(other.take() for other in others)
        shown = set_.place.row, set_.snapshot.slots["reasons|demo"] + layout.REASONS_QUEUED
        assert shown[0][shown[1]] == 10
        assert b"queue_full" in set_.ask(GET).take()
        set_.republish(queue=Queue(10, 50.0))
        assert b"queue_full" in set_.ask(GET).take()
        others.pop().feed_reset()
        set_.loop.run()
        others.append(set_.ask(GET))
        for client in (busy, waits, *others):
            set_.answer(OK)
            set_.go(SLACK)
            assert client.take().endswith(b"ok")
        set_.check_quiet()
        assert shown[0][shown[1]] == 0
        set_.ask(GET)
        assert not any(set_.ask(GET).take() for _ in range(10)) and b"queue_full" in set_.ask(GET).take()


@pytest.mark.parametrize(
    ("leaves", "status", "reason"), [(False, 408, "client_too_slow"), (True, 499, "client_closed")]
)
def test_a_client_that_is_lost_during_a_1xx_is_logged_with_a_status(leaves: bool, status: int, reason: str) -> None:
    with stage(log=True, timeouts=ClientTimeouts(write_idle=5.0)) as set_:
        client = set_.ask(GET)
        client.stall()
        hint = b"HTTP/1.1 103 Early Hints\r\n" + b"Link: <%b>\r\n" % (b"a" * 7000) * 8 + b"\r\n"
        set_.answer(hint)
        set_.answer(hint)
        if leaves:
            client.feed_reset()
        set_.go(5.0 + SLACK)
        line = json.loads(set_.lines[-1])
        assert (line["status"], line["reason"], line["source"]) == (status, reason, "balancer")
        assert set_.finished() == 1 and client.lost
        set_.check_quiet()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"timeouts": UpstreamTimeouts(response_header=5.0)}, Reason.RESPONSE_TIMEOUT),
        ({"timeouts": UpstreamTimeouts(request=5.0)}, Reason.REQUEST_TIMEOUT),
        ({"retry": Retry(per_try=5.0)}, Reason.RESPONSE_TIMEOUT),
    ],
)
def test_a_target_that_does_not_answer_is_given_up(settings: dict[str, Any], reason: Reason) -> None:
    with stage(group_of(1, **settings)) as set_:
        client = set_.ask(GET)
        set_.go(4.9)
        assert client.take() == b""
        set_.go(0.1 + SLACK)
        answer = client.take()
        assert status_of(answer) == 504 and reason.word.encode() in answer
        assert set_.upstreams[0].lost
        set_.check_quiet()


def test_the_limit_of_a_try_holds_for_connecting_and_waiting_together() -> None:
    with stage(group_of(1, retry=Retry(per_try=2.0))) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        set_.go(1.5)
        (dial,) = set_.loop.dials
        set_.accept(dial)
        set_.loop.run()
        set_.go(0.4)
        assert client.take() == b""
        set_.go(0.1 + SLACK)
        assert status_of(client.take()) == 504 and set_.failures(Reason.RESPONSE_TIMEOUT) == 1
    with stage(group_of(1, retry=Retry(max_retries=0, per_try=1.0))) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        set_.go(1.0 + SLACK)
        assert status_of(client.take()) == 504 and set_.failures(Reason.CONNECT_TIMEOUT) == 1


@pytest.mark.parametrize("idle", [False, True], ids=["new connection", "idle connection"])
def test_interim_responses_give_a_try_no_more_than_its_limit(idle: bool) -> None:
    with stage(group_of(1, retry=Retry(per_try=5.0), timeouts=UpstreamTimeouts(response_header=2.0))) as set_:
        client = set_.client()
        if idle:
            client.feed(GET)
            set_.loop.run()
            set_.answer(OK)
            client.take()
        client.feed(GET)
        set_.loop.run()
        for _ in range(3):
            set_.go(1.5)
            set_.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            assert b"504" not in client.take()
        set_.go(0.5 + SLACK)
        assert status_of(client.take()) == 504 and set_.upstreams[0].lost


def test_a_body_that_comes_slowly_gives_a_try_no_more_than_its_limit_and_is_no_fault_of_the_target() -> None:
    with stage(group_of(2, retry=Retry(per_try=5.0))) as set_:
        client = set_.ask(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(4):
            set_.go(1.2)
            client.feed(b"x" * 1000)
        assert not set_.upstreams[0].lost
        set_.go(0.2 + SLACK)
        assert set_.upstreams[0].lost and status_of(client.take()) == 504
        assert set_.failures(Reason.RESPONSE_TIMEOUT) == 1
        assert not any(target.troubled for target in set_.targets)


def test_a_target_that_lets_an_upload_wait_gets_no_more_than_the_limit_of_a_try() -> None:
    with stage(group_of(1, retry=Retry(per_try=5.0))) as set_:
        client = set_.ask(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 400000\r\n\r\n")
        set_.go(2.0)
        set_.upstreams[0].stall()
        client.feed(b"x" * 200_000)
        set_.go(2.8)
        assert not set_.upstreams[0].lost
        set_.go(0.2 + SLACK)
        assert status_of(client.take()) == 504 and set_.failures(Reason.UPSTREAM_WRITE_TIMEOUT) == 1


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_a_request_whose_two_limits_end_together_ends_once(count: int) -> None:
    """`request` and `response_header` of one length end in the same look at the clock, in any order."""
    with stage(group_of(1, timeouts=UpstreamTimeouts(request=5.0, response_header=5.0))) as set_:
        clients = [set_.ask(GET) for _ in range(count)]
        set_.go(5.0 + SLACK)
        assert all(status_of(client.take()) == 504 for client in clients)
        assert set_.finished() == count
        set_.check_quiet()


def test_the_limit_of_a_request_does_not_outlive_it() -> None:
    """Also where a reload takes the limit away between its first try and its second."""
    with stage(group_of(2, timeouts=UpstreamTimeouts(request=5.0))) as set_:
        client = set_.ask(GET)
        set_.republish(timeouts=UpstreamTimeouts())
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        set_.answer(OK)
        assert status_of(client.take()) == 200
        set_.go(10.0)
        assert client.take() == b"" and set_.finished() == 1
        set_.check_quiet()


def test_a_1xx_gives_the_target_its_time_anew() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(response_header=5.0))) as set_:
        client = set_.ask(GET)
        set_.go(4.0)
        set_.answer(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        set_.go(4.0)
        set_.answer(OK)
        assert client.take().startswith(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_an_answer_that_stalls_is_aborted_but_not_where_the_client_does_not_read() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(response_idle=5.0))) as set_:
        client = set_.ask(GET)
        set_.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        client.stall()
        set_.answer(bytes(200_000))
        set_.go(20.0)
        assert not client.is_closing()
        client.drain()
        set_.go(5.0 + SLACK)
        assert client.was_reset and set_.failures(Reason.RESPONSE_IDLE_TIMEOUT) == 1
        set_.check_quiet()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\nhello"])
def test_a_target_that_ends_its_side_is_heard_while_it_does_not_take_the_body(answer: bytes) -> None:
    """Found by an attacker: the close waited for what the target would never take."""
    with stage(group_of(1)) as set_:
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 500000\r\n\r\n")
        set_.upstreams[0].stall()
        client.feed(bytes(200_000))
        if answer:
            set_.upstreams[0].feed(answer)
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        told = client.take()
        if answer:
            assert status_of(told) == 200 and told.endswith(b"5\r\nhello\r\n0\r\n\r\n")
        else:
            assert status_of(told) == 502 and b'details="upstream_closed"' in told
        set_.check_quiet()


def test_a_body_that_only_a_close_ends_is_cut_by_a_reset_until_it_is_whole() -> None:
    """Also where nobody is left to cut it: a worker that is killed leaves the close to the kernel."""
    with stage(group_of(1)) as set_:
        client = set_.ask(b"GET / HTTP/1.0\r\n\r\n")
        linger = socket.SOL_SOCKET, socket.SO_LINGER
        set_.upstreams[0].feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
        assert client.sock.options[linger] == RESETS
        set_.upstreams[0].feed(b"lo")
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        assert client.take().endswith(b"\r\n\r\nhello") and client.lost and not client.was_reset
        set_.check_quiet()


def test_a_target_that_does_not_take_the_body_is_given_up() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(request_write_idle=5.0))) as set_:
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 500000\r\n\r\n")
        set_.upstreams[0].stall()
        client.feed(bytes(200_000))
        set_.go(5.0 + SLACK)
        assert b"upstream_write_timeout" in client.take()
        set_.check_quiet()


def stuck(set_: Stage, size: int = 200_000) -> FakeTransport:
    """Return a client of whose upload (200,000 bytes) `size` are here, and which its target does not take."""
    client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 200000\r\n\r\n")
    set_.upstreams[0].stall()
    client.feed(bytes(size))
    return client


@pytest.mark.parametrize("whole", [False, True])
def test_a_target_that_takes_the_body_slowly_and_steadily_is_waited_for(whole: bool) -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(request_write_idle=5.0, response_header=2.0))) as set_:
        client = stuck(set_, 200_000 if whole else 199_999)
        for _ in range(20):
            set_.upstreams[0].sock.acknowledged += 1000  # out of the kernel's buffer: nothing leaves ours
            set_.go(1.0)
        assert client.take() == b""
        set_.go(10.0 + SLACK)
        assert b"upstream_write_timeout" in client.take()
        set_.check_quiet()


def test_the_time_for_the_head_begins_once_the_request_has_left() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(request_write_idle=5.0, response_header=3.0))) as set_:
        client = stuck(set_)
        set_.go(4.5)
        set_.upstreams[0].drain()
        set_.go(2.8)
        assert client.take() == b""
        set_.go(SLACK + 0.2)
        assert b"response_timeout" in client.take()
        set_.check_quiet()


def test_a_1xx_does_not_begin_the_time_for_the_head_of_a_request_that_still_waits() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(request_write_idle=5.0, response_header=1.0))) as set_:
        client = stuck(set_)
        set_.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        set_.go(4.5)
        set_.upstreams[0].drain()
        set_.answer(OK)
        assert client.take().endswith(b"ok")
        set_.check_quiet()


def test_per_try_ends_also_a_target_that_takes_the_body_steadily() -> None:
    spec = group_of(1, retry=Retry(per_try=7.0), timeouts=UpstreamTimeouts(request_write_idle=2.0))
    with stage(spec, log=True) as set_:
        client = stuck(set_, 150_000)
        for _ in range(7):
            set_.upstreams[0].sock.acknowledged += 1000
            set_.go(1.0)
        assert client.take() == b""
        set_.go(SLACK)
        assert b"response_timeout" in client.take() and "per_try" in set_.lines[-1]
        set_.check_quiet()


# Responses and what they do to the connections


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + http1.chunked(b"ok"), b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nok", b"ok"),
    ],
)
@pytest.mark.parametrize("minor", [0, 1])
def test_a_body_of_unknown_length_is_framed_for_the_clients_version(response: bytes, body: bytes, minor: int) -> None:
    with stage() as set_:
        client = set_.ask(b"GET / HTTP/1.%d\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % minor)
        set_.answer(response)
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        head, _, rest = client.take().partition(b"\r\n\r\n")
        if minor:
            assert b"Transfer-Encoding: chunked" in head and rest == http1.chunked(body)
        else:
            assert b"Transfer-Encoding" not in head and rest == body and client.lost


def test_an_answer_before_the_request_is_complete_is_passed_on_and_ends_both_connections() -> None:
    with stage() as set_:
        client = set_.ask(POST[:-2])
        set_.answer(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        answer = client.take()
        assert status_of(answer) == 413 and b"Connection: close" in answer and answer.endswith(b"no")
        assert set_.upstreams[0].lost and client.saw_eof
        set_.check_quiet()


@pytest.mark.parametrize(
    ("said", "status", "whole"),
    [
        (b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno", 413, True),
        (b"HTTP/1.1 413 No\r\nTransfer-Encoding: chunked\r\n\r\n" + http1.chunked(b"no"), 413, True),
        (b"HTTP/1.1 413 No\r\nContent-Length: 9\r\n\r\nno", 413, False),
        (b"HTTP/1.1 413 No\r\nContent-Le", 502, True),
        (b"nonsense", 502, True),
        (b"", 502, True),
    ],
)
def test_what_a_target_said_before_it_broke_the_connection_counts(said: bytes, status: int, whole: bool) -> None:
    """An application that answers 413 and closes on the rest of the body is common: our write fails before we read."""
    with stage() as set_:
        client = set_.ask(POST[:-2])
        set_.upstreams[0].unread = said
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        assert status_of(client.take()) == status
        assert client.was_reset is not whole
        assert set_.finished() == 1 and not set_.targets[0].idle
        set_.check_quiet()


def test_a_body_that_was_kept_does_not_flood_a_target_that_does_not_take_it() -> None:
    with stage() as set_:
        set_.accepts = False
        client = set_.ask(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 900000\r\n\r\n" + bytes(200_000))
        target = set_.accept(set_.loop.dials[0])
        target.stall()
        set_.loop.run()
        assert not client.is_reading()
        target.drain()
        set_.loop.run()
        assert client.is_reading()


def test_both_directions_flow_at_once() -> None:
    with stage() as set_:
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        set_.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.take()
        set_.upstreams[0].take()
        for number in range(5):
            piece = b"3\r\n%03d\r\n" % number
            client.feed(piece)
            assert set_.upstreams[0].take() == piece
            set_.answer(piece)
            assert client.take() == piece
        client.feed(b"0\r\n\r\n")
        assert set_.upstreams[0].take() == b"0\r\n\r\n"
        set_.answer(b"0\r\n\r\n")
        assert client.take() == b"0\r\n\r\n"
        set_.check_quiet()


def test_sixteen_interim_answers_are_relayed_and_no_more() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    for count, status in ((16, 200), (17, 502)):
        with stage() as set_:
            client = set_.ask(GET)
            set_.answer(hint * count + OK)
            answer = client.take()
            assert answer.count(hint) == 16 and status_of(answer[16 * len(hint) :]) == status


def test_an_old_client_gets_no_interim_answer() -> None:
    with stage() as set_:
        client = set_.ask(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        set_.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
        assert status_of(client.take()) == 200


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"garbage\r\n\r\n", Reason.BAD_RESPONSE),
        (b"garbage", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\nX: y\n\n", Reason.BAD_RESPONSE),
        (b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", Reason.UPGRADE_FAILED),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, Reason.RESPONSE_HEADER_TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 201 + b"\r\n", Reason.RESPONSE_HEADER_TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", Reason.RESPONSE_TRUNCATED),
    ],
)
def test_a_response_against_the_rules_is_never_passed_on(answer: bytes, reason: Reason) -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask(GET)
        set_.answer(answer)
        assert set_.failures(reason) == 1
        assert set_.upstreams[0].lost
        if reason is Reason.RESPONSE_TRUNCATED:
            assert client.was_reset
        else:
            assert status_of(client.take()) == 502
        set_.check_quiet()


def test_bytes_after_a_response_reach_nobody() -> None:
    with stage() as set_:
        client = set_.ask(GET)
        set_.answer(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert client.take().endswith(b"\r\n\r\nok")
        assert set_.upstreams[0].lost and set_.failures(Reason.UNSOLICITED_RESPONSE) == 1
        client.feed(GET)
        set_.loop.run()
        set_.answer(OK)
        assert client.take().endswith(b"\r\n\r\nok")


def test_bytes_on_a_resting_connection_reach_nobody() -> None:
    with stage() as set_:
        warm(set_)
        set_.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert set_.upstreams[0].lost and not set_.targets[0].idle
        assert set_.failures(Reason.UNSOLICITED_RESPONSE) == 1


# Ejection, and what is left when there is nobody


def test_a_streak_of_failures_ejects_a_target_here_and_tells_control() -> None:
    passive = Passive(consecutive_gateway_failures=3, base_ejection=30.0, max_ejected_percent=50)
    with stage(group_of(2, passive=passive, retry=NO_RETRY)) as set_:
        set_.origin = Answers(lambda head, body: b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
        for _ in range(6):
            set_.ask(GET)
        (said,) = set_.said
        assert (said["is"], said["group"], said["kind"]) == ("eject", "demo", "gateway")
        assert sum(target.state is State.EJECTED for target in set_.targets) == 1  # never the last
        set_.go(31.0)
        assert all(target.state is not State.EJECTED for target in set_.targets)


@pytest.mark.parametrize(
    ("count", "states", "reason"),
    [
        (0, (), Reason.NO_TARGETS),
        (1, (State.DRAINING,), Reason.NO_HEALTHY_TARGET),
        (1, (State.DISABLED,), Reason.NO_HEALTHY_TARGET),
    ],
)
def test_where_nobody_can_serve_the_answer_says_why(count: int, states: tuple[State, ...], reason: Reason) -> None:
    with stage(group_of(count)) as set_:
        for index, state in enumerate(states):
            set_.state(index, state)
        answer = set_.ask(GET).take()
        assert status_of(answer) == 503 and reason.word.encode() in answer
        assert set_.failures(reason) == 1 and set_.cell("hits|web|demo|", 4 + layout.HITS_BALANCER) == 1


def test_a_rule_that_names_a_group_that_vanished_is_a_configuration_error() -> None:
    with stage(rules=forward_to("gone")) as set_:
        assert b"config_error" in set_.ask(GET).take()


@interpreted_only
def test_a_fault_of_ours_is_answered_logged_and_counted_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage() as set_:
        client = set_.ask(GET)
        monkeypatch.setattr(type(exchange_of(client)), "whole_response", lambda *_: 1 / 0)
        set_.answer(OK)
        answer = client.take()
        assert status_of(answer) == 500 and b"internal_error" in answer and b"ZeroDivision" not in answer
        request_id = exchange_of(client).request_id
        assert f"internal error request_id={request_id}" in caplog.text and "ZeroDivisionError" in caplog.text
        set_.check_quiet()
