"""What is true of a target, whatever happens to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balancer.control.facts import Asked, Changed, Finished, Ordered, Reported, Shifted, Ticked, Vetoed
from balancer.control.ledger import Kept, Ledger
from balancer.control.orders import Order
from balancer.model.names import Evidence, ProbeResult, State
from balancer.model.snapshot import Discover, Passive, TargetGroup, Zones
from tests.unit.control.scene import CHECK, Clock, group, probe, snapshot, target

A, B, C = target("a", ip="10.0.0.1"), target("b", ip="10.0.0.2"), target("c", ip="10.0.0.3")
FOUND = (Discover("web", 8000, "zone-a"),)


def begun(*groups: TargetGroup) -> tuple[Ledger, Clock]:
    ledger, clock = Ledger(lambda: 0.0), Clock()
    ledger.adopt(snapshot(*groups), {}, clock.instant)
    return ledger, clock


def state(ledger: Ledger, name: str) -> State:
    return ledger.records["demo", name].state


def test_one_good_probe_makes_an_unknown_target_healthy_and_three_bad_ones_take_it_out() -> None:
    ledger, clock = begun(group(A))
    assert probe(ledger, clock, "a") == [Changed(("demo", "a"), State.UNKNOWN, State.HEALTHY, Evidence.NONE, "ok")]
    assert probe(ledger, clock, "a", ProbeResult.REFUSED, 2) == []
    assert probe(ledger, clock, "a", ProbeResult.REFUSED) == [
        Changed(("demo", "a"), State.HEALTHY, State.UNHEALTHY, Evidence.HARD, "refused")
    ]
    assert probe(ledger, clock, "a") == []
    assert [one.new for one in probe(ledger, clock, "a") if isinstance(one, Changed)] == [State.HEALTHY]


def test_evidence_follows_what_is_seen_while_it_is_down() -> None:
    ledger, clock = begun(group(A))
    probe(ledger, clock, "a", ProbeResult.TIMEOUT, 3)
    assert ledger.records["demo", "a"].evidence is Evidence.SOFT
    assert probe(ledger, clock, "a", ProbeResult.REFUSED) == [Shifted(("demo", "a"))]
    assert (ledger.records["demo", "a"].evidence, ledger.records["demo", "a"].reason) == (Evidence.HARD, "refused")


def test_the_last_twenty_probes_are_remembered() -> None:
    ledger, clock = begun(group(A))
    probe(ledger, clock, "a", ProbeResult.BAD_STATUS)
    probe(ledger, clock, "a", times=20)
    assert [one.result for one in ledger.records["demo", "a"].probes] == [ProbeResult.OK] * 20


def test_a_target_without_checks_is_healthy_and_one_without_an_address_is_not() -> None:
    ledger, _ = begun(group(A, target("n", ip=""), check=None))
    assert (state(ledger, "a"), state(ledger, "n")) == (State.HEALTHY, State.UNHEALTHY)
    assert ledger.records["demo", "n"].evidence is Evidence.HARD


def test_what_does_not_change_keeps_state_time_and_history() -> None:
    ledger, clock = begun(group(A, B))
    probe(ledger, clock, "a")
    before = ledger.records["demo", "a"]
    ledger.adopt(snapshot(group(A, C)), {}, clock.go(10))
    assert ledger.records["demo", "a"] is before
    assert state(ledger, "c") is State.UNKNOWN
    assert ("demo", "b") not in ledger.records


def test_another_check_keeps_the_state_and_counts_anew_and_fast() -> None:
    ledger, clock = begun(group(A))
    probe(ledger, clock, "a")
    probe(ledger, clock, "a", ProbeResult.TIMEOUT, 2)
    ledger.adopt(snapshot(group(A, check=replace(CHECK, path="/other"))), {}, clock.go(1))
    assert state(ledger, "a") is State.HEALTHY
    assert ledger.records["demo", "a"].next_delay(0.0) == 1.0
    assert probe(ledger, clock, "a", ProbeResult.TIMEOUT, 2) == []
    assert probe(ledger, clock, "a", ProbeResult.TIMEOUT) != []


def test_another_address_is_another_target() -> None:
    ledger, clock = begun(group(A))
    probe(ledger, clock, "a")
    ledger.adopt(snapshot(group(replace(A, ip="10.0.0.9"))), {}, clock.go(1))
    assert state(ledger, "a") is State.UNKNOWN
    assert not ledger.records["demo", "a"].probes


def test_a_leaving_target_drains_until_its_time_is_over_and_may_come_back() -> None:
    ledger, clock = begun(group(A, B))
    probe(ledger, clock, "b")
    effects = ledger.adopt(snapshot(group(A, B)), {("demo", "b"): clock.now + 30}, clock.instant)
    assert [one.new for one in effects if isinstance(one, Changed)] == [State.DRAINING]
    assert probe(ledger, clock, "b", ProbeResult.REFUSED, 5) == []
    assert ledger.apply(Ticked(), clock.instant) == []
    assert ledger.apply(Ticked(), clock.go(30)) == [Finished(("demo", "b"))]
    ledger.adopt(snapshot(group(A, B)), {}, clock.instant)
    assert state(ledger, "b") is State.UNKNOWN


def missing(ledger: Ledger) -> list[int]:
    return [one.slot for one in ledger.standings("demo") if one.missing]


def test_what_vanished_from_a_name_is_missing_for_a_minute() -> None:
    one, two = target("web#1", ip="10.0.0.1"), target("web#2", ip="10.0.0.2")
    ledger, clock = begun(group(one, two, discover=FOUND))
    ledger.adopt(snapshot(group(one, two, discover=FOUND)), {("demo", "web#2"): clock.now + 5}, clock.instant)
    assert missing(ledger) == [2]
    ledger.adopt(snapshot(group(one, discover=FOUND)), {}, clock.go(5))
    assert missing(ledger) == [1]
    assert ledger.apply(Ticked(), clock.go(54)) == []
    assert ledger.apply(Ticked(), clock.go(1)) == [Shifted(("demo", ""))]
    assert missing(ledger) == []


REPLACED = [
    ("another address that comes later takes its part", "web#1", "10.0.0.7", 3.0),
    ("another address that comes with its loss takes its part", "web#3", "10.0.0.7", 0.0),
    ("the same address takes its own part", "web#2", "10.0.0.2", 3.0),
]


@pytest.mark.parametrize(("name", "ip", "later"), [row[1:] for row in REPLACED], ids=[row[0] for row in REPLACED])
def test_what_is_replaced_is_not_missing(name: str, ip: str, later: float) -> None:
    one, two, new = target("web#0", ip="10.0.0.1"), target("web#2", ip="10.0.0.2"), target(name, ip=ip)
    ledger, clock = begun(group(one, two, discover=FOUND))
    if later:
        ledger.adopt(snapshot(group(one, discover=FOUND)), {}, clock.instant)
        assert missing(ledger) == [1]
        ledger.adopt(snapshot(group(one, new, discover=FOUND)), {}, clock.go(later))
    else:
        leaving = {("demo", "web#2"): clock.now + 30}
        ledger.adopt(snapshot(group(one, two, new, discover=FOUND)), leaving, clock.instant)
    assert missing(ledger) == []


def test_who_was_taken_out_of_the_configuration_is_not_missing() -> None:
    one, two = target("web#1", ip="10.0.0.1"), target("b", ip="10.0.0.2")
    ledger, clock = begun(group(one, two, discover=FOUND))
    ledger.adopt(snapshot(group(A)), {("demo", "web#1"): 0.0, ("demo", "b"): 0.0}, clock.instant)
    assert missing(ledger) == []


def test_a_report_ejects_for_its_time_and_the_next_time_is_longer() -> None:
    ledger, clock = begun(group(A, B, C, check=None))
    for seconds in (30, 60):
        effects = ledger.apply(Reported(("demo", "a"), "gateway"), clock.instant)
        assert [one.new for one in effects if isinstance(one, Changed)] == [State.EJECTED]
        assert ledger.apply(Ticked(), clock.go(seconds - 1)) == []
        assert [one.new for one in ledger.apply(Ticked(), clock.go(1)) if isinstance(one, Changed)] == [State.HEALTHY]


def test_nobody_is_ejected_beyond_half_nor_the_last_one_nor_without_the_setting() -> None:
    ledger, clock = begun(group(A, B, C, check=None))
    assert isinstance(ledger.apply(Reported(("demo", "a"), "connect"), clock.instant)[0], Changed)
    assert ledger.apply(Reported(("demo", "b"), "connect"), clock.instant) == [Vetoed(("demo", "b"))]
    ledger, clock = begun(group(A, check=None, passive=Passive(max_ejected_percent=100)))
    assert ledger.apply(Reported(("demo", "a"), "connect"), clock.instant) == [Vetoed(("demo", "a"))]
    ledger, clock = begun(replace(group(A, B, check=None), passive=None))
    assert ledger.apply(Reported(("demo", "a"), "connect"), clock.instant) == [Vetoed(("demo", "a"))]


OUT_OF_ROTATION = ["its zone is drilled", "its weight is 0", "it is unhealthy"]


@pytest.mark.parametrize("why", OUT_OF_ROTATION)
@pytest.mark.parametrize("panic_threshold", [0, 50])
def test_who_gets_no_new_work_is_none_of_the_others_that_serve(why: str, panic_threshold: int) -> None:
    other = target("b", "zone-b", "10.0.0.2")
    ledger, clock = begun(group(A, other, zones=Zones(panic_threshold=panic_threshold), slow_start=10.0))
    probe(ledger, clock, "a")
    probe(ledger, clock, "b")
    match why:
        case "its zone is drilled":
            ledger.drill([("demo", "zone-b")])
        case "its weight is 0":
            ledger.apply(Ordered(("demo", "b"), Order(weight=0)), clock.instant)
        case _:
            probe(ledger, clock, "b", ProbeResult.REFUSED, 3)
    assert ledger.apply(Reported(("demo", "a"), "gateway"), clock.instant) == [Vetoed(("demo", "a"))]
    assert ledger.apply(Asked(("demo", "a")), clock.instant) == []
    assert state(ledger, "a") is State.HEALTHY
    probe(ledger, clock, "a", ProbeResult.REFUSED, 3)
    probe(ledger, clock, "a", times=2)
    assert ledger.factors("demo", clock.now)["a"] == 1.0  # it does not start slowly beside nobody


@pytest.mark.parametrize(("kind", "after"), [("connect", State.HEALTHY), ("gateway", State.EJECTED)])
def test_good_probes_end_an_ejection_for_connect_failures_only(kind: str, after: State) -> None:
    ledger, clock = begun(group(A, B))
    probe(ledger, clock, "a", times=5)
    probe(ledger, clock, "b")
    ledger.apply(Reported(("demo", "a"), kind), clock.instant)
    probe(ledger, clock, "a")
    assert state(ledger, "a") is State.EJECTED
    probe(ledger, clock, "a")
    assert state(ledger, "a") is after


def test_bad_probes_have_precedence_over_an_ejection() -> None:
    ledger, clock = begun(group(A, B))
    probe(ledger, clock, "a")
    probe(ledger, clock, "b")
    ledger.apply(Reported(("demo", "a"), "gateway"), clock.instant)
    probe(ledger, clock, "a", ProbeResult.REFUSED, 3)
    assert state(ledger, "a") is State.UNHEALTHY
    assert ledger.apply(Reported(("demo", "a"), "gateway"), clock.instant) == [Vetoed(("demo", "a"))]
    assert ledger.apply(Ticked(), clock.go(300)) == []


def test_a_target_that_comes_back_starts_slowly_unless_all_do() -> None:
    ledger, clock = begun(group(A, B, slow_start=10.0))
    probe(ledger, clock, "a")
    probe(ledger, clock, "b")
    assert ledger.factors("demo", clock.now) == {"a": 1.0, "b": 1.0}
    probe(ledger, clock, "a", ProbeResult.REFUSED, 3)
    probe(ledger, clock, "a", times=2)
    assert ledger.factors("demo", clock.now) == {"a": 0.1, "b": 1.0}
    assert ledger.factors("demo", clock.go(5).monotonic) == {"a": 0.5, "b": 1.0}
    probe(ledger, clock, "b", ProbeResult.REFUSED, 3)
    assert ledger.factors("demo", clock.now)["a"] == 1.0


def test_a_control_that_starts_anew_goes_on_with_what_was_known() -> None:
    clock = Clock()
    kept = {
        ("demo", "a"): Kept(State.UNHEALTHY, Evidence.SOFT, clock.instant.earlier(50)),
        ("demo", "b"): Kept(State.EJECTED, Evidence.SOFT, clock.instant.earlier(20)),
    }
    ledger = Ledger(lambda: 0.0)
    assert ledger.adopt(snapshot(group(A, B, C)), {}, clock.instant, kept) == []
    assert [one.state for one in ledger.group("demo")] == [State.UNHEALTHY, State.EJECTED, State.UNKNOWN]
    assert ledger.records["demo", "a"].since == clock.instant.earlier(50)
    assert probe(ledger, clock, "a", ProbeResult.TIMEOUT, 2) == []
    assert [one.key for one in ledger.apply(Ticked(), clock.go(8)) if isinstance(one, Changed)] == [("demo", "b")]


def test_what_concerns_nobody_means_nothing() -> None:
    ledger, clock = begun(group(A))
    assert ledger.apply(Reported(("demo", "gone"), "connect"), clock.instant) == []
    assert probe(ledger, clock, "gone") == []


def test_what_another_control_found_is_explained_until_a_probe_says_why() -> None:
    ledger, clock = Ledger(lambda: 0.0), Clock()
    kept = {("demo", name): Kept(State.HEALTHY, Evidence.NONE, clock.instant) for name in "ab"}
    ledger.adopt(snapshot(group(A)), {}, clock.instant, kept)
    record = ledger.records["demo", "a"]
    assert (record.reason, record.detail) == ("restored", "as it was before control was restarted")
    assert probe(ledger, clock, "a") == []
    assert (record.reason, record.detail) == ("ok", "")


def test_an_ejection_says_for_how_long_in_words() -> None:
    ledger, clock = begun(group(A, B, passive=Passive(base_ejection=30.0)))
    for name in "ab":
        probe(ledger, clock, name)
    [effect] = ledger.apply(Reported(("demo", "a"), "connect"), clock.instant)
    assert isinstance(effect, Changed)
    assert (effect.reason, effect.detail) == ("connect_failures", "ejected for 30 s")


def test_a_group_that_is_the_very_same_keeps_its_records_while_another_changes() -> None:
    clock, ledger = Clock(), Ledger(lambda: 0.0)
    same, other = group(target("a"), target("b", ip="10.0.0.2")), group(target("c", ip="10.0.0.3"), name="other")
    ledger.adopt(snapshot(same, other), {}, clock.instant)
    probe(ledger, clock, "a")
    before = dict(ledger.records)
    assert ledger.adopt(snapshot(same, replace(other, max_connections=7)), {}, clock.go(1.0)) == []
    assert ledger.records == before
    assert ledger.records["other", "c"].group.max_connections == 7
    leaving = {("demo", "b"): clock.now + 5.0}
    (change,) = ledger.adopt(snapshot(same, other), leaving, clock.instant)
    assert isinstance(change, Changed) and change.new is State.DRAINING
    assert ledger.adopt(snapshot(same, other), {}, clock.go(1.0))  # it came back: that, too, is seen
    assert ledger.records["demo", "b"].state is State.UNKNOWN
