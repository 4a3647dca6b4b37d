"""What began before a reload ends under the configuration after it: ejections, streaks, queues, targets that left."""

from __future__ import annotations

import gc
import json
import socket
import struct
from dataclasses import replace
from typing import Any, cast

import pytest

from balancer.board import layout, rings
from balancer.data.group import LiveGroup
from balancer.data.target import MAX_CONNECTING
from balancer.model.names import State
from balancer.model.snapshot import Passive, Queue, Retry, Target, UpstreamTimeouts
from tests.support import http1
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, POST, Stage, exchange_of, group_of, stage

BAD = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
NO_ROOM = struct.pack("=24xI116xI80xI", 0, 5000, 0)  # TCP_INFO: bytes wait and none is under way
ONE_TRY = Retry(max_retries=0)
OTHER = Queue(77, 5.0)  # what the reload changes


def strict(**more: Any) -> Any:
    """Return a stage with two targets, which one failure ejects."""
    return stage(group_of(2, retry=ONE_TRY, passive=Passive(consecutive_gateway_failures=1), **more))


def upstream_of(set_: Stage, name: str) -> FakeTransport:
    """Return a connection to that target whose request is under way."""
    (found, *_) = [up for up in set_.upstreams if not up.lost and up.peer[0].endswith(name[1:])]
    return found


def placed(set_: Stage, count: int) -> list[str]:
    """Return to which targets the next requests go."""
    names = []
    for _ in range(count):
        before = len(set_.upstreams)
        set_.ask(GET)
        (made,) = set_.upstreams[before:]
        names.append(f"t{made.peer[0][-1]}")
    return names


@pytest.mark.parametrize("answer", [b"", BAD])
def test_a_failure_of_a_request_from_before_the_reload_takes_the_target_out(answer: bytes) -> None:
    with strict() as set_:
        for number in range(2):
            set_.state(number, State.HEALTHY)
        placed(set_, 2)
        set_.republish(queue=OTHER)
        failing = upstream_of(set_, "t0")
        if answer:
            failing.feed(answer)
        else:
            failing.feed_reset()
        set_.loop.run()
        assert set_.targets[0].state is State.EJECTED
        assert placed(set_, 4) == ["t1"] * 4


def test_a_target_that_left_is_not_ejected_for_whoever_has_its_name_now() -> None:
    with strict() as set_:
        placed(set_, 2)
        moved = Target("t0", "10.9.9.7:8000", "10.9.9.7", 8000, 1, "zone-0")
        set_.republish(targets=(moved, set_.group.targets[1]))
        upstream_of(set_, "t0").feed_reset()
        set_.loop.run()
        assert "t7" in placed(set_, 2)
        assert not [message for message in set_.said if message["is"] == "eject"]


# Streaks


def streak(set_: Stage) -> tuple[int, int]:
    """Return the gateway failures in a row of t0: as its worker counts, and as the board says."""
    streaks = set_.targets[0].streaks
    return (0 if streaks is None else streaks.gateway), set_.cell(
        "target|demo|t0", layout.TARGET_STREAKS
    ) >> layout.STREAK_BITS


def fail_once(set_: Stage) -> None:
    """Let a request to t0 fail."""
    while placed(set_, 1) != ["t0"]:
        pass
    upstream_of(set_, "t0").feed_reset()
    set_.loop.run()


@pytest.mark.parametrize(
    ("change", "left"),
    [({"queue": OTHER}, 2), ({"passive": Passive(consecutive_gateway_failures=4)}, 0), ({"passive": None}, 0)],
)
def test_failures_in_a_row_go_on_over_a_reload_unless_it_changes_how_they_are_judged(
    change: dict[str, Any], left: int
) -> None:
    with stage(group_of(2, retry=ONE_TRY)) as set_:
        fail_once(set_)
        fail_once(set_)
        assert streak(set_) == (2, 2)
        set_.republish(**change)
        assert streak(set_) == (left, left)


def test_failures_in_a_row_before_and_after_a_reload_eject_together() -> None:
    with stage(group_of(2, retry=ONE_TRY, passive=Passive(consecutive_gateway_failures=3))) as set_:
        fail_once(set_)
        fail_once(set_)
        set_.republish(queue=OTHER)
        fail_once(set_)
        assert set_.targets[0].state is State.EJECTED


def test_an_offer_that_is_withdrawn_leaves_failures_in_a_row_on_the_board() -> None:
    with stage(group_of(2, retry=ONE_TRY)) as set_:
        fail_once(set_)
        moved = Target("t0", "10.9.9.7:8000", "10.9.9.7", 8000, 1, "zone-0")
        group = replace(set_.group, targets=(moved, set_.group.targets[1]))
        set_.live.build(replace(set_.snapshot, target_groups=(group,)), cast(Any, {"web": set_._sock}))
        set_.live.withdraw()
        assert streak(set_) == (1, 1)
        set_.republish(targets=group.targets)
        assert streak(set_) == (0, 0)


# Queues


