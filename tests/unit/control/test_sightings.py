"""Control adds up what workers see of a target, from the board, and reads nothing while all is well."""

from __future__ import annotations

from dataclasses import replace

from balancer.board import layout, slots
from balancer.board.board import Board
from balancer.control.sightings import Sightings
from balancer.model.snapshot import Forward, Listener, Match, Passive, Rule, Snapshot
from tests.unit.control.scene import board, group, target

PASSIVE = Passive()
RULES = (Rule("rules[0]", Match(), Forward((("demo", 1),))),)


def snapshot(workers: int = 3, passive: Passive | None = PASSIVE) -> Snapshot:
    base = Snapshot(
        workers=workers,
        listeners=(Listener("web", "127.0.0.1:80", rules=RULES),),
        target_groups=(replace(group(target("a", "zone-a"), target("b", "zone-b")), passive=passive),),
    )
    return replace(base, slots=slots.assign(slots.keys(base), {}))


def failed(made: Board, running: Snapshot, place: int, *, connect: int = 0, gateway: int = 0, name: str = "a") -> None:
    """Let a worker have such streaks at a target."""
    cell = running.slots[f"target|demo|{name}"] + layout.TARGET_STREAKS
    made.row(place)[cell] = connect | gateway << layout.STREAK_BITS
    made.row_head(place)[layout.ROW_FAILED] += 1


def test_three_workers_with_a_failure_each_eject_by_it() -> None:
    running = snapshot()
    with board() as made:
        sightings = Sightings(made)
        for place in range(3):
            assert list(sightings.look(running, float(place))) == []
            failed(made, running, place, connect=1)
        assert list(sightings.look(running, 3.0)) == [(("demo", "a"), "connect")]
        assert list(sightings.look(running, 4.0)) == []


def test_kinds_are_counted_apart_and_each_by_its_limit() -> None:
    running = snapshot()
    with board() as made:
        sightings = Sightings(made)
        failed(made, running, 0, connect=1, gateway=2)
        failed(made, running, 1, connect=1, gateway=2)
        assert list(sightings.look(running, 1.0)) == []
        failed(made, running, 2, connect=0, gateway=1)
        assert list(sightings.look(running, 2.0)) == [(("demo", "a"), "gateway")]


def test_an_answer_that_another_worker_got_breaks_the_streaks() -> None:
    running = snapshot()
    with board() as made:
        sightings = Sightings(made)
        failed(made, running, 0, gateway=2)
        failed(made, running, 1, gateway=2)
        assert list(sightings.look(running, 1.0)) == []
        made.row(2)[running.slots["hits|web|demo|a"] + 1] += 1
        failed(made, running, 2, gateway=1)
        assert list(sightings.look(running, 2.0)) == []


def test_neither_one_worker_nor_a_group_without_passive_checks_is_looked_at() -> None:
    for running in (snapshot(workers=1), snapshot(passive=None)):
        with board() as made:
            sightings = Sightings(made)
            for place in range(3):
                failed(made, running, place, connect=5)
            assert list(sightings.look(running, 1.0)) == []
