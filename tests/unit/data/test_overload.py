"""A worker that cannot keep up turns requests away before it has work with them, and its buffers have a bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from balancer.board import layout
from balancer.data.http.client import RESTED
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import ClientTimeouts, FixedResponse, Match, Rule
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, Answers, Stage, stage

MEGABYTE = 1024 * 1024


def shed(set_: Stage, share: int) -> None:
    """Let the worker turn away so many percent."""
    set_.place.overload.share = share
    for group in set_.live.groups.values():
        group.be_careful()


def statuses(set_: Stage, client: FakeTransport, count: int) -> list[int]:
    set_.origin = Answers(lambda head, body: OK)
    found = []
    for _ in range(count):
        client.feed(GET)
        set_.loop.run()
        found.append(int(client.take()[9:12]))
    return found


def run_late(set_: Stage, seconds: float, late: float) -> None:
    """Let the clock's turns come so late for a while."""
    until = set_.clock.now + seconds
    while set_.clock.now < until:
        set_.clock.now += late  # the loop was busy with something else
        set_.go(0.11)


def test_a_share_is_turned_away_and_the_rest_served_on_the_same_connection() -> None:
    with stage(log=True) as set_:
        client = set_.client()
        assert statuses(set_, client, 3) == [200] * 3
        shed(set_, 50)
        assert sorted(statuses(set_, client, 10)) == [200] * 5 + [503] * 5
        shed(set_, 0)
        assert statuses(set_, client, 10) == [200] * 10
        assert not client.is_closing()
        assert set_.cell("reasons|", REASON_CODES[Reason.OVERLOADED]) == 5
        assert sum('"status":503,"source":"balancer","reason":"overloaded"' in line for line in set_.lines) == 5
        set_.check_quiet()


@pytest.mark.parametrize(("offered", "committed"), [(0, 50), (50, 0)])
def test_the_share_at_the_commit_of_a_reload_counts_not_that_at_its_offer(offered: int, committed: int) -> None:
    with stage() as set_:
        shed(set_, offered)
        snapshot = replace(set_.snapshot, target_groups=(replace(set_.group, drain_timeout=5.0),))
        set_.live.build(snapshot, cast(Any, {"web": set_._sock}))
        shed(set_, committed)
        set_.live.swap()
        set_.loop.run()
        assert statuses(set_, set_.client(), 20).count(503) == committed * 20 // 100
        assert bool(set_.live.groups["demo"].careful) is bool(committed)


def test_who_is_turned_away_is_told_when_to_come_back_and_before_the_body_is_read() -> None:
    with stage() as set_:
        shed(set_, 90)
        assert set_.ask(GET).take() == b"" and len(set_.upstreams) == 1, "one of ten is let in"
        client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000000\r\n\r\nbody")
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 503") and b"\r\nRetry-After: 1\r\n" in answer
        assert b'details="overloaded"' in answer and client.saw_eof
        assert len(set_.upstreams) == 1


def test_answers_of_our_own_are_shed_too() -> None:
    with stage(rules=(Rule("fixed", Match(), FixedResponse(200, "x")),)) as set_:
        shed(set_, 50)
        client = set_.client()
        assert sorted(statuses(set_, client, 4)) == [200, 200, 503, 503]


def test_a_group_that_comes_with_a_reload_sheds_like_the_others() -> None:
    with stage() as set_:
        shed(set_, 50)
        set_.republish(max_connections=7)
        assert set_.live.groups["demo"].careful
        shed(set_, 0)
        assert not set_.live.groups["demo"].careful


def test_a_loop_that_runs_late_gives_up_what_rests_then_sheds_then_serves_again() -> None:
    with stage(timeouts=ClientTimeouts(keep_alive=3600.0, first_byte=3600.0)) as set_:
        resting, busy, fresh = set_.client(), set_.client(), set_.client()
        assert statuses(set_, resting, 1) + statuses(set_, busy, 1) == [200, 200]
        set_.go(RESTED)
        for upstream in set_.upstreams:
            upstream.on_write = lambda transport: None
        busy.feed(GET)
        run_late(set_, 1.3, 0.3)
        assert resting.lost and not busy.is_closing() and not fresh.is_closing()
        assert set_.place.overload.share == 0
        run_late(set_, 2.5, 0.3)
        assert set_.place.overload.share == 20 and set_.live.groups["demo"].careful
        assert set_.place.head[layout.ROW_SHED] == 20 and set_.place.head[layout.ROW_LAG] > 100_000
        set_.go(4)
        assert set_.place.overload.share == 0 and not set_.live.groups["demo"].careful


@pytest.mark.parametrize(("before", "after"), [(75.0, 5.0), (5.0, 75.0), (0.0, 5.0), (0.0, 0.0)])
def test_how_long_a_connection_has_rested_does_not_depend_on_how_long_it_may(before: float, after: float) -> None:
    with stage(timeouts=ClientTimeouts(keep_alive=before)) as set_:
        client, young = set_.client(), set_.client()
        assert statuses(set_, client, 1) == [200]
        set_.go(0.6 * RESTED)
        listener = replace(set_.snapshot.listeners[0], timeouts=ClientTimeouts(keep_alive=after))
        set_.publish(replace(set_.snapshot, listeners=(listener,)))
        young.feed(GET)
        set_.loop.run()
        set_.go(0.6 * RESTED)
        set_.listener.close_resting(set_.clock.now)
        set_.loop.run()
        assert (client.lost, young.lost) == (True, False)


def slow_readers(set_: Stage, count: int) -> list[FakeTransport]:
    """Return clients who have asked for a large answer and take nothing of it, a second apart."""
    clients = []
    for _ in range(count):
        client = set_.ask(GET)
        client.stall()
        set_.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + bytes(100_000))
        clients.append(client)
        set_.go(1)
    return clients


def test_over_the_limit_those_go_who_have_read_nothing_for_longest() -> None:
    with stage(log=True) as set_:
        set_.publish(replace(set_.snapshot, buffer_limit=MEGABYTE))
        clients = slow_readers(set_, 10)
        set_.go(1.2)
        assert set_.place.head[layout.ROW_BUFFERED] >= 1_000_000
        assert not any(client.lost for client in clients)
        clients += slow_readers(set_, 1)
        set_.go(1.2)
        assert [client.lost for client in clients] == [True] * 2 + [False] * 9
        assert all(client.was_reset for client in clients[:2]), "no client may take half an answer for a whole one"
        assert set_.failures(Reason.CLIENT_TOO_SLOW) == 2
        assert 800_000 < set_.place.head[layout.ROW_BUFFERED] < 950_000
        assert '"reason":"client_too_slow"' in set_.lines[-1]


def test_without_a_limit_nobody_goes() -> None:
    with stage() as set_:
        set_.publish(replace(set_.snapshot, buffer_limit=0))
        assert not any(client.lost for client in slow_readers(set_, 11))


def test_bodies_that_wait_for_targets_are_refused_where_they_are_too_many() -> None:
    with stage() as set_:
        set_.publish(replace(set_.snapshot, buffer_limit=MEGABYTE))
        clients = []
        for _ in range(12):
            client = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n")
            set_.upstreams[-1].stall()
            client.feed(bytes(100_000))
            clients.append(client)
            set_.go(1)
        answered = [client for client in clients if client.received]
        assert answered == clients[: len(answered)] and 2 <= len(answered) <= 4
        assert all(client.received.startswith(b"HTTP/1.1 503") for client in answered)
        assert set_.failures(Reason.OVERLOADED) == len(answered)