@pytest.mark.parametrize("answer", [OK, CHUNKED_OK], ids=["short way", "long way"])
@pytest.mark.parametrize("reloads", [1, 2])
def test_the_end_of_a_request_from_before_a_reload_lets_the_first_of_the_queue_go(answer: bytes, reloads: int) -> None:
    with stage(group_of(1, max_connections=1)) as set_:
        set_.ask(GET)
        first = set_.ask(GET.replace(b"/", b"/first", 1))
        for number in range(reloads):
            set_.republish(queue=Queue(77 + number, 5.0))
        set_.upstreams[0].take()
        set_.upstreams[0].feed(answer)
        newcomer = set_.ask(GET.replace(b"/", b"/newcomer", 1))
        assert set_.upstreams[0].take().startswith(b"GET /first ")
        set_.answer(OK)
        assert first.take().endswith(b"ok")
        assert set_.upstreams[0].take().startswith(b"GET /newcomer ")
        set_.answer(OK)
        assert newcomer.take().endswith(b"ok")
        set_.check_quiet()


def test_who_leaves_the_queue_after_a_reload_makes_room_in_it() -> None:
    with stage(group_of(1, max_connections=1, queue=Queue(1, 60.0))) as set_:
        set_.ask(GET)
        gone = set_.ask(GET)
        set_.republish(drain_timeout=7.0)
        for _ in range(200):
            gone.feed_reset()
            set_.loop.run()
            gone = set_.ask(GET)
            assert gone.take() == b""
        assert b"queue_full" in set_.ask(GET).take()
        set_.answer(OK)
        set_.answer(OK)
        assert gone.take().endswith(b"ok")
        set_.check_quiet()


# Targets that left


def test_a_request_at_a_target_that_left_is_looked_after_until_it_is_over() -> None:
    with stage(group_of(2, drain_timeout=100.0)) as set_:
        client = set_.ask(POST)
        (upstream,) = set_.upstreams
        upstream.sock.info = NO_ROOM
        set_.republish(targets=tuple(t for t in set_.group.targets if t.ip != upstream.peer[0]))
        set_.go(1.0)
        assert rings.find(set_.board, 0, layout.OPEN, exchange_of(client).request_id), "told if its worker dies"
        set_.go(5.0)
        assert upstream.sock.options[socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT] == 0, "it has room when it likes"
        assert set_.place.leaving
        set_.answer(OK)
        assert client.take().endswith(b"ok")
        set_.go(1.0)
        assert not set_.place.leaving
        set_.check_quiet()


def test_who_waits_to_connect_to_a_target_that_left_does_not_wait_for_ever() -> None:
    with stage(group_of(1, retry=ONE_TRY, timeouts=UpstreamTimeouts(connect=2.0))) as set_:
        set_.accepts = False
        clients = [set_.ask(GET) for _ in range(2 * MAX_CONNECTING)]
        set_.republish(targets=(Target("t0", "10.9.9.7:8000", "10.9.9.7", 8000, 1, "zone-0"),))
        set_.go(5.0)
        assert all(b" 504 " in client.take() for client in clients)
        set_.check_quiet()
        assert not set_.place.leaving


def test_a_changed_number_of_requests_holds_for_connections_that_exist() -> None:
    with stage() as set_:
        client = set_.ask(GET)
        set_.answer(OK)
        assert b"Connection: close" not in client.take()
        (listener,) = set_.snapshot.listeners
        listener = replace(listener, limits=replace(listener.limits, keep_alive_requests=2))
        set_.publish(replace(set_.snapshot, version=2, listeners=(listener,)))
        client.feed(GET)
        set_.loop.run()
        set_.answer(OK)
        assert b"Connection: close" in client.take() and client.lost


# Whose word about the client is believed

FORWARDED = b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"


@pytest.mark.parametrize("proxies", [("203.0.113.0/24",), ()])
def test_a_request_that_waits_over_a_reload_is_sent_by_the_snapshot_of_its_head(proxies: tuple[str, ...]) -> None:
    """Its block was read by one list of trusted proxies; what is added to it and logged must be of the same."""
    others = () if proxies else ("203.0.113.0/24",)
    group = group_of(max_connections=1, queue=Queue(8, 20.0))
    with stage(group, trusted_proxies=proxies, log=True) as set_:
        client = set_.ask(GET)
        waits = set_.ask(GET.replace(b"Host", FORWARDED + b"Host"))
        (web,) = set_.snapshot.listeners
        set_.publish(replace(set_.snapshot, listeners=(replace(web, trusted_proxies=others),)))
        set_.upstreams[0].take()
        set_.answer(OK)
        head = http1.request_head(bytes(set_.upstreams[0].received))
        told = [head.get(f"x-forwarded-{name}") for name in ("for", "proto", "port")]
        assert told == ([b"9.9.9.9, 203.0.113.9", b"https", b"443"] if proxies else [b"203.0.113.9", b"http", b"8080"])
        assert bytes(set_.upstreams[0].received).lower().count(b"x-forwarded-") == 4
        set_.answer(OK)
        assert client.take().endswith(b"ok") and waits.take().endswith(b"ok")
        assert json.loads(set_.lines[1])["client"] == ("9.9.9.9" if proxies else "203.0.113.9")


def test_a_client_that_asked_long_ago_holds_one_old_configuration_of_its_group_and_none_between() -> None:
    with stage(group_of(2)) as set_:
        client = set_.ask(GET)
        set_.answer(OK)
        assert client.take().endswith(b"ok")
        for number in range(10):
            set_.republish(max_connections=100 + number)
        gc.collect()
        alive = [one for one in gc.get_objects() if isinstance(one, LiveGroup) and one.place is set_.place]
        assert len(alive) <= 2
        assert alive[0].present() is alive[1].present() is set_.live.groups["demo"]
