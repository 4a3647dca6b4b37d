"""A drill: whether it may begin, when it must end, and what its report says."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from balancer.board import layout
from balancer.board.board import Board
from balancer.board.histogram import EDGES, bucket
from balancer.control.drill import judge
from balancer.control.drill.course import SETTLE, Course, End, Stage, Wish
from balancer.control.drill.judge import Part
from balancer.control.drill.readings import Reading, between, percentile, together
from balancer.control.drill.report import cut_off, report
from balancer.control.drill.shelf import Shelf
from balancer.model.names import Evidence, State, ZoneMode
from balancer.model.snapshot import Zones
from balancer.picking.zones import Standing, assess
from tests.unit.control.scene import board

SPREAD = Zones()
BACKUP = Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("a", "b"))
STATES = {
    "h": (State.HEALTHY, Evidence.NONE),
    "u": (State.UNHEALTHY, Evidence.HARD),
    "d": (State.DRAINING, Evidence.NONE),  # by the operator
    "l": (State.DRAINING, Evidence.NONE),  # it leaves: scaled down
    "?": (State.UNKNOWN, Evidence.NONE),
}


def part(zones: Zones = SPREAD, active: int = 0, most: int = 0, name: str = "demo", **by_zone: str) -> Part:
    """Return a group: `a="hhu"` are three targets in zone a."""
    standings = [(zone, *STATES[letter]) for zone, letters in by_zone.items() for letter in letters]
    made = [Standing(slot, zone, 1, state, evidence) for slot, (zone, state, evidence) in enumerate(standings)]
    letters = "".join(by_zone.values())
    out = frozenset(slot for slot, letter in enumerate(letters) if letter == "d")
    return Part(name, zones, tuple(made), active, most, out)


MAY = [
    ("one of three zones, all well", part(a="hh", b="hh", c="hh"), ""),
    ("one of two zones", part(a="hh", b="hh"), ""),
    ("the only zone", part(a="hh"), "demo: a is its only zone"),
    ("the rest is down", part(a="hh", b="uu"), "demo: the rest would carry 0 of 100: 0 of 2 of its weight (b 0/2)"),
    ("half of the rest is down", part(a="hh", b="hu"), "the rest would carry 70 of 100: 1 of 2 of its weight (b 1/2)"),
    ("a third of the rest is down, which is a little too much", part(a="h", b="hhu"), "carry 93 of 100"),
    ("a quarter of it is", part(a="h", b="hh", c="hu"), ""),
    ("the rest is drained", part(a="hh", b="dd"), "the rest would carry 0 of 100: 0 of 2 of its weight (b 0/2; 2 of"),
    (
        "one of two other zones is drained",
        part(a="hh", b="hh", c="dd"),
        "carry 70 of 100: 2 of 4 of its weight (b 2/2, c",
    ),
    ("one of four others is drained", part(a="hh", b="hh", c="hd"), ""),
    ("one of two others leaves for good", part(a="hh", b="hl"), ""),
    ("the first of two tiers", part(BACKUP, a="hhhh", b="h"), ""),
    ("the second of two tiers, the first is half down", part(BACKUP, a="hu", b="hh"), "carry 70 of 100"),
    ("more runs than the rest takes", part(a="h", b="h", active=11, most=10), "11 requests run and the rest takes 10"),
    ("it takes just that", part(a="h", b="h", active=10, most=10), ""),
]


@pytest.mark.parametrize(("one", "why"), [row[1:] for row in MAY], ids=[row[0] for row in MAY])
def test_a_drill_is_refused_where_the_rest_could_not_carry_the_load(one: Part, why: str) -> None:
    found = judge.refusals([one], "a" if one.zones is not BACKUP or "carry" not in why else "b")
    assert (why in found[0]) if why else (found == ())


def test_each_group_that_has_the_zone_has_its_say() -> None:
    parts = [part(a="h", b="h"), part(name="shop", a="h"), part(name="other", b="h")]
    assert [one.name for one in judge.affected(parts, "a", None)] == ["demo", "shop"]
    assert [one.name for one in judge.affected(parts, "a", "demo")] == ["demo"]
    assert judge.refusals(judge.affected(parts, "a", None), "a") == ("shop: a is its only zone",)


RAIL = [
    ("all as before", part(a="hh", b="hh", c="hh"), frozenset(), ""),
    ("a second zone is lost", part(a="h", b="hhhh", c="u"), frozenset(), "demo: c was lost too"),
    ("it was lost before", part(a="h", b="hhhh", c="u"), frozenset({("demo", "c")}), ""),
    ("the rest is too weak", part(a="h", b="hu"), frozenset(), "demo: the rest would carry 70 of 100"),
]


@pytest.mark.parametrize(("one", "lost", "why"), [row[1:] for row in RAIL], ids=[row[0] for row in RAIL])
def test_the_guard_rail_watches_the_zones(one: Part, lost: frozenset[tuple[str, str]], why: str) -> None:
    found = judge.crossed([one], "a", lost)
    assert found.startswith(why) if why else found == ""


FAILED = [
    ("nothing fails", 1000, 0, 0.0, 1.0, False),
    ("two are no trend", 5, 2, 0.0, 1.0, False),
    ("three of a hundred", 100, 3, 0.0, 1.0, True),
    ("no more than before", 100, 3, 0.03, 1.0, False),
    ("as much more as may", 1000, 40, 0.03, 1.0, False),
    ("a little above", 1000, 41, 0.03, 1.0, True),
    ("nothing may", 1000, 3, 0.0, 0.0, True),
    ("no requests", 0, 3, 0.0, 1.0, False),
]


@pytest.mark.parametrize(
    ("requests", "failed", "before", "most", "over"), [row[1:] for row in FAILED], ids=[row[0] for row in FAILED]
)
def test_the_guard_rail_watches_failures(requests: int, failed: int, before: float, most: float, over: bool) -> None:
    assert bool(judge.too_many_failed(requests, failed, before, most)) is over


@pytest.mark.parametrize("zones", [SPREAD, BACKUP])
def test_a_drilled_zone_is_down_for_certain_and_panic_does_not_use_it(zones: Zones) -> None:
    standings = [Standing(slot, "a" if slot < 4 else "b", 1, State.HEALTHY, drilled=slot < 4) for slot in range(5)]
    found = assess(zones, standings)
    assert {slot for tier in found.tiers for slot, _ in tier.members} == {4}
    assert [(one.zone, one.healthy, one.total) for one in found.zones] == [("a", 0, 4), ("b", 1, 1)]
    alone = assess(zones, [one for one in standings if one.drilled])
    assert not any(tier.members for tier in alone.tiers)


def buckets(*seconds: float) -> tuple[int, ...]:
    counts = Counter(bucket(one) for one in seconds)
    return tuple(counts[index] for index in range(len(EDGES) + 1))


PERCENTILES = [
    ("nothing", (), 99, None),
    ("one bucket, its middle", (0.002,) * 100, 50, 1.75),
    ("one bucket, nearly its end", (0.002,) * 100, 99, 2.485),
    ("most in the first", (0.0001,) * 99 + (0.8,), 50, 0.253),
    ("the last one counts", (0.0001,) * 98 + (0.8,) * 2, 99, 750.0),
    ("above every edge", (100.0,), 99, 60000.0),
]


@pytest.mark.parametrize(
    ("seconds", "percent", "expected"), [row[1:] for row in PERCENTILES], ids=[row[0] for row in PERCENTILES]
)
def test_a_percentile_is_that_of_the_histogram(
    seconds: tuple[float, ...], percent: float, expected: float | None
) -> None:
    found = percentile(buckets(*seconds), percent)
    assert found == (None if expected is None else pytest.approx(expected, rel=0.01))


def reading(at: float, a: int = 0, b: int = 0, *, active: int = 0, errors: int = 0, cut: int = 0) -> Reading:
    """Return a reading: so many requests finished in zones a and b, each within 2 ms; `active` run in a."""
    reasons = Counter({"response_truncated": cut} if cut else {})
    return Reading(at, errors, reasons, buckets(*(0.002,) * (a + b)), Counter(a=a, b=b), Counter(a=active))


def test_what_lies_between_two_readings() -> None:
    phase = between(reading(10, 100, 100, errors=5), reading(20, 130, 170, errors=6, cut=2))
    assert (phase.seconds, phase.requests, phase.failures) == (10, 100, 3)
    assert phase.zones == {"a": 30.0, "b": 70.0}
    assert phase.reasons == {"response_truncated": 2}
    assert phase.p50_ms is not None and 1 < phase.p50_ms < 2.5


@pytest.mark.parametrize(
    "reason", ["target_removed", "request_timeout", "internal_error", "connect_refused", "response_truncated"]
)
def test_a_failure_counts_once_whether_it_was_answered_or_cut(reason: str) -> None:
    assert Reading(1.0, reasons=Counter({reason: 3})).failed == 3


@pytest.mark.parametrize("reason", ["client_closed", "client_body_timeout", "budget", "rescue", "idle_timeout"])
def test_what_a_client_did_or_a_request_survived_is_no_failure(reason: str) -> None:
    assert Reading(1.0, reasons=Counter({reason: 3})).failed == 0


def test_readings_of_several_groups_add_up() -> None:
    whole = together([reading(1, 1, 2, active=3, errors=4), reading(1, 10, 20, active=30, cut=1)])
    assert (whole.requests, whole.failed, whole.started("a")) == (33, 5, 44)


def course(**wish: Any) -> Course:
    asked = Wish("a", seconds=10.0, before=5.0, **wish)
    return Course("d1", asked, ("demo",), 60.0, {"demo": reading(0)}, {"demo": 50.0}, 1_700_000_000.0)


def step(drill: Course, one: Reading, share: float = 50.0, **more: Any) -> None:
    drill.advance({"demo": one}, shares={"demo": share}, **more)


def test_a_drill_from_its_beginning_to_its_report() -> None:
    drill = course()
    step(drill, reading(4, 40, 40))
    assert drill.stage is Stage.BEFORE
    step(drill, reading(5, 50, 50, active=2))
    assert drill.stage is Stage.RUNNING
    step(drill, reading(5.2, 51, 52, active=3), 0)  # two more were on their way
    step(drill, reading(6, 54, 60), 0)
    step(drill, reading(14.9, 54, 148), 0)
    assert drill.stage is Stage.RUNNING
    step(drill, reading(15, 54, 150), 0)
    assert (drill.stage, drill.end) == (Stage.RETURNING, End.TIME_OVER)
    step(drill, reading(15.3, 54, 152, active=1), 20)
    step(drill, reading(17, 60, 160), 50)
    step(drill, reading(15 + SETTLE, 90, 190), 50)
    assert drill.stage is Stage.DONE
    told = report(drill)
    assert (told["left_s"], told["empty_s"], told["back_s"], told["share_back_s"]) == (0.2, 1.0, 0.3, 2.0)
    phases = told["phases"]
    assert [phases[name]["requests"] for name in ("before", "during", "after")] == [100, 104, 76]
    assert [phases[name]["seconds"] for name in ("before", "during", "after")] == [5, 10, SETTLE]
    assert phases["during"]["zones"] == {"a": 3.8, "b": 96.2}
    assert told["target_groups"][0]["phases"] == phases
    assert told["began_at"] == "2023-11-14T22:13:25.000Z"
    assert told["summary"] == "a was failed for 10 s until its time was over: 104 requests, 0 failed"


def running() -> Course:
    drill = course()
    step(drill, reading(5, 500, 500))
    return drill


ENDS = [
    ("the operator stops it", {"stop": True}, reading(6, 500, 600), End.STOPPED),
    ("the zones are in trouble", {"trouble": "demo: b was lost too"}, reading(6, 500, 600), End.GUARD_RAIL),
    ("too much fails", {}, reading(6, 500, 600, errors=5), End.GUARD_RAIL),
    ("answers are cut", {}, reading(6, 500, 600, cut=5), End.GUARD_RAIL),
]


@pytest.mark.parametrize(("more", "seen", "end"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_a_drill_ends_before_its_time(more: dict[str, Any], seen: Reading, end: End) -> None:
    drill = running()
    step(drill, seen, **more)
    assert (drill.stage, drill.end) == (Stage.RETURNING, end)
    assert (end is End.GUARD_RAIL) is bool(drill.detail)


def test_only_the_failures_of_the_last_seconds_count() -> None:
    drill = running()
    step(drill, reading(5.5, 500, 1500, errors=2))
    step(drill, reading(12, 500, 2000, errors=2))
    step(drill, reading(14, 500, 2100, errors=4))
    assert drill.stage is Stage.RUNNING


@pytest.mark.parametrize("more", [{"stop": True}, {"trouble": "demo: the rest would carry 0 of 100"}])
def test_a_drill_that_did_not_begin_fails_nothing(more: dict[str, Any]) -> None:
    drill = course()
    step(drill, reading(1, 10, 10), **more)
    assert (drill.stage, drill.began) == (Stage.DONE, None)
    told = report(drill)
    assert told["phases"]["during"] is None
    assert told["summary"].startswith("a was not failed")


def test_a_return_that_never_ends_is_not_watched_for_ever() -> None:
    drill = running()
    step(drill, reading(6, 500, 600), stop=True)
    step(drill, reading(65.9, 500, 6000), 10)
    assert drill.stage is Stage.RETURNING
    step(drill, reading(66, 500, 6000), 10)
    assert drill.stage is Stage.DONE
    assert report(drill)["share_back_s"] is None


def test_a_report_whose_control_was_lost_says_so() -> None:
    ended = cut_off(report(running()))
    assert (ended["stage"], ended["end"]) == ("done", "control_lost")
    assert cut_off(ended) is ended


def test_the_last_twenty_reports_are_kept_newest_first() -> None:
    with board() as made:
        shelf = Shelf(made)
        for number in range(25):
            shelf.put({"id": f"d{number}", "target_groups": [], "left_out": 0})
        shelf.put({"id": "d24", "target_groups": [], "left_out": 0, "stage": "done"})
        kept = Shelf(made).reports()
        assert [one["id"] for one in kept] == [f"d{number}" for number in range(24, 4, -1)]
        assert kept[0]["stage"] == "done"


def test_a_report_that_has_no_room_leaves_groups_out() -> None:
    with board() as made:
        shelf = Shelf(made)
        noise = random.Random(1)
        groups = [{"name": f"{noise.getrandbits(64):x}"} for _ in range(4000)]
        shelf.put({"id": "d1", "target_groups": groups, "left_out": 0})
        kept = shelf.reports()[0]
        assert 0 < len(kept["target_groups"]) == 4000 - kept["left_out"] < 4000


def test_a_room_that_a_writer_left_half_written_is_empty() -> None:
    with board() as made:
        Shelf(made).put({"id": "d1", "target_groups": [], "left_out": 0})
        spoil(made)
        assert Shelf(made).reports() == []


def spoil(made: Board) -> None:
    made.cells[layout.DRILLS_AT + layout.DRILL_TEXT] = 0
