"""A listener in one worker: whom it believes, how many it takes, what it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from balancer.board import layout
from balancer.data.accepting import WATCHED
from balancer.data.clients import Clients
from balancer.data.deadlines import PERIOD
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import FixedResponse, Forward, Limits, Match, Rule
from tests.support import http1
from tests.support.transports import FakeSocket
from tests.unit.data.stage import GET, OK, POST, Answers, group_of, stage


def sent(peer: str, fields: bytes = b"", host: bytes = b"a.test", **listener: Any) -> http1.Head:
    """Return the head that a target gets of a request from `peer`."""
    with stage(**listener) as set_:
        answers = set_.origin = Answers(lambda head, body: OK)
        client = set_.client(peer)
        client.feed(GET.replace(b"Host: a.test", fields + b"Host: " + host))
        set_.loop.run()
        return answers.requests[0][0]


@pytest.mark.parametrize("peer", ["203.0.113.9", "2001:db8::1"])
def test_a_target_is_told_who_asks_and_how(peer: str) -> None:
    head = sent(peer, b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\n")
    assert head.get("x-forwarded-for") == head.get("x-real-ip") == peer.encode()
    assert head.get("x-forwarded-proto") == b"http" and head.get("x-forwarded-port") == b"8080"
    assert head.get("x-forwarded-host") == b"a.test" and head.get("forwarded") is None


@pytest.mark.parametrize(
    ("chain", "sent_on", "client"),
    [
        (b"", b"10.0.0.9", b"10.0.0.9"),
        (b"1.1.1.1", b"1.1.1.1, 10.0.0.9", b"1.1.1.1"),
        (b"6.6.6.6, 1.1.1.1, 10.0.0.1", b"6.6.6.6, 1.1.1.1, 10.0.0.1, 10.0.0.9", b"1.1.1.1"),
        (b"10.0.0.2, 10.0.0.1", b"10.0.0.2, 10.0.0.1, 10.0.0.9", b"10.0.0.2"),
        (b"unknown, 10.0.0.1", b"unknown, 10.0.0.1, 10.0.0.9", b"10.0.0.1"),
        (b"1.1.1.1, unknown", b"1.1.1.1, unknown, 10.0.0.9", b"10.0.0.9"),
        (b"1.1.1.1:4711", b"1.1.1.1:4711, 10.0.0.9", b"1.1.1.1"),
        (b"6.6.6.6, 1.1.1.1, 10.0.0.1:80", b"6.6.6.6, 1.1.1.1, 10.0.0.1:80, 10.0.0.9", b"1.1.1.1"),
        (b"[2001:db8::1]:443, 10.0.0.1", b"[2001:db8::1]:443, 10.0.0.1, 10.0.0.9", b"2001:db8::1"),
        (b"[2001:db8::1], [::ffff:10.0.0.1]:1", b"[2001:db8::1], [::ffff:10.0.0.1]:1, 10.0.0.9", b"2001:db8::1"),
    ],
)
def test_the_client_behind_trusted_proxies_is_the_rightmost_that_is_none(
    chain: bytes, sent_on: bytes, client: bytes
) -> None:
    fields = b"X-Forwarded-For: " + chain + b"\r\n" if chain else b""
    head = sent("10.0.0.9", fields, trusted_proxies=("10.0.0.0/8",))
    assert head.get("x-forwarded-for") == sent_on and head.get("x-real-ip") == client


def test_what_a_trusted_proxy_says_of_the_outside_stays() -> None:
    fields = b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 6.6.6.6\r\n"
    head = sent("::ffff:10.0.0.9", fields, trusted_proxies=("10.0.0.0/8",))
    assert [head.get(f"x-forwarded-{name}") for name in ("proto", "host", "port")] == [b"https", b"outer", b"443"]
    assert head.get("x-real-ip") == b"::ffff:10.0.0.9"


@pytest.mark.parametrize(
    ("host", "said", "port"),
    [
        (b"a.test", b"X-Forwarded-Proto: https\r\n", b"443"),
        (b"a.test", b"X-Forwarded-Proto: http\r\n", b"80"),
        (b"a.test:8443", b"X-Forwarded-Proto: https\r\n", b"8443"),
        (b"[2001:db8::1]", b"X-Forwarded-Proto: HTTPS\r\n", b"443"),
        (b"a.test:8443", b"X-Forwarded-Proto: nonsense\r\n", b"8080"),
        (b"a.test:8443", b"", b"8080"),
    ],
)
def test_the_port_that_a_trusted_proxy_does_not_say_is_that_of_the_scheme_it_says(
    host: bytes, said: bytes, port: bytes
) -> None:
    head = sent("10.0.0.9", said, trusted_proxies=("10.0.0.0/8",), host=host)
    assert head.get("x-forwarded-port") == port


@pytest.mark.parametrize("peers", [("203.0.113.9",) * 2, ("2001:db8::1", "2001:db8::2")])
def test_one_client_may_have_as_many_connections_as_it_may(peers: tuple[str, str]) -> None:
    with stage(limits=Limits(connections_per_client=1)) as set_:
        first, second, other = set_.client(peers[0]), set_.client(peers[1]), set_.client("198.51.100.1")
        answer = second.take()
        assert answer.startswith(b"HTTP/1.1 429") and b"ip_connection_limit" in answer and second.saw_eof
        assert first.take() == other.take() == b""
        first.feed_reset()
        second.feed_reset()
        set_.loop.run()
        assert set_.client(peers[0]).take() == b""


def test_a_listener_that_is_full_accepts_no_more_until_there_is_room() -> None:
    with stage(limits=Limits(connections=3)) as set_:
        clients = [set_.client() for _ in range(3)]
        assert [server.closed for server in set_.loop.servers] == [True]
        assert set_.cell("reasons|", REASON_CODES[Reason.CONNECTION_LIMIT]) == 1
        clients[0].feed_reset()
        set_.go(0.2)
        assert [server.closed for server in set_.loop.servers] == [True, False]


def test_the_gauges_and_counters_of_a_listener_are_on_the_board() -> None:
    with stage() as set_:
        clients = [set_.ask(GET) for _ in range(3)]
        clients[0].feed_reset()
        set_.go(0.2)
        assert [set_.cell("listener|web", offset) for offset in range(3)] == [2, 2, 3]
        assert set_.place.head[layout.ROW_ACTIVE] == 2 and set_.place.head[layout.ROW_CONNECTIONS] == 2


def test_every_request_is_counted_where_it_went_with_its_bytes() -> None:
    with stage() as set_:
        for answer in (
            OK,
            OK.replace(b"200", b"404"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        ):
            set_.ask(POST)
            set_.answer(answer)
        set_.ask(b"broken\r\n\r\n")
        hits = [set_.cell("hits|web|demo|t0", offset) for offset in range(layout.HITS_BLOCK)]
        assert hits == [0, 2, 0, 1, 0, 0, 0, 0, 0, 0]
        assert set_.cell("hits|web||", 3 + layout.HITS_BALANCER) == 1
        assert set_.cell("flow|web|demo", layout.FLOW_BYTES_IN) == 12
        assert set_.cell("flow|web|demo", layout.FLOW_BYTES_OUT) == 5


def test_requests_are_shared_among_groups_by_weight_and_past_one_that_cannot_serve() -> None:
    rules = (Rule("r", Match(), Forward((("demo", 3), ("empty", 1)))),)
    with stage(rules=rules) as set_:
        set_.publish(replace(set_.snapshot, target_groups=(set_.group, group_of(0, "empty"))))
        set_.origin = Answers(lambda head, body: OK)
        for _ in range(8):
            assert set_.ask(GET).take().startswith(b"HTTP/1.1 200")
        set_.publish(replace(set_.snapshot, target_groups=(set_.group, group_of(1, "empty"))))
        for _ in range(8):
            set_.ask(GET)
        assert set_.cell("hits|web|demo|t0", 1) == 8 + 6 and set_.cell("hits|web|empty|t0", 1) == 2


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", b"204"),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"POST /get HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"HEAD /get HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        (b"TRACE /get HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
    ],
)
def test_what_no_target_is_asked_is_answered_here(request_: bytes, status: bytes) -> None:
    with stage(rules=(Rule("r", Match(paths=("=/get",), methods=("GET",)), FixedResponse(200, "x")),)) as set_:
        answer = set_.ask(request_).take()
        assert answer[9:12] == status
        if status in (b"204", b"405"):
            assert b"\r\nAllow: " in answer
        if request_.startswith(b"HEAD"):
            assert answer.endswith(b"\r\n\r\n")


def test_the_connections_of_a_client_are_those_of_all_workers() -> None:
    with stage(limits=Limits(connections_per_client=3)) as set_:
        other = Clients(set_.board, 1, 2)
        set_.place.clients = Clients(set_.board, 0, 2)
        assert [other.joined("web", "203.0.113.9"), other.joined("web", "203.0.113.9")] == [1, 2]
        assert set_.client("203.0.113.9").take() == b""
        over = set_.client("203.0.113.9")
        assert over.take().startswith(b"HTTP/1.1 429")
        over.feed_reset()
        set_.loop.run()
        other.left("web", "203.0.113.9")
        assert set_.client("203.0.113.9").take() == b""
        assert other.joined("web", "203.0.113.9") == 4 and other.joined("other", "203.0.113.9") == 1


def test_connections_are_counted_from_the_reload_that_limits_them() -> None:
    with stage() as set_:
        old = set_.client()
        (listener,) = set_.snapshot.listeners
        limited = replace(listener, limits=Limits(connections_per_client=1))
        set_.publish(replace(set_.snapshot, listeners=(limited,)))
        assert set_.client().take().startswith(b"HTTP/1.1 429")
        set_.publish(replace(set_.snapshot, listeners=(listener,)))
        assert set_.client().take() == b""
        old.feed_reset()
        set_.loop.run()
        set_.publish(replace(set_.snapshot, listeners=(limited,)))
        assert set_.client().take().startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize(("limit", "expected"), [(0, 300), (10, 9)])
def test_many_who_wait_are_accepted_soon_and_up_to_the_limit(limit: int, expected: int) -> None:
    """The loop itself takes one connection a turn: where turns are long, who comes new would wait for seconds."""
    with stage(limits=Limits(connections=limit)) as set_:
        set_.loop.create_task(set_.listener.serve())
        set_.loop.run()
        sock: Any = set_.listener.accepting.sock
        sock.waiting = [FakeSocket() for _ in range(300)]
        set_.go(2 * PERIOD)
        assert len(set_.listener.connections) == expected


def test_those_who_were_accepted_and_are_no_clients_yet_count_for_the_limit() -> None:
    """Where turns are long, the next look comes before what the last one accepted has joined."""
    with stage(limits=Limits(connections=50)) as set_:
        set_.loop.create_task(set_.listener.serve())
        set_.loop.run()
        sock: Any = set_.listener.accepting.sock
        sock.waiting = [FakeSocket() for _ in range(300)]
        for _ in range(5):
            set_.listener.show()
        set_.loop.run()
        assert len(set_.listener.connections) == 49


def test_where_clients_are_limited_they_are_taken_one_at_a_time() -> None:
    """Of several that come at once, those would be refused whose earlier connections are just about to be gone."""
    with stage(limits=Limits(connections_per_client=5)) as set_:
        set_.loop.create_task(set_.listener.serve())
        set_.loop.run()
        sock: Any = set_.listener.accepting.sock
        sock.waiting = [FakeSocket() for _ in range(10)]
        set_.go(2 * PERIOD)
        assert len(sock.waiting) == 10, "they are left to the loop"


def test_a_limit_of_connections_narrows_the_door_and_its_end_widens_it_again() -> None:
    """Four connections are taken in a turn where nothing limits them, one where a limit does."""

    def watching(set_: Any) -> int:
        set_.go(3 * PERIOD)
        return sum(not server.closed for server in set_.loop.servers)

    with stage() as set_:
        set_.loop.create_task(set_.listener.serve())
        assert watching(set_) == WATCHED
        free = set_.snapshot
        (listener,) = free.listeners
        set_.publish(replace(free, listeners=(replace(listener, limits=Limits(connections=10)),)))
        assert watching(set_) == 1
        set_.publish(free)
        assert watching(set_) == WATCHED


@pytest.mark.parametrize("begun", [False, True], ids=["not begun", "half done"])
def test_a_listener_that_goes_while_it_begins_to_accept_again_accepts_no_more(begun: bool) -> None:
    """It was at its limit; a place came free in the moment in which the worker was told to stop."""
    with stage(limits=Limits(connections=2)) as set_:
        held = [set_.client() for _ in range(2)]
        assert set_.loop.servers[-1].closed
        work: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(set_.loop, "create_task", lambda one: work.append(one))
            held[0].feed_eof()
            set_.go(2 * PERIOD)
        (again,) = work
        making = again if begun else None
        if making is not None:
            patch.setattr(set_.loop, "create_server", slowly(set_.loop.create_server))
            making.send(None)
        with pytest.raises(StopIteration):
            set_.listener.stop_accepting().send(None)
        with pytest.raises(StopIteration):
            again.send(None)
        patch.undo()
        assert all(server.closed for server in set_.loop.servers)
        set_.go(1.0)
        assert all(server.closed for server in set_.loop.servers)


def slowly(step: Any) -> Any:
    """Return a coroutine function that takes a turn of the loop more."""

    async def slow(*arguments: Any, **named: Any) -> Any:
        await Turn()
        return await step(*arguments, **named)

    return slow


class Turn:
    """What a coroutine waits for one turn with."""

    def __await__(self) -> Any:
        yield
