"""A target that drains gets nothing new, finishes what it has, and is cut when its time is over."""

from __future__ import annotations

import pytest

from balancer.board import board as shared
from balancer.board import layout
from balancer.model.names import PolicyName, State
from balancer.model.reason import Reason
from tests.unit.data.stage import GET, OK, POST, Stage, group_of, stage

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ASKS = b"HTTP/1.1 200 OK\r\nX-Balancer-Drain: 1\r\nContent-Length: 2\r\n\r\nok"


def where(set_: Stage, upstream: int) -> int:
    return int(set_.upstreams[upstream].peer[0][-1])


def write(set_: Stage, target: int, **cells: int) -> None:
    """Write cells of a target's block, as control does, and tell the worker."""
    at = shared.state_at(set_.snapshot.slots[f"state|demo|t{target}"])

    def change(board: memoryview[int]) -> None:
        for name, value in cells.items():
            board[at + getattr(layout, name)] = value

    set_.board.publish(change)
    set_.live.states()
    set_.loop.run()


@pytest.mark.parametrize("state", [State.DRAINING, State.DISABLED])
def test_it_gets_nothing_new_and_finishes_what_it_has(state: State) -> None:
    with stage(group_of(2)) as set_:
        client = set_.ask(GET)
        busy = where(set_, 0)
        set_.state(busy, state)
        for _ in range(4):
            set_.ask(GET)
            set_.answer(OK)
        assert {where(set_, number) for number in range(1, len(set_.upstreams))} == {1 - busy}
        set_.go(29.0)
        set_.answer(OK, upstream=0)
        assert b" 200 " in client.take()
        assert set_.upstreams[0].lost, "its connection is closed after the last answer"
        set_.check_quiet()


def test_what_still_runs_when_its_time_is_over_is_cut_and_says_why() -> None:
    with stage(group_of(1, drain_timeout=5.0), log=True) as set_:
        begun, waiting = set_.ask(GET), set_.ask(POST)
        set_.answer(OK[:-1], upstream=0)
        set_.state(0, State.DRAINING)
        set_.go(4.9)
        assert not set_.upstreams[0].lost and not set_.upstreams[1].lost
        set_.go(0.3)
        assert begun.lost
        assert b"target_removed" in waiting.take()
        assert set_.failures(Reason.TARGET_REMOVED) == 2
        set_.check_quiet()


def test_a_tunnel_gets_the_drain_time() -> None:
    with stage(group_of(1, drain_timeout=5.0), log=True) as set_:
        client = set_.ask(UPGRADE)
        set_.answer(SWITCH)
        client.take()
        set_.state(0, State.DRAINING)
        set_.go(4.9)
        set_.answer(b"still here")
        assert client.take() == b"still here"
        set_.go(0.3)
        assert client.lost
        assert '"reason":"target_removed"' in set_.lines[-1]
        set_.check_quiet()


def test_a_drain_that_was_ended_cuts_nobody() -> None:
    with stage(group_of(1, drain_timeout=5.0)) as set_:
        client = set_.ask(GET)
        set_.state(0, State.DRAINING)
        set_.go(3.0)
        set_.state(0, State.HEALTHY)
        set_.go(10.0)
        set_.answer(OK)
        assert b" 200 " in client.take()


def test_who_drains_and_is_then_removed_does_not_get_its_time_twice() -> None:
    with stage(group_of(2, drain_timeout=5.0)) as set_:
        client = set_.ask(POST)
        busy = where(set_, 0)
        set_.state(busy, State.DRAINING)
        set_.go(3.0)
        set_.republish(targets=(set_.group.targets[1 - busy],))
        set_.go(1.5)
        assert not set_.upstreams[0].lost
        set_.go(1.0)
        assert b"target_removed" in client.take()


def test_requests_that_are_not_on_their_way_yet_are_moved() -> None:
    with stage(group_of(2)) as set_:
        set_.accepts = False
        clients = [set_.ask(POST) for _ in range(2)]
        set_.state(0, State.DRAINING)
        for dial in list(set_.loop.dials):
            if dial.address[0] == "10.0.0.1":
                set_.accept(dial)
        set_.loop.run()
        for upstream in list(set_.upstreams):
            upstream.feed(OK)
        set_.loop.run()
        assert all(b" 200 " in client.take() for client in clients)


def test_a_response_may_ask_for_a_drain_which_the_client_does_not_see() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask(GET)
        set_.answer(ASKS)
        answer = client.take()
        assert b" 200 " in answer and b"drain" not in answer.lower()
        assert [one for one in set_.said if one["is"] == "asks"] == [{"is": "asks", "group": "demo", "target": "t0"}]
        for _ in range(3):
            set_.ask(GET)
            set_.answer(ASKS)
        assert sum(one["is"] == "asks" for one in set_.said) == 1, "at most once a second"
        set_.check_quiet()


def test_a_field_of_another_value_asks_for_nothing() -> None:
    with stage(group_of(1)) as set_:
        set_.ask(GET)
        set_.answer(ASKS.replace(b"Drain: 1", b"Drain: 0"))
        assert not [one for one in set_.said if one["is"] == "asks"]


@pytest.mark.parametrize("policy", list(PolicyName))
def test_the_weight_of_the_operator_counts_from_the_next_pick_on(policy: PolicyName) -> None:
    with stage(group_of(2, policy=policy)) as set_:
        write(set_, 0, WEIGHT=4)
        for _ in range(40):
            set_.ask(GET)
        seen = [where(set_, number) for number in range(40)]
        assert (seen.count(0), seen.count(1)) == (30, 10)


def test_weight_nought_by_the_operator_gives_nothing_new() -> None:
    with stage(group_of(2)) as set_:
        write(set_, 0, WEIGHT=1)
        for _ in range(4):
            set_.ask(GET)
        assert {where(set_, number) for number in range(4)} == {1}


@pytest.mark.parametrize(("factor", "most"), [(1000, 32), (500, 16), (100, 4), (101, 4)])
def test_fewer_connects_at_once_go_to_a_target_that_starts_slowly(factor: int, most: int) -> None:
    with stage(group_of(1)) as set_:
        write(set_, 0, FACTOR=factor)
        set_.accepts = False
        for _ in range(40):
            set_.ask(GET)
        assert sum(dial.waits for dial in set_.loop.dials) == most


def test_a_drilled_zone_gets_nothing_new_and_keeps_what_it_has_until_the_drill_is_over() -> None:
    with stage(group_of(2)) as set_:
        client = set_.ask(GET)
        busy = where(set_, 0)
        set_.board.cells[layout.DRILL_UNTIL] = int((set_.clock.now + 60) * 1000)
        write(set_, busy, ORDERS=layout.ORDER_DRILLED)
        for _ in range(4):
            set_.ask(GET)
            set_.answer(OK)
        assert {where(set_, number) for number in range(1, len(set_.upstreams))} == {1 - busy}
        set_.answer(OK, upstream=0)
        assert b" 200 " in client.take()
        before = len(set_.upstreams)
        set_.go(60.2)  # nobody ended it: control is dead
        for _ in range(4):
            set_.ask(GET)
        assert {where(set_, number) for number in range(before, len(set_.upstreams))} == {0, 1}
