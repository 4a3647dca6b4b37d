"""What stands on the board, and which zones are said to be lost."""

from __future__ import annotations

import logging

import pytest

from balancer.board import layout
from balancer.board.board import Board, group_at, state_at
from balancer.control.ledger import Ledger
from balancer.control.states import States, kept_on_board
from balancer.model.names import Evidence, ProbeResult, State, ZoneMode
from balancer.model.snapshot import Discover, Snapshot, Zones
from tests.unit.control.scene import Clock, board, group, probe, snapshot, target

A, B = target("a", "zone-a", "10.0.0.1"), target("b", "zone-b", "10.0.0.2")
BACKUP = Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("zone-a", "zone-b"), failback_delay=30.0, failback_ramp=30.0)


class Stage:
    def __init__(self, made: Board, zones: Zones | None = None) -> None:
        self.board, self.clock, self.ledger = made, Clock(), Ledger(lambda: 0.0)
        self.snapshot: Snapshot = snapshot(group(A, B, zones=zones))
        self.generations: list[int] = []
        self.states = States(made, self.generations.append)
        self.ledger.adopt(self.snapshot, {}, self.clock.instant)

    def write(self) -> None:
        self.states.write(self.snapshot, self.ledger, self.clock.instant)

    def shares(self) -> list[int]:
        at = group_at(self.snapshot.slots["group|demo"])
        count = self.board.cells[at + layout.GROUP_TIERS]
        return self.board.cells[at + layout.GROUP_SHARES : at + layout.GROUP_SHARES + count].tolist()


def test_the_board_says_what_the_ledger_knows() -> None:
    with board() as made:
        stage = Stage(made)
        probe(stage.ledger, stage.clock, "a")
        probe(stage.ledger, stage.clock, "b", ProbeResult.REFUSED, 3)
        stage.write()
        for name, state, evidence in (("a", State.HEALTHY, Evidence.NONE), ("b", State.UNHEALTHY, Evidence.HARD)):
            at = state_at(stage.snapshot.slots[f"state|demo|{name}"])
            cells = made.cells[at : at + 4].tolist()
            since = round(stage.ledger.records["demo", name].since.monotonic * 1000)
            assert cells == [state.code, evidence.code, since, 1000]


def test_nothing_is_written_where_nothing_changed() -> None:
    with board() as made:
        stage = Stage(made)
        stage.write()
        stage.write()
        assert stage.generations == [2]
        assert made.cells[layout.GENERATION] == 2


def test_a_generation_that_a_writer_left_odd_is_mended() -> None:
    with board() as made:
        made.cells[layout.GENERATION] = 7
        stage = Stage(made)
        stage.write()
        assert made.cells[layout.GENERATION] == 8


def test_traffic_leaves_a_tier_at_once_comes_back_late_and_a_new_control_does_not_hurry_it() -> None:
    with board() as made:
        stage = Stage(made, BACKUP)
        for name in "ab":
            probe(stage.ledger, stage.clock, name)
        stage.write()
        assert stage.shares() == [100, 0]
        probe(stage.ledger, stage.clock, "a", ProbeResult.REFUSED, 3)
        stage.write()
        assert stage.shares() == [0, 100]
        assert made.row(layout.CONTROL_PLACE)[stage.snapshot.slots["failovers|demo"]] == 1
        probe(stage.ledger, stage.clock, "a", times=2)
        stage.write()
        assert stage.shares() == [0, 100]
        stage.clock.go(20)
        stage.write()
        stage.states = States(made, stage.generations.append)  # control was killed and is back
        stage.write()
        assert stage.shares() == [0, 100]
        assert stage.states.restless(stage.ledger, stage.clock.now)
        for _ in range(61):
            stage.clock.go(1)
            stage.write()
        assert stage.shares() == [100, 0]
        assert not stage.states.restless(stage.ledger, stage.clock.now)


def test_a_zone_is_said_to_be_lost_and_regained_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "balancer")
    with board() as made:
        stage = Stage(made)
        stage.write()
        for name in "ab":
            probe(stage.ledger, stage.clock, name)
        for result, times in ((ProbeResult.REFUSED, 3), (ProbeResult.OK, 2)):
            for _ in range(times):
                probe(stage.ledger, stage.clock, "b", result)
                stage.write()
        assert [record.getMessage() for record in caplog.records] == ["zone was lost", "zone was regained"]


