"""The traps of a data path that remembers heads, each by its name. Several of them bit the prototypes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from balancer.board import layout, rings
from balancer.data import listener, record
from balancer.data.group import LiveGroup
from balancer.data.http.client import ClientProtocol
from balancer.data.http.exchange import Exchange
from balancer.data.http.memory import RequestMemory
from balancer.data.recent import Recent
from balancer.data.target import LATE_BODY, LiveTarget
from balancer.model.reason import Reason
from balancer.model.snapshot import FixedResponse, Limits, Match, Retry, Rule
from tests.support import http1
from tests.support.builds import interpreted_only
from tests.unit.data.stage import GET, OK, POST, Answers, Stage, exchange_of, forward_to, group_of, stage

TIMES = 4  # unknown, seen once, kept, known
CHUNKED = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED_OK = OK.replace(b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def remembered(set_: Stage) -> RequestMemory:
    """Return the memory of heads for clients that are not trusted."""
    _, memory, _, _ = set_.listener.meet("203.0.113.9")
    return memory


def answer_ok(head: http1.Head, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_a_chunked_upload_with_the_same_head_arrives_each_time() -> None:
    with stage() as set_:
        answers = set_.origin = Answers(answer_ok)
        client = set_.client()
        for number in range(TIMES):
            client.feed(CHUNKED + http1.chunked(b"part", b"%d" % number))
            set_.loop.run()
        assert [body for _, body in answers.requests] == [b"part%d" % number for number in range(TIMES)]
        assert client.take().count(b"200 OK") == TIMES


def test_an_upload_in_the_same_read_as_its_known_head_arrives_each_time() -> None:
    with stage() as set_:
        answers = set_.origin = Answers(answer_ok)
        client = set_.client()
        for _ in range(TIMES):
            client.feed(POST)
            set_.loop.run()
        for _ in range(TIMES):
            client.feed(POST[:-4])
            client.feed(POST[-4:])
            set_.loop.run()
        assert [body for _, body in answers.requests] == [b"body"] * 2 * TIMES


def test_a_body_is_never_part_of_a_key() -> None:
    with stage() as set_:
        set_.origin = Answers(answer_ok)
        client = set_.client()
        for _ in range(TIMES):
            client.feed(POST)
            set_.loop.run()
        memory = remembered(set_)
        kept = [*memory.lines.new, *memory.blocks.new]
        assert kept and not any(b"body" in key for key in kept)


def test_a_100_is_not_the_final_answer() -> None:
    # The declared length is there, and so are its bytes: still no answer.
    interim = b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"
    with stage() as set_:
        client = set_.client()
        for _ in range(TIMES):
            client.feed(GET)
            set_.loop.run()
            set_.answer(interim)
            assert client.take() == b""  # nobody asked for it
            set_.answer(OK)
            assert client.take().endswith(b"ok")
        assert set_.finished() == TIMES


def test_a_response_to_head_has_no_body_though_its_head_is_known() -> None:
    with stage() as set_:
        client = set_.client()
        for _ in range(TIMES):  # the head of the response becomes known with a body
            client.feed(GET)
            set_.loop.run()
            set_.answer(OK)
            assert client.take().endswith(b"\r\n\r\nok")
        for _ in range(TIMES):
            client.feed(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            set_.loop.run()
            set_.answer(OK[:-2])
            assert client.take().endswith(b"\r\n\r\n")
            set_.go(LATE_BODY)
        client.feed(GET)
        set_.loop.run()
        set_.answer(OK)
        assert client.take().endswith(b"\r\n\r\nok")
        assert len(set_.upstreams) == 1


def test_bytes_after_the_response_to_head_reach_nobody() -> None:
    with stage() as set_:
        client = set_.ask(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        set_.answer(OK)
        assert client.take().endswith(b"\r\n\r\n")
        client.feed(GET)
        set_.loop.run()
        assert len(set_.upstreams) == 2 and set_.upstreams[0].lost
        assert set_.failures(Reason.UNSOLICITED_RESPONSE) == 1


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", True),
    ],
)
def test_halves_that_are_known_from_other_heads_meet_with_their_own_meaning(head: bytes, closes: bool) -> None:
    with stage() as set_:
        set_.origin = Answers(answer_ok)
        for _ in range(TIMES):  # every line with every block
            for line in (b"GET / HTTP/1.1", b"GET / HTTP/1.0"):
                for fields in (b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"):
                    set_.ask(line + b"\r\nHost: a.test\r\n" + fields + b"\r\n")
        client = set_.ask(head)
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert client.is_closing() is closes
        assert (b"Connection: close" in answer) is closes


def test_chunks_of_an_old_client_are_refused_though_both_halves_are_known() -> None:
    with stage() as set_:
        set_.origin = Answers(answer_ok)
        for _ in range(TIMES):
            set_.ask(CHUNKED + http1.chunked(b"x"))
            set_.ask(b"POST / HTTP/1.0\r\nHost: a.test\r\n\r\n")
        client = set_.ask(CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + http1.chunked(b"x"))
        assert client.take().startswith(b"HTTP/1.1 400")
        assert set_.cell("reasons|", 0) == 0


def test_a_request_without_host_is_refused_though_both_halves_are_known() -> None:
    with stage() as set_:
        set_.origin = Answers(answer_ok)
        for _ in range(TIMES):
            set_.ask(GET)
            set_.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert b"bad_host" in set_.ask(b"GET / HTTP/1.1\r\n\r\n").take()


def test_a_limit_for_heads_holds_where_both_halves_are_known() -> None:
    line, fields = b"GET /" + b"a" * 800 + b" HTTP/1.1", b"\r\nHost: a.test\r\nX: " + b"b" * 800 + b"\r\n\r\n"
    with stage(limits=Limits(head=1024)) as set_:
        set_.origin = Answers(answer_ok)
        for _ in range(TIMES):
            assert b"200 OK" in set_.ask(line + GET[14:]).take()
            assert b"200 OK" in set_.ask(GET[:14] + fields).take()
        assert set_.ask(line + fields).take().startswith(b"HTTP/1.1 431")


def test_a_reload_drops_what_was_remembered_and_routes_anew() -> None:
    with stage() as set_:
        set_.origin = Answers(answer_ok)
        client = set_.client()
        for _ in range(TIMES):
            client.feed(GET)
            set_.loop.run()
        before = remembered(set_)
        listener = replace(set_.snapshot.listeners[0], rules=(Rule("r", Match(), FixedResponse(404, "gone")),))
        set_.publish(replace(set_.snapshot, listeners=(listener,)))
        client.take()
        client.feed(GET)
        set_.loop.run()
        assert client.take().endswith(b"gone")
        after = remembered(set_)
        assert after is not before and not after.blocks.new and not after.lines.new
        assert isinstance(client.protocol, ClientProtocol) and client.protocol.memory is after


def test_a_request_under_way_ends_as_it_began_when_the_configuration_changes() -> None:
    with stage() as set_:
        client = set_.ask(GET)
        listener = replace(set_.snapshot.listeners[0], rules=(Rule("r", Match(), FixedResponse(404, "gone")),))
        set_.publish(replace(set_.snapshot, listeners=(listener,)))
        set_.answer(OK)
        assert client.take().endswith(b"ok")
        set_.check_quiet()


def test_the_address_of_the_client_is_not_remembered() -> None:
    with stage() as set_:
        answers = set_.origin = Answers(answer_ok)
        for _ in range(TIMES):
            for peer in ("198.51.100.1", "2001:db8::2"):
                client = set_.client(peer)
                client.feed(GET)
                set_.loop.run()
        seen = [head.get("x-forwarded-for") for head, _ in answers.requests]
        assert seen == [b"198.51.100.1", b"2001:db8::2"] * TIMES


def test_each_request_has_an_id_of_its_own_though_its_head_is_known() -> None:
    with stage() as set_:
        answers = set_.origin = Answers(answer_ok)
        client = set_.client()
        for _ in range(TIMES):
            client.feed(GET)
            set_.loop.run()
        upstream = [head.get("x-request-id") for head, _ in answers.requests]
        assert len(set(upstream)) == TIMES
        assert [f"X-Request-ID: {word.decode()}".encode() in client.received for word in upstream if word] == [
            True
        ] * TIMES


def test_a_connection_may_not_take_away_what_we_set() -> None:
    with stage() as set_:
        answers = set_.origin = Answers(answer_ok)
        for _ in range(TIMES):
            set_.ask(
                b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n"
                b"Connection: Host, Content-Length, X-Forwarded-For, X-Real-IP, X-Request-ID, X-Balancer-Hops\r\n\r\nx"
            )
        for head, body in answers.requests:
            for name in ("host", "content-length", "x-forwarded-for", "x-real-ip", "x-request-id", "x-balancer-hops"):
                assert head.get(name), name
            assert body == b"x"


def test_nothing_of_a_request_stays_for_the_next_on_its_connection() -> None:
    """What a plain request leaves in place is as a plain request begins, with the log on and off."""
    for log in (True, False):
        with stage(log=log) as set_:
            client = set_.client()
            for _ in range(TIMES):
                client.feed(GET)
                set_.loop.run()
                set_.answer(OK)
            client.take()
            set_.accepts = False
            client.feed(GET)
            set_.loop.run()
            set_.upstreams[0].feed_reset()
            set_.loop.run()
            while set_.loop.dials:
                set_.loop.dials[0].fail()
                set_.go(0.5)
            answer = client.take()
            assert answer.startswith(b"HTTP/1.1 502")
            assert set_.cell("hits|web|demo|t0", 4 + layout.HITS_BALANCER) == 1
            assert set_.cell("hits|web|demo|t0", 4) == 0
            if log:
                line = json.loads(set_.lines[-1])
                assert (line["source"], line["reason"]) == ("balancer", "connect_refused")
                assert (line["upstream_status"], line["first_byte_ms"]) == (0, 0.0)
                assert line["bytes_out"] == len(answer.partition(b"\r\n\r\n")[2])


@interpreted_only
def test_credentials_are_in_no_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cr3t"
    head = f"GET /?token={secret} HTTP/1.1\r\nHost: a.test\r\nCookie: {secret}\r\nAuthorization: {secret}\r\n".encode()
    caplog.set_level(logging.DEBUG)
    with stage(log=True) as set_:
        set_.origin = Answers(answer_ok)
        for _ in range(TIMES):
            set_.ask(head + b"\r\n")
            set_.ask(head + b"X: a\x01b\r\n\r\n")
        client = set_.ask(head + b"\r\n")
        # An exception of our own on the way: the traceback names no head.
        monkeypatch.setattr(LiveTarget, "take", None)
        client.feed(b"POST" + head[3:] + b"Content-Length: 0\r\n\r\n")
        set_.loop.run()
        assert b"internal_error" in client.received
        assert set_.lines and secret not in "".join(set_.lines)
    assert "internal error" in caplog.text and secret not in caplog.text


def test_a_target_that_closed_an_idle_connection_costs_nobody_a_request() -> None:
    with stage(rules=forward_to("demo")) as set_:
        set_.origin = Answers(answer_ok)
        client = set_.ask(GET)
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        assert not set_.targets[0].idle
        client.take()
        client.feed(GET)
        set_.loop.run()
        assert client.take().startswith(b"HTTP/1.1 200") and len(set_.upstreams) == 2


# Turns: a peer that sends tiny chunks takes no more of a worker's time than others leave it

TINY = 10_000
FLOOD = b"1\r\nx\r\n" * TINY + b"0\r\n\r\n"


def test_an_upload_in_tiny_chunks_lets_others_have_their_turn_and_arrives_whole() -> None:
    with stage() as set_:
        answers = set_.origin = Answers(answer_ok)
        flooding, other = set_.client(), set_.client()
        flooding.feed(CHUNKED + FLOOD + GET)
        other.feed(GET)
        set_.loop.run()
        assert len(answers.requests[0][1]) == 0, "the other, though it came later"
        assert [len(body) for _, body in answers.requests[1:]] == [TINY, 0]
        assert other.take().count(b"200 OK") == 1 and flooding.take().count(b"200 OK") == 2
        set_.check_quiet()


def test_a_response_in_tiny_chunks_lets_others_have_their_turn_and_arrives_whole() -> None:
    with stage() as set_:
        flooded, other = set_.ask(), set_.ask()
        served: list[int] = []
        set_.upstreams[0].feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + FLOOD)
        set_.loop.call_soon(lambda: served.append(len(flooded.received)))
        set_.answer(OK, upstream=1)
        assert other.take().endswith(b"ok")
        head, _, body = flooded.take().partition(b"\r\n\r\n")
        assert 0 < served[0] < len(body) + len(head)
        assert body.count(b"x") == TINY and body.endswith(b"\r\n0\r\n\r\n")
        set_.check_quiet()
        flooded.feed(GET)
        set_.loop.run()
        assert len(set_.upstreams) == 2, "both connections are used again"


def test_a_client_that_does_not_read_is_not_written_to_by_what_was_put_aside_for_ever() -> None:
    with stage() as set_:
        client = set_.ask()
        client.stall()
        set_.upstreams[0].feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + FLOOD[:-5])
        for _ in range(12):
            set_.upstreams[0].feed(FLOOD[:-5])
        set_.loop.run()
        assert client.get_write_buffer_size() < 2 * 64 * 1024
        client.drain()
        set_.answer(b"0\r\n\r\n")
        assert client.take().count(b"x") == 13 * TINY
        set_.check_quiet()


def test_a_body_in_tiny_chunks_that_nobody_wants_is_thrown_away_in_turns() -> None:
    rules = (Rule("rules[0]", Match(), FixedResponse(200, body="mine")),)
    with stage(rules=rules) as set_:
        client = set_.client()
        client.feed(CHUNKED + FLOOD[12_000:] + GET)
        set_.loop.run()
        assert client.take().count(b"mine") == 2 and not client.is_closing()


def test_an_id_is_given_once_however_many_heads_were_refused_between() -> None:
    with stage() as set_:
        answers = set_.origin = Answers(answer_ok)
        client = set_.client()
        client.feed(GET)
        set_.loop.run()
        set_.place.count = 4095 - 1
        for _ in range(TIMES):
            set_.ask(b"nonsense\r\n\r\n")
            client.feed(GET)
            set_.loop.run()
        seen = [head.get("x-request-id") for head, _ in answers.requests]
        assert len(set(seen)) == TIMES + 1


# Late bodies: what a target sends after a response that may have none is nobody's answer

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.mark.parametrize("behind", [0.0, 0.005], ids=["in the next segment", "a little later"])
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
        (HEAD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (HEAD, b"HTTP/1.1 200 OK\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
        (GET, b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
        (GET, b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
def test_a_late_body_is_not_the_answer_to_the_next_request(asked: bytes, answer: bytes, behind: float) -> None:
    with stage() as set_:
        for number in range(3):  # unknown, seen once, known
            client, other = set_.client(), set_.client()
            client.feed(asked + GET)  # one of its own, and one of another's, are next
            set_.loop.run()
            set_.answer(answer)
            other.feed(GET)
            set_.go(behind)
            late = set_.upstreams[2 * number if not number else -3]
            if not late.lost:
                late.feed(EVIL)
            set_.loop.run()
            assert late.lost
            assert b"EVIL" not in client.take() + other.take()
            set_.answer(OK)
            set_.answer(OK, upstream=-2)
            assert client.take().endswith(b"ok") and other.take().endswith(b"ok")
            set_.targets[0].close_idle()
        set_.check_quiet()


def test_a_204_and_a_304_that_say_nothing_of_a_body_leave_their_connection_at_once() -> None:
    with stage() as set_:
        client = set_.client()
        for status in (b"204 No Content", b"304 Not Modified") * 3:
            client.feed(GET)
            set_.loop.run()
            set_.answer(b"HTTP/1.1 %b\r\n\r\n" % status)
            assert client.take().startswith(b"HTTP/1.1 " + status)
        assert len(set_.upstreams) == 1


# Memory: what a client makes up is not kept without a bound


def test_long_hosts_and_header_values_are_not_remembered_with_their_line() -> None:
    rules = (Rule("rules[0]", Match(headers=(("x-canary", "1"),)), FixedResponse(200, body="c")), *forward_to("demo"))
    with stage(rules=rules) as set_:
        set_.origin = Answers(answer_ok)
        client = set_.client()
        for number in range(20):
            value = b"%d" % number + b"x" * (10 if number < 5 else 1000)
            client.feed(b"GET /same HTTP/1.1\r\nHost: a.test\r\nX-Canary: %b\r\n\r\n" % value)
            set_.loop.run()
        assert client.take().count(b"200 OK") == 20
        (line,) = remembered(set_).lines.new.values()
        assert len(line.routes) <= 5 and all(len(str(key)) < 300 for key in line.routes)


def test_the_lines_are_forgotten_before_their_routes_take_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_ROUTE_MEMORY", 20_000)
    with stage() as set_:
        set_.origin = Answers(answer_ok)
        client = set_.client()
        for number in range(400):
            client.feed(b"GET /%d HTTP/1.1\r\nHost: host-%d.test\r\n\r\n" % (number % 8, number))
            set_.loop.run()
        assert client.take().count(b"200 OK") == 400
        lines = remembered(set_).lines
        assert sum(len(line.routes) for line in (*lines.new.values(), *lines.old.values())) <= 100


def test_requests_that_no_rule_matches_share_one_route_and_each_says_what_was_near() -> None:
    rules = (Rule("rules[0]", Match(hosts=("nowhere.test",)), FixedResponse(200, body="c")),)
    with stage(rules=rules, log=True) as set_:
        client = set_.client()
        for number in range(6):
            client.feed(b"GET /same HTTP/1.1\r\nHost: h%d.test\r\n\r\n" % (number % 3))
            set_.loop.run()
        assert client.take().count(b"404 ") == 6
        assert [f"h{number % 3}.test" in json.loads(line)["detail"] for number, line in enumerate(set_.lines)] == [
            True
        ] * 6
        (line,) = remembered(set_).lines.new.values()
        assert len(set(line.routes.values())) == 1


# Faults of our own


def test_an_exception_while_a_request_is_counted_out_leaves_every_gauge_right() -> None:
    def full(line: str) -> None:
        raise OSError("no space")

    for answer in (OK, CHUNKED_OK):
        with stage(log=True) as set_:
            write = set_.place.access_log.write
            client = set_.client()
            for _ in range(TIMES):
                set_.place.access_log.write = full  # type: ignore[method-assign,assignment]
                client.feed(GET)
                set_.loop.run()
                set_.answer(answer)
                set_.place.access_log.write = write  # type: ignore[method-assign]
                set_.check_quiet()
                if client.lost:
                    client = set_.client()
                client.take()
            client.feed(GET)
            set_.loop.run()
            set_.answer(OK)
            assert client.take().endswith(b"ok")
            set_.check_quiet()


@interpreted_only
@pytest.mark.parametrize(
    ("owner", "step", "goes_on"),
    [
        (lambda set_: record, "whole", False),
        (lambda set_: LiveGroup, "responded", False),
        (lambda set_: Recent, "whole", True),
        (lambda set_: set_.place.access_log, "write", True),
    ],
)
def test_a_fault_of_ours_after_the_answer_brings_no_second_one(
    owner: Callable[[Stage], object], step: str, goes_on: bool
) -> None:
    with stage(group_of(retry=Retry(max_retries=0)), log=True) as set_, pytest.MonkeyPatch.context() as patch:
        client = set_.ask(GET)
        patch.setattr(owner(set_), step, lambda *_: 1 / 0)
        bad = OK.replace(b"200 OK", b"503 Bad")
        set_.answer(bad)
        assert client.take().count(b"HTTP/1.1 ") == 1
        assert client.lost is not goes_on
        assert set_.finished() == 1
        set_.check_quiet()
        assert len(set_.targets[0].connections) == len(set_.targets[0].idle)
        patch.undo()
        client = client if goes_on else set_.client()
        client.feed(GET)
        set_.loop.run()
        set_.answer(OK)
        assert b"200 OK" in client.take()
        set_.check_quiet()


LONG_ID = b"SUBSCRIBE / HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: " + b"i" * 128 + b"\r\n\r\n"


def test_the_longest_id_beside_a_long_method_is_served_recorded_and_logged() -> None:
    with stage(group_of(2), trusted_proxies=("203.0.113.0/24",), log=True) as set_:
        client = set_.ask(LONG_ID)
        set_.go(1.0)  # it is noted as open
        set_.upstreams[-1].feed_eof()
        set_.loop.run()
        client.take()
        assert [json.loads(line)["request_id"] for line in set_.lines] == ["i" * 128]
        found = rings.find(set_.board, 0, layout.RECENT, "i" * 128)
        assert found is not None and found.method == "SUBSCRIBE"
        set_.check_quiet()


@interpreted_only
@pytest.mark.parametrize("block", [GET, LONG_ID], ids=["plain", "detailed"])
def test_a_record_that_cannot_be_written_costs_no_request_and_no_turn_of_the_clock(
    block: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry = Retry(on=("connect", "reset", "non_idempotent"))
    with stage(group_of(2, retry=retry), trusted_proxies=("203.0.113.0/24",), log=True) as set_:
        for broken in ("_detailed", "_next"):
            monkeypatch.setattr(Recent, broken, lambda *_: 1 / 0)
        for number in (1, 2):
            client = set_.ask(block)
            set_.go(1.0)  # the clock would note it as open
            set_.upstreams[-1].feed_reset()
            set_.loop.run()
            set_.answer()
            assert client.take().endswith(b"ok") and len(set_.lines) == number
            set_.check_quiet()
        assert caplog.text.count("internal error in the record of a request") == 1


@interpreted_only
def test_a_fault_of_ours_as_a_target_hangs_up_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(group_of(2), log=True) as set_:
        client = set_.ask(GET)
        monkeypatch.setattr(Exchange, "lost", lambda *_, **__: 1 / 0)
        set_.upstreams[-1].feed_eof()
        set_.loop.run()
        assert b" 500 " in client.take()
        set_.check_quiet()


@pytest.mark.parametrize("answer", [OK, CHUNKED_OK], ids=["short way", "long way"])
def test_a_connection_that_rests_holds_no_body(answer: bytes) -> None:
    with stage() as set_:
        client = set_.ask(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
        assert exchange_of(client).waiting() >= 60_000
        set_.answer(answer)
        assert b"200 OK" in client.take() and exchange_of(client).waiting() == 0


def test_a_body_in_pieces_of_a_byte_is_kept_for_another_try_in_one_piece() -> None:
    """A piece is an object of forty bytes: kept one by one, 64 KiB of a body would be megabytes."""
    with stage(group_of(2)) as set_:
        set_.accepts = False
        client = set_.client()
        client.feed(CHUNKED.replace(b"POST", b"PUT"))
        for _ in range(500):
            client.feed(b"1\r\nx\r\n")
        set_.loop.run()
        set_.accept(set_.loop.dials[0])
        set_.loop.run()
        client.feed(b"1\r\ny\r\n0\r\n\r\n")
        whole = b"x" * 500 + b"y"
        assert set_.upstreams[0].take().partition(b"\r\n\r\n")[2] == http1.chunked(b"x" * 500, b"y")
        set_.accepts = True
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        assert set_.upstreams[1].take().partition(b"\r\n\r\n")[2] == http1.chunked(whole)
        set_.answer(OK)
        assert client.take().endswith(b"ok")
        set_.check_quiet()
