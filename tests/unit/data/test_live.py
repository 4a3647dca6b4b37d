"""What a worker serves by, from one snapshot to the next: built beside what runs, put in place between two events."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any, cast

import pytest

from balancer.board import layout
from balancer.board.board import state_at
from balancer.data.deadlines import PERIOD
from balancer.data.listener import LiveListener
from balancer.data.live import SLICE
from balancer.model.names import Evidence, State
from balancer.model.reason import Reason
from balancer.model.snapshot import Listener, Passive, Queue, Target, Zones
from tests.support import http1
from tests.support.builds import interpreted_only
from tests.support.transports import FakeSocket
from tests.unit.data.stage import GET, OK, Answers, Stage, forward_to, group_of, stage


def ok(head: http1.Head, body: bytes) -> bytes:
    return OK


def target_of(number: int) -> Target:
    ip = f"10.9.{number >> 8}.{number & 255}"
    return Target(f"t{number}", f"{ip}:8000", ip, 8000)


def served(set_: Stage) -> bool:
    set_.origin = Answers(ok)
    for upstream in set_.upstreams:
        upstream.on_write = set_.origin
    return set_.ask(GET).take().startswith(b"HTTP/1.1 200")


def states(set_: Stage) -> list[State]:
    return [target.state for target in set_.targets]


def test_what_cannot_be_built_changes_nothing() -> None:
    with stage() as set_:
        broken = replace(set_.snapshot, listeners=(replace(set_.snapshot.listeners[0], name="other"),))
        with pytest.raises(ValueError, match="no socket for listener 'other'"):
            set_.live.build(broken, {})
        set_.live.swap()  # there is nothing to put in place
        assert served(set_)


def test_what_was_built_may_be_withdrawn() -> None:
    with stage() as set_:
        set_.live.build(replace(set_.snapshot, listeners=()), {})
        set_.live.withdraw()
        set_.live.swap()
        assert served(set_) and "web" in set_.live.listeners


def test_a_group_that_did_not_change_is_the_same_with_its_place_in_the_cycle() -> None:
    with stage(group_of(3)) as set_:
        assert served(set_)
        group, targets = set_.live.groups["demo"], set_.targets
        listener = replace(set_.snapshot.listeners[0], rules=(*forward_to("demo"), *forward_to("demo")))
        set_.publish(replace(set_.snapshot, listeners=(listener,)))
        assert set_.live.groups["demo"] is group and set_.targets == targets
        assert served(set_)


def test_who_waits_in_a_queue_waits_on_when_the_group_changes() -> None:
    with stage(group_of(1, max_connections=1)) as set_:
        first, second = set_.ask(GET), set_.ask(GET)
        set_.republish(max_connections=1, queue=Queue(1, 60.0))
        third = set_.ask(GET)
        assert b"queue_full" in third.take()  # the queue is the same one
        for client in (first, second):
            set_.answer(OK)
            assert client.take().endswith(b"ok")
        set_.check_quiet()


def test_who_waits_is_served_by_the_targets_of_the_new_group() -> None:
    with stage(group_of(1, max_connections=1)) as set_:
        set_.ask(GET)
        second = set_.ask(GET)
        set_.origin = Answers(ok)
        set_.republish(targets=group_of(2).targets)
        assert second.take().endswith(b"ok")


def test_who_waits_for_a_group_that_goes_is_told() -> None:
    with stage(group_of(1, max_connections=1)) as set_:
        first, second = set_.ask(GET), set_.ask(GET)
        listener = replace(set_.snapshot.listeners[0], rules=())
        set_.live.build(
            replace(set_.snapshot, target_groups=(), listeners=(listener,)), cast(Any, cast(Any, {"web": set_._sock}))
        )
        set_.live.swap()
        set_.loop.run()
        assert b"target_removed" in second.take()
        set_.answer(OK)
        assert first.take().endswith(b"ok")
        assert set_.listener.active == 0


@interpreted_only
def test_who_comes_late_to_a_group_that_went_is_told_and_does_not_wait_in_its_queue() -> None:
    """A head that was read in half when its listener and its group left the configuration."""
    with stage(group_of(1, max_connections=1, drain_timeout=1000.0)) as set_:
        set_.ask(GET)
        late = set_.client()
        late.feed(GET[:10])
        late.loop.run()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LiveListener, "retire", retired)
            set_.publish(replace(set_.snapshot, target_groups=(group_of(1, "other"),), listeners=()))
        late.feed(GET[10:])
        set_.loop.run()
        assert b"target_removed" in late.take()


async def retired(listener: LiveListener, timeout: float) -> None:
    """What a listener that goes does first."""
    listener.closing = True
    listener.close_idle()


def test_an_ejection_of_ones_own_ends_with_its_time_or_by_veto() -> None:
    for veto in (False, True):
        with stage(group_of(2)) as set_:
            for _ in range(3):
                set_.live.groups["demo"].failed(set_.targets[0], "connect")
            set_.loop.run()
            assert states(set_) == [State.EJECTED, State.UNKNOWN]
            if veto:
                set_.live.veto("demo", "t0")
            else:
                set_.go(30.0 + 2 * PERIOD)
            assert states(set_) == [State.UNKNOWN, State.UNKNOWN]


@pytest.mark.parametrize("weight", [0, 1])
def test_the_last_that_gets_new_work_is_not_ejected_for_itself(weight: int) -> None:
    group = group_of(2, passive=Passive(consecutive_gateway_failures=1), zones=Zones(panic_threshold=0))
    group = replace(group, targets=(group.targets[0], replace(group.targets[1], weight=weight)))
    with stage(group) as set_:
        for number in range(2):
            set_.state(number, State.HEALTHY)
        live = set_.live.groups["demo"]
        live.failed(live.targets[0], "gateway")
        set_.loop.run()
        assert live.members == [(1,) if weight else (0,)]


def test_nobody_is_ejected_for_itself_in_panic() -> None:
    with stage(group_of(5, passive=Passive(consecutive_gateway_failures=1))) as set_:
        for number in range(5):
            healthy = number < 2
            set_.state(
                number, State.HEALTHY if healthy else State.UNHEALTHY, Evidence.NONE if healthy else Evidence.SOFT
            )
        live = set_.live.groups["demo"]
        assert live.members == [(0, 1, 2, 3, 4)], "panic"
        live.failed(live.targets[0], "gateway")
        set_.loop.run()
        assert states(set_)[0] is State.HEALTHY and not set_.said


@pytest.mark.parametrize(("leaving", "ejected"), [(0, 2), (2, 1)])
def test_of_those_that_left_on_purpose_none_counts_for_how_many_may_be_ejected(leaving: int, ejected: int) -> None:
    group = group_of(4, passive=Passive(consecutive_gateway_failures=1), zones=Zones(panic_threshold=0))
    with stage(group) as set_:
        for number in range(4):
            set_.state(number, State.DRAINING if number < leaving else State.HEALTHY)
        live = set_.live.groups["demo"]
        for target in live.targets[leaving:]:  # all in one turn
            live.failed(target, "gateway")
        set_.loop.run()
        assert states(set_).count(State.EJECTED) == ejected


def test_a_state_of_control_outranks_an_ejection_of_ones_own() -> None:
    with stage(group_of(2)) as set_:
        for _ in range(3):
            set_.live.groups["demo"].failed(set_.targets[0], "connect")
        set_.state(0, State.DRAINING)
        assert states(set_) == [State.DRAINING, State.UNKNOWN]
        set_.state(0, State.HEALTHY)
        assert states(set_) == [State.HEALTHY, State.UNKNOWN]


def test_a_board_that_a_lost_writer_left_half_written_stops_nobody() -> None:
    with stage(group_of(2)) as set_:
        set_.board.cells[layout.GENERATION] |= 1
        set_.live.states()
        assert served(set_)


def test_the_clock_goes_on_after_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with stage() as set_:
        client = set_.client()
        with monkeypatch.context() as patched:
            patched.setattr(type(set_.place), "show", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                set_.go(1.0)
        assert "internal error in the coarse clock" in caplog.text
        set_._bugs.records.clear()
        set_.go(15.0)
        assert client.lost  # its time for a first byte was over


def test_the_clock_keeps_its_beat_while_a_round_of_many_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage() as set_:
        looks: list[float] = []

        def part(_: object, now: float) -> bool:  # as a round that takes a second
            looks.append(now)
            return True

        monkeypatch.setattr(type(set_.place.deadlines), "look", part)
        monkeypatch.setattr(type(set_.live), "_go_on", lambda _: None)
        set_.go(1.0)
        assert len(looks) >= 9


def test_every_failure_of_a_group_has_its_place_on_the_board() -> None:
    with stage() as set_:
        for reason in Reason:
            set_.live.groups["demo"].count_failure(reason)
            set_.live.groups["demo"].count_retry(reason)
            assert set_.failures(reason) == set_.retries(reason) == 1


def test_a_listener_that_a_reload_leaves_alone_keeps_what_it_remembers() -> None:
    with stage(group_of(2)) as set_:
        assert served(set_)
        listener = set_.live.listeners["web"]
        router = listener.router
        set_.publish(replace(set_.snapshot, stop_timeout=3.0))
        assert set_.live.listeners["web"] is listener and listener.router is router
        assert served(set_)
        other = replace(set_.snapshot.listeners[0], rules=(*forward_to("demo"), *forward_to("demo")))
        set_.publish(replace(set_.snapshot, listeners=(other,)))
        assert listener.router is not router
        assert served(set_)


def test_a_group_is_outdated_exactly_when_the_board_says_something_else_about_it() -> None:
    with stage(group_of(2)) as set_:
        group = set_.live.groups["demo"]
        assert not group.outdated()
        at = state_at(set_.targets[0].state_slot)
        set_.place.board.publish(lambda cells: cells.__setitem__(at + layout.STATE, State.HEALTHY.code))
        assert group.outdated()
        set_.live.states()
        assert not group.outdated() and set_.targets[0].state is State.HEALTHY


def test_a_large_group_is_built_in_slices_and_only_the_last_counts() -> None:
    with stage(group_of(3)) as set_:
        before = set_.live.groups["demo"]
        many = replace(group_of(3), targets=tuple(target_of(number) for number in range(2 * SLICE + 1)))
        snapshot = replace(set_.snapshot, target_groups=(many,))
        slices = set_.live.building(snapshot, cast(Any, {"web": set_._sock}))
        assert len(list(slices)) == 3
        assert served(set_) and set_.live.groups["demo"] is before
        set_.live.swap()
        assert served(set_) and len(set_.live.groups["demo"].targets) == 2 * SLICE + 1


def test_failures_in_a_row_go_on_over_a_reload_that_does_not_change_how_they_count() -> None:
    with stage(group_of(2, passive=Passive(consecutive_gateway_failures=2))) as set_:
        group = set_.live.groups["demo"]
        group.failed(group.targets[0], "gateway")
        heavier = replace(group.spec, targets=(group.spec.targets[0], replace(group.spec.targets[1], weight=7)))
        set_.publish(replace(set_.snapshot, target_groups=(heavier,)))
        group = set_.live.groups["demo"]
        assert group.targets[1].spec.weight == 7
        group.failed(group.targets[0], "gateway")
        assert group.targets[0].ejected_until


def test_what_changes_between_building_and_swapping_is_seen() -> None:
    with stage(group_of(2, passive=Passive(consecutive_gateway_failures=1))) as set_:
        set_.state(0, State.HEALTHY)
        set_.state(1, State.HEALTHY)
        running = set_.live.groups["demo"]
        running.failed(running.targets[0], "gateway")
        set_.loop.run()
        assert running.members == [(1,)]
        after = replace(set_.snapshot, target_groups=(replace(running.spec, max_connections=9),))
        set_.live.build(after, cast(Any, {"web": set_._sock}))
        running.veto(running.targets[0].name)  # control has another view of it
        set_.live.swap()
        assert set_.live.groups["demo"].members == [(0, 1)]
        set_.live.build(set_.snapshot, cast(Any, {"web": set_._sock}))
        set_.state(1, State.UNHEALTHY)
        set_.live.swap()
        assert set_.live.groups["demo"].members == [(0,)]


def test_a_snapshot_for_whose_listener_there_is_no_descriptor_is_refused_and_changes_nothing() -> None:
    with stage() as set_:

        class Full(FakeSocket):
            def dup(self) -> FakeSocket:
                raise OSError(errno.EMFILE, "Too many open files")

        more = Listener("more", "127.0.0.1:8081", rules=forward_to("demo"))
        snapshot = replace(set_.snapshot, listeners=(*set_.snapshot.listeners, more))
        sockets = {"web": set_._sock, "more": Full()}
        with pytest.raises(ValueError, match="no descriptor for a listener: Too many open files"):
            set_.live.build(snapshot, cast(Any, sockets))
        set_.live.swap()
        client = set_.ask(GET)
        set_.answer(OK)
        assert client.take().startswith(b"HTTP/1.1 200") and list(set_.live.listeners) == ["web"]
