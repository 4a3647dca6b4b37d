"""A target in one worker: its pool, what it learns about it, and its work in hand."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys

import pytest

from balancer.board import layout
from balancer.data.http.upstream import UpstreamProtocol
from balancer.data.target import MAX_CONNECTING, MAX_IDLE, MAX_REQUESTS, SHORTEST_IDLE
from balancer.model.names import PolicyName, State
from balancer.model.snapshot import UpstreamTimeouts
from balancer.net import connect
from tests.support import http1
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, Answers, Stage, group_of, stage

SLACK = 0.2


def ok(head: http1.Head, body: bytes) -> bytes:
    return OK


def busy(set_: Stage, count: int) -> list[FakeTransport]:
    """Return clients whose requests are under way, each on a connection of its own."""
    return [set_.ask(GET) for _ in range(count)]


def answered(set_: Stage, count: int) -> None:
    """Let so many connections be made, used and rest."""
    busy(set_, count)
    for number in range(count):
        set_.answer(OK, upstream=number)


def protocol(transport: FakeTransport) -> UpstreamProtocol:
    assert isinstance(transport.protocol, UpstreamProtocol)
    return transport.protocol


# The pool


def test_the_connection_that_was_used_last_goes_first() -> None:
    with stage() as set_:
        busy(set_, 3)
        for number in (1, 0, 2):
            set_.answer(OK, upstream=number)
        for upstream in set_.upstreams:
            upstream.take()
        set_.ask(GET)
        assert [bool(upstream.received) for upstream in set_.upstreams] == [False, False, True]


def test_no_more_connections_rest_than_may() -> None:
    with stage(group_of(1, max_connections=0)) as set_:
        answered(set_, MAX_IDLE + 5)
        assert len(set_.targets[0].idle) == MAX_IDLE
        assert sum(upstream.lost for upstream in set_.upstreams) == 5


def test_a_connection_rests_as_long_as_upstream_idle() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(upstream_idle=4.0))) as set_:
        answered(set_, 1)
        set_.go(3.9)
        assert set_.targets[0].idle
        set_.go(0.1 + SLACK)
        assert not set_.targets[0].idle and set_.upstreams[0].lost


@pytest.mark.parametrize(("timeout", "rests"), [(3, 2.0), (1, 0.5), (100, 4.0)])
def test_a_target_that_says_how_long_it_keeps_a_connection_is_believed(timeout: int, rests: float) -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(upstream_idle=4.0))) as set_:
        set_.ask(GET)
        set_.answer(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=%d\r\n\r\n" % timeout))
        set_.go(rests - 0.1)
        assert set_.targets[0].idle
        set_.go(0.1 + SLACK)
        assert not set_.targets[0].idle


def test_a_target_that_closes_early_teaches_its_limit_which_grows_back() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(upstream_idle=4.0))) as set_:
        answered(set_, 1)
        set_.go(2.0)
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        target = set_.targets[0]
        assert target.idle_limit == pytest.approx(1.5, abs=0.1) and not target.idle
        answered(set_, 2)
        set_.go(1.5 + SLACK)
        assert not target.idle
        set_.go(60.0)
        assert 1.55 < target.idle_limit < 1.75
        set_.go(900.0)
        assert target.idle_limit > 4.0


def test_what_is_learned_has_a_floor() -> None:
    with stage() as set_:
        answered(set_, 1)
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        assert set_.targets[0].idle_limit == SHORTEST_IDLE


def test_a_connection_is_retired_by_age_and_by_the_number_of_its_requests() -> None:
    with stage(group_of(1, timeouts=UpstreamTimeouts(upstream_idle=1000.0))) as set_:
        set_.origin = Answers(ok)
        client = set_.ask(GET)
        assert len(set_.targets[0].idle) == 1
        protocol(set_.upstreams[0]).requests = MAX_REQUESTS - 1
        client.feed(GET)
        set_.loop.run()
        assert set_.upstreams[0].lost
        client.feed(GET)
        set_.go(661.0)  # ten minutes, a tenth more at most
        client = set_.ask(GET)
        assert set_.upstreams[1].lost and client.take().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("state", [State.DRAINING, State.DISABLED, State.EJECTED, State.UNHEALTHY])
def test_a_target_out_of_rotation_keeps_no_resting_connections(state: State) -> None:
    with stage(group_of(2)) as set_:
        answered(set_, 2)
        set_.state(0, state)
        assert not set_.targets[0].idle and set_.targets[1].idle


def test_a_response_that_ends_its_connection_leaves_none() -> None:
    with stage() as set_:
        client = set_.ask(GET)
        set_.answer(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert client.take().endswith(b"ok") and not client.is_closing()
        assert not set_.targets[0].idle and set_.upstreams[0].lost


# Reload


def test_an_unchanged_target_keeps_its_connections_and_its_work() -> None:
    with stage(group_of(2)) as set_:
        answered(set_, 2)
        busy_client = set_.ask(GET)
        before = set_.targets
        set_.republish(drain_timeout=5.0)
        assert set_.targets == before and sum(len(target.idle) for target in before) == 1
        set_.answer(OK, upstream=0)
        set_.answer(OK, upstream=1)
        assert busy_client.take().endswith(b"ok")
        set_.check_quiet()


def test_a_target_that_leaves_ends_its_work_before_it_goes() -> None:
    with stage(group_of(2, drain_timeout=30.0)) as set_:
        clients = busy(set_, 2)
        left = set_.group.targets[:1]
        set_.republish(targets=left)
        set_.answer(OK, upstream=0)
        set_.answer(OK, upstream=1)
        assert all(client.take().endswith(b"ok") for client in clients)
        set_.check_quiet()


def test_work_on_a_target_that_leaves_does_not_blur_the_count_of_the_next_of_its_name() -> None:
    """A container that comes back under another address has the place of the one before."""
    with stage(group_of(1)) as set_:
        cell = ("target|demo|t0", layout.TARGET_ACTIVE)
        busy(set_, 3)
        (old,) = set_.targets
        moved = set_.group.targets[0].__class__("t0", "10.9.9.9:8000", "10.9.9.9", 8000, 1, "zone-0")
        set_.republish(targets=(moved,))
        assert set_.cell(*cell) == 0 and old.active == 3
        busy(set_, 2)
        set_.answer(OK, upstream=0)
        assert set_.cell(*cell) == 2 and old.active == 2
        for number in range(1, 5):
            set_.answer(OK, upstream=number)
        assert set_.cell(*cell) == 0 and old.active == 0
        set_.check_quiet()


# Picking, as the worker does it


def test_least_conn_sends_to_who_has_least_to_do() -> None:
    with stage(group_of(3, policy=PolicyName.LEAST_CONN)) as set_:
        busy(set_, 3)
        assert [target.active for target in set_.targets] == [1, 1, 1]
        which = int(set_.upstreams[1].peer[0][-1])
        set_.answer(OK, upstream=1)
        set_.ask(GET)
        assert [target.active for target in set_.targets] == [1, 1, 1]
        assert len(set_.upstreams[1].received.split(b"GET")) == 3 and set_.targets[which].active == 1


def test_control_is_asked_to_resolve_a_name_anew_at_most_once_a_second() -> None:
    with stage(group_of(1)) as set_:
        set_.accepts = False
        set_.ask(GET)
        for _ in range(3):
            set_.loop.dials[0].fail()
            set_.loop.run()
            set_.go(0.3)
        said = [message for message in set_.said if message["is"] == "unreachable"]
        assert said == [{"is": "unreachable", "group": "demo", "target": "t0"}]


def test_the_gauges_of_a_target_are_on_the_board() -> None:
    with stage() as set_:
        busy(set_, 3)
        set_.answer(OK, upstream=0)
        set_.go(SLACK)
        assert [set_.cell("target|demo|t0", offset) for offset in range(3)] == [2, 3, 1]


# Windows


def test_a_target_without_room_is_waited_for_and_one_that_may_be_gone_is_not() -> None:
    def limit(upstream: FakeTransport) -> object:
        return upstream.sock.options.get((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    def info(*, unacknowledged: int = 0, unsent: int = 0, window: int = 0) -> bytes:
        return struct.pack("=24xI116xI80xI", unacknowledged, unsent, window)

    with stage() as set_:
        busy(set_, 2)
        full, gone = set_.upstreams
        full.sock.info = info(unsent=5000)
        gone.sock.info = info(unacknowledged=3, unsent=5000, window=60_000)
        set_.go(1.5)
        assert limit(full) is limit(gone) is None, "young requests cost nothing"
        set_.go(2.5 + SLACK)
        assert limit(full) == 0 and limit(gone) is None
        full.sock.info = info(window=60_000)
        set_.go(2.0 + SLACK)
        assert limit(full) == connect.UNACKNOWLEDGED_UPSTREAM


def test_a_connection_that_was_lost_meanwhile_is_given_to_nobody() -> None:
    with stage() as set_:
        busy(set_, 1)
        lost = protocol(set_.upstreams[0])
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        set_.accepts = False
        for _ in range(MAX_CONNECTING + 1):
            set_.ask(GET)
        assert len(set_.targets[0].waiting) == 1
        set_.targets[0].give(lost, set_.clock.now)
        assert len(set_.targets[0].waiting) == 1


# Connects


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError(), ValueError("bug")])
def test_a_connect_that_fails_in_any_way_gives_its_place_back(error: Exception) -> None:
    async def fails(*_: object) -> object:
        raise error

    with stage() as set_, pytest.MonkeyPatch.context() as patch:
        patch.setattr(connect, "dial", fails)
        for _ in range(2 * MAX_CONNECTING):
            client = set_.ask(GET)
            set_.go(1.0)
            assert client.take().startswith(b"HTTP/1.1 50")
        set_.check_quiet()
        patch.undo()
        client = set_.ask(GET)
        set_.answer(OK)
        assert client.take().endswith(b"ok")


def test_the_first_request_loads_no_module() -> None:
    """A module is a file: where descriptors have run out, it cannot be opened."""
    code = """
import sys
from tests.unit.data import stage
with stage.stage(log=True) as set_:
    loaded = []
    sys.addaudithook(lambda event, arguments: event == "import" and loaded.append(arguments[0]))
    client = set_.ask(stage.GET)
    set_.answer(stage.OK)
    set_.accepts = False
    set_.targets[0].close_idle()
    for _ in range(3):
        failed = set_.ask(stage.POST)
        set_.loop.dials[0].fail(24)
        set_.loop.run()
    assert client.take().endswith(b"ok") and failed.take().startswith(b"HTTP/1.1 503")
    print(loaded)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr
