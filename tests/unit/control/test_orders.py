"""What the operator orders, and what a target asks for, beside what the configuration says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balancer.board import layout
from balancer.board.board import state_at
from balancer.control import orders
from balancer.control.facts import Asked, Instant, Ordered, Probe, Probed
from balancer.control.ledger import Kept, Ledger
from balancer.control.orders import Order, wish
from balancer.control.states import States, kept_on_board
from balancer.health.machine import Event
from balancer.model.names import Evidence, ProbeResult, State
from balancer.model.snapshot import Discover, Target, TargetGroup
from tests.unit.control.scene import Clock, board, group, probe, snapshot, target

A, B, C = target("a", ip="10.0.0.1"), target("b", ip="10.0.0.2"), target("c", ip="10.0.0.3")
KEY = ("demo", "a")
DRAIN = Order(drain=True, drain_at=1_700_000_000.0)

WISHES = [
    ("nobody wants anything", Order(), {}, False, Event.ENABLE, "returned"),
    ("the operator drains", Order(drain=True), {}, False, Event.DRAIN, "operator"),
    ("the configuration drains", Order(), {"drain": True}, False, Event.DRAIN, "configuration"),
    ("the operator's word against the file", Order(drain=False), {"drain": True}, False, Event.ENABLE, "returned"),
    ("the target asks", Order(asked=True), {}, False, Event.DRAIN, "asked_by_target"),
    ("disabled beats the operator", Order(drain=True), {"disabled": True}, False, Event.DISABLE, "configuration"),
    ("leaving beats all", Order(drain=False), {"disabled": True}, True, Event.DRAIN, "leaving"),
    ("a weight is no wish", Order(weight=0), {}, False, Event.ENABLE, "returned"),
]


@pytest.mark.parametrize(
    ("order", "written", "leaving", "event", "reason"), [row[1:] for row in WISHES], ids=[row[0] for row in WISHES]
)
def test_who_has_the_last_word(
    order: Order, written: dict[str, bool], leaving: bool, event: Event, reason: str
) -> None:
    assert wish(order, replace(A, **written), leaving=leaving) == (event, reason)


def begun(*groups: TargetGroup) -> tuple[Ledger, Clock]:
    ledger, clock = Ledger(lambda: 0.0), Clock()
    ledger.adopt(snapshot(*groups), {}, clock.instant)
    for one in groups:
        for each in one.targets:
            if not each.disabled:
                probe(ledger, clock, each.name)
    return ledger, clock


def state(ledger: Ledger, name: str = "a") -> tuple[State, str]:
    record = ledger.records["demo", name]
    return record.state, record.reason


def test_a_drained_target_stays_drained_whatever_its_probes_say_and_comes_back_by_proof() -> None:
    ledger, clock = begun(group(A, B, slow_start=10.0))
    ledger.apply(Ordered(KEY, DRAIN), clock.instant)
    for result in (ProbeResult.OK, ProbeResult.REFUSED, ProbeResult.OK):
        probe(ledger, clock, "a", result, 3)
        assert state(ledger) == (State.DRAINING, "operator")
    ledger.apply(Ordered(KEY, Order()), clock.instant)
    assert state(ledger) == (State.UNKNOWN, "returned")
    probe(ledger, clock, "a")
    assert state(ledger)[0] is State.HEALTHY
    assert ledger.factors("demo", clock.now)["a"] == 0.1


def test_a_drain_and_a_weight_outlive_a_reload_and_end_with_their_target() -> None:
    ledger, clock = begun(group(A, B))
    ledger.apply(Ordered(KEY, replace(DRAIN, weight=7)), clock.instant)
    ledger.adopt(snapshot(group(replace(A, weight=3), B, C)), {}, clock.go(1))
    assert state(ledger) == (State.DRAINING, "operator")
    assert ledger.records[KEY].weight == 7
    ledger.adopt(snapshot(group(A, B)), {KEY: clock.now + 30}, clock.go(1))
    assert state(ledger) == (State.DRAINING, "leaving")
    ledger.adopt(snapshot(group(B)), {}, clock.go(1))
    ledger.adopt(snapshot(group(A, B)), {}, clock.go(1))
    assert state(ledger)[0] is State.UNKNOWN
    assert ledger.records[KEY].order == orders.NONE


MOVES = [
    ("a written name keeps the operator's drain at another address", A, replace(A, ip="10.0.0.9"), True),
    ("a found slot is another container", target("web#1"), replace(target("web#1"), ip="10.0.0.9"), False),
    ("a found container that did not move keeps it", target("web#1"), target("web#1"), True),
]


@pytest.mark.parametrize(("before", "after", "drained"), [row[1:] for row in MOVES], ids=[row[0] for row in MOVES])
def test_an_order_is_of_a_name_or_of_an_address(before: Target, after: Target, drained: bool) -> None:
    found = (Discover("web", 8000, "zone-a"),)
    ledger, clock = begun(group(before, B, discover=found))
    ledger.apply(Ordered(("demo", before.name), replace(DRAIN, asked=True)), clock.instant)
    ledger.adopt(snapshot(group(after, B, discover=found)), {}, clock.go(1))
    assert (state(ledger, after.name)[0] is State.DRAINING) is drained
    if before.ip != after.ip:
        assert not ledger.records["demo", after.name].order.asked


@pytest.mark.parametrize(
    ("written", "expected"),
    [({"drain": True}, (State.DRAINING, "configuration")), ({"disabled": True}, (State.DISABLED, "configuration"))],
)
def test_the_configuration_drains_and_disables_and_lets_serve_again(
    written: dict[str, bool], expected: tuple[State, str]
) -> None:
    ledger, clock = begun(group(A, B))
    ledger.adopt(snapshot(group(replace(A, **written), B)), {}, clock.go(1))
    assert state(ledger) == expected
    ledger.adopt(snapshot(group(A, B)), {}, clock.go(1))
    assert state(ledger)[0] is State.UNKNOWN
    ledger.adopt(snapshot(group(replace(A, disabled=True), B)), {}, clock.go(1))
    ledger.adopt(snapshot(group(replace(A, drain=True), B)), {}, clock.go(1))
    assert state(ledger) == (State.DRAINING, "configuration")


def test_without_checks_a_target_serves_again_at_once_and_starts_slowly() -> None:
    ledger, clock = begun(group(A, B, check=None, slow_start=10.0))
    ledger.apply(Ordered(KEY, DRAIN), clock.instant)
    ledger.apply(Ordered(KEY, Order()), clock.go(5))
    assert state(ledger) == (State.HEALTHY, "checks_off")
    assert ledger.factors("demo", clock.now) == {"a": 0.1, "b": 1.0}


def asking(ledger: Ledger, clock: Clock, name: str, result: ProbeResult = ProbeResult.BAD_STATUS) -> None:
    ledger.apply(Probed(("demo", name), Probe(clock.go(1), result, "", 0.01, drain=True)), clock.instant)


def test_a_target_whose_probe_asks_is_drained_at_once_until_a_good_probe_asks_no_more() -> None:
    ledger, clock = begun(group(A, B))
    asking(ledger, clock, "a")
    assert state(ledger) == (State.DRAINING, "asked_by_target")
    asking(ledger, clock, "a")
    assert state(ledger) == (State.DRAINING, "asked_by_target")
    probe(ledger, clock, "a")
    assert state(ledger)[0] is State.HEALTHY


def test_one_that_asks_in_a_response_is_believed_until_it_was_away() -> None:
    ledger, clock = begun(group(A, B))
    ledger.apply(Asked(KEY), clock.instant)
    probe(ledger, clock, "a", times=5)
    assert state(ledger) == (State.DRAINING, "asked_by_target")
    probe(ledger, clock, "a", ProbeResult.REFUSED)
    assert state(ledger)[0] is State.DRAINING
    probe(ledger, clock, "a")
    assert state(ledger)[0] is State.HEALTHY


def test_the_last_that_serves_is_not_drained_because_it_asks() -> None:
    ledger, clock = begun(group(A, B))
    ledger.apply(Asked(KEY), clock.instant)
    ledger.apply(Asked(("demo", "b")), clock.instant)
    asking(ledger, clock, "b", ProbeResult.OK)
    assert (state(ledger)[0], state(ledger, "b")[0]) == (State.DRAINING, State.HEALTHY)


def test_an_order_for_a_target_that_is_gone_means_nothing() -> None:
    ledger, clock = begun(group(A))
    assert ledger.apply(Ordered(("demo", "gone"), DRAIN), clock.instant) == []
    assert ledger.apply(Asked(("demo", "gone")), clock.instant) == []


ORDERS = [
    Order(),
    DRAIN,
    Order(drain=False, drain_at=1_700_000_000.5),
    Order(weight=0, weight_at=1_700_000_001.25),
    Order(drain=True, drain_at=5.0, weight=1000, weight_at=6.0, asked=True, away=True),
]


@pytest.mark.parametrize("order", ORDERS)
def test_orders_are_read_back_from_the_board_by_the_next_control(order: Order) -> None:
    with board() as made:
        clock, ledger = Clock(), Ledger(lambda: 0.0)
        what = snapshot(group(A, B))
        ledger.adopt(what, {}, clock.instant)
        probe(ledger, clock, "b")
        ledger.apply(Ordered(KEY, order), clock.instant)
        States(made, lambda generation: None).write(what, ledger, clock.instant)
        kept = kept_on_board(made, what, clock.instant)
        assert kept[KEY].order == order
        assert not kept[KEY].leaving
        again = Ledger(lambda: 0.0)
        again.adopt(what, {}, clock.go(1), kept)
        assert again.records[KEY].order == order
        assert again.records[KEY].state is ledger.records[KEY].state


def test_who_was_leaving_when_control_died_is_known_from_who_was_drained() -> None:
    with board() as made:
        clock, ledger = Clock(), Ledger(lambda: 0.0)
        what = snapshot(group(A, B))
        ledger.adopt(what, {}, clock.instant)
        ledger.adopt(what, {("demo", "b"): clock.now + 30}, clock.instant)
        ledger.apply(Ordered(KEY, DRAIN), clock.instant)
        States(made, lambda generation: None).write(what, ledger, clock.instant)
        kept = kept_on_board(made, what, clock.instant)
        assert {key for key, one in kept.items() if one.leaving} == {("demo", "b")}


def test_a_slow_start_goes_on_after_control_was_replaced() -> None:
    ledger, clock = Ledger(lambda: 0.0), Clock()
    since = Instant(clock.now - 4, clock.instant.wall - 4)
    kept = {
        KEY: Kept(State.HEALTHY, Evidence.NONE, since, slow=True),
        ("demo", "b"): Kept(State.HEALTHY, Evidence.NONE, since),
    }
    ledger.adopt(snapshot(group(A, B, slow_start=10.0)), {}, clock.instant, kept)
    assert ledger.factors("demo", clock.now) == {"a": 0.4, "b": 1.0}


def test_the_weight_of_the_operator_is_on_the_board_and_in_the_maths_of_zones() -> None:
    with board() as made:
        clock, ledger = Clock(), Ledger(lambda: 0.0)
        what = snapshot(group(A, B))
        ledger.adopt(what, {}, clock.instant)
        ledger.apply(Ordered(KEY, Order(weight=3)), clock.instant)
        States(made, lambda generation: None).write(what, ledger, clock.instant)
        assert made.cells[state_at(what.slots["state|demo|a"]) + layout.WEIGHT] == 4
        assert [standing.weight for standing in ledger.standings("demo")] == [3, 1]