def test_panic_begins_and_ends_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "balancer")
    with board() as made:
        stage = Stage(made)
        for name in "ab":
            probe(stage.ledger, stage.clock, name, ProbeResult.TIMEOUT, 3)
        stage.write()
        assert made.cells[group_at(0) + layout.GROUP_PANIC] == 1
        for name in "ab":
            probe(stage.ledger, stage.clock, name, times=2)
        stage.write()
        assert made.cells[group_at(0) + layout.GROUP_PANIC] == 0
        said = [record.getMessage() for record in caplog.records if "panic" in record.getMessage()]
        assert said == ["panic began: unhealthy targets serve too", "panic ended"]


@pytest.mark.parametrize("apart", [0.25, 1.0, 3.7])
def test_a_slow_start_ends_with_the_whole_weight_on_the_board(apart: float) -> None:
    with board() as made:
        stage = Stage(made)
        stage.snapshot = snapshot(group(A, B, slow_start=10.0))
        stage.ledger.adopt(stage.snapshot, {}, stage.clock.instant)
        probe(stage.ledger, stage.clock, "a")
        probe(stage.ledger, stage.clock, "b", ProbeResult.REFUSED, 3)
        probe(stage.ledger, stage.clock, "b", times=2)
        stage.write()
        cell = state_at(stage.snapshot.slots["state|demo|b"]) + layout.FACTOR
        written = [made.cells[cell]]
        while stage.states.restless(stage.ledger, stage.clock.go(apart).monotonic):
            stage.write()
            written.append(made.cells[cell])
        assert (written[0], written[-1]) == (100, 1000)
        assert written == sorted(written) and len(written) >= 10 / apart - 1


def test_states_come_back_from_the_board() -> None:
    with board() as made:
        stage = Stage(made)
        probe(stage.ledger, stage.clock, "a")
        probe(stage.ledger, stage.clock, "b", ProbeResult.TIMEOUT, 3)
        stage.write()
        since = stage.ledger.records["demo", "b"].since
        kept = kept_on_board(made, stage.snapshot, stage.clock.go(100))
        assert (kept["demo", "a"].state, kept["demo", "b"].state) == (State.HEALTHY, State.UNHEALTHY)
        assert kept["demo", "b"].evidence is Evidence.SOFT
        assert kept["demo", "b"].since.monotonic == pytest.approx(since.monotonic, abs=0.01)
        assert kept["demo", "b"].since.wall == pytest.approx(since.wall, abs=0.01)


def test_a_tier_that_is_only_missing_is_none_for_the_workers() -> None:
    with board() as made:
        stage = Stage(made, Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("zone-a",)))
        found = (Discover("web", 8000, "zone-b"),)
        here, gone = target("web#1", "zone-a"), target("web#2", "zone-b", "10.0.0.2")
        zones = Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("zone-a",))
        for targets in ((here, gone), (here,)):
            stage.snapshot = snapshot(group(*targets, zones=zones, discover=found))
            stage.ledger.adopt(stage.snapshot, {}, stage.clock.instant)
            stage.write()
        assert [zone.zone for zone in stage.states.groups["demo"].assessment.zones] == ["zone-a", "zone-b"]
        assert stage.shares() == [100]


def test_only_the_groups_that_are_named_are_brought_up_to_date() -> None:
    with board() as made:
        stage = Stage(made)
        two = snapshot(group(A, B), group(target("c", ip="10.0.0.3"), name="other"))
        stage.snapshot = two
        stage.ledger.adopt(two, {}, stage.clock.instant)
        stage.write()
        probe(stage.ledger, stage.clock, "a")
        at = state_at(two.slots["state|demo|a"])
        stage.states.write(two, stage.ledger, stage.clock.instant, {"other"})
        assert made.cells[at + layout.STATE] == State.UNKNOWN.code
        assert set(stage.states.groups) == {"demo", "other"}
        stage.states.write(two, stage.ledger, stage.clock.instant, {"demo"})
        assert made.cells[at + layout.STATE] == State.HEALTHY.code
