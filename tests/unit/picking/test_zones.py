"""The tables of zone maths, row by row."""

from __future__ import annotations

import pytest

from balancer.model.names import Evidence, State, ZoneMode
from balancer.model.snapshot import Zones
from balancer.picking.zones import Standing, assess, members, share_out, tiers, zone_shares

H, K, U, E, D, X = State.HEALTHY, State.UNKNOWN, State.UNHEALTHY, State.EJECTED, State.DRAINING, State.DISABLED
BACKUP = Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("a", "b", "c"))


def zone(name: str, percent: int, size: int = 100, evidence: Evidence = Evidence.SOFT) -> list[Standing]:
    """Return `size` targets of which `percent` are healthy; slots are set by `place`."""
    well = size * percent // 100
    return [Standing(0, name, 1, H if i < well else U, Evidence.NONE if i < well else evidence) for i in range(size)]


def place(*zones: list[Standing]) -> list[Standing]:
    flat = [target for part in zones for target in part]
    return [Standing(i, t.zone, t.weight, t.state, t.evidence, t.missing) for i, t in enumerate(flat)]


TIER_ROWS = [  # ratios, scores, shares, tiers in panic
    ((100, 100, 100), (100, 100, 100), (100, 0, 0), ()),
    ((80, 100, 100), (100, 100, 100), (100, 0, 0), ()),
    ((72, 100, 100), (100, 100, 100), (100, 0, 0), ()),
    ((70, 100, 100), (98, 100, 100), (98, 2, 0), ()),
    ((60, 100, 100), (84, 100, 100), (84, 16, 0), ()),
    ((50, 100, 100), (70, 100, 100), (70, 30, 0), ()),
    ((25, 100, 100), (35, 100, 100), (35, 65, 0), ()),
    ((0, 100, 100), (0, 100, 100), (0, 100, 0), ()),
    ((50, 50, 100), (70, 70, 100), (70, 30, 0), ()),
    ((25, 25, 100), (35, 35, 100), (35, 35, 30), ()),
    ((25, 25, 20), (35, 35, 28), (36, 36, 28), (0, 1, 2)),
    ((5, 65), (7, 91), (7, 93), (0,)),
    ((0, 50), (0, 70), (0, 100), (0,)),
    ((0, 0, 0), (0, 0, 0), (100, 0, 0), (0, 1, 2)),
]


@pytest.mark.parametrize(
    ("ratios", "scores", "shares", "panic"), TIER_ROWS, ids=["/".join(map(str, row[0])) for row in TIER_ROWS]
)
def test_tiers_share_as_the_table_says(
    ratios: tuple[int, ...], scores: tuple[int, ...], shares: tuple[int, ...], panic: tuple[int, ...]
) -> None:
    order = ("a", "b", "c")[: len(ratios)]
    standings = place(*(zone(name, percent) for name, percent in zip(order, ratios)))
    result = assess(Zones(mode=ZoneMode.ACTIVE_BACKUP, order=order), standings)
    assert result.scores == scores
    assert result.shares == shares
    assert tuple(i for i, tier in enumerate(result.tiers) if tier.panic) == panic
    assert [tier.ratio for tier in result.tiers] == [ratio / 100 for ratio in ratios]
    assert result.panic is any(shares[i] for i in panic)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (100, (33.3, 33.3, 33.3)),
        (75, (27.3, 36.4, 36.4)),
        (50, (20.0, 40.0, 40.0)),
        (25, (11.1, 44.4, 44.4)),
        (10, (4.8, 47.6, 47.6)),
        (0, (0.0, 50.0, 50.0)),
    ],
)
def test_spread_gives_a_zone_what_its_healthy_targets_weigh(percent: int, expected: tuple[float, ...]) -> None:
    standings = place(zone("a", percent), zone("b", 100), zone("c", 100))
    result = assess(Zones(), standings)
    assert result.shares == (100,)
    parts = zone_shares(result, result.shares, standings)
    assert tuple(round(parts[name], 1) for name in "abc") == expected


def test_seven_of_ten_score_98_not_97() -> None:
    assert assess(BACKUP, place(zone("a", 70, size=10), zone("b", 100))).scores[0] == 98


def test_the_threshold_of_panic_may_be_zero_and_then_nobody_serves() -> None:
    zones = Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("a", "b"), panic_threshold=0)
    result = assess(zones, place(zone("a", 0), zone("b", 0)))
    assert result.shares == (0, 0)
    assert not result.panic
    assert all(tier.members == () for tier in result.tiers)


def test_one_healthy_of_two_hundred_serves_though_its_score_rounds_to_zero() -> None:
    targets = place([Standing(0, "a", 1, H)], zone("a", 0, size=199))
    result = assess(Zones(panic_threshold=0), targets)
    assert result.scores == (0,)
    assert result.shares == (100,)
    assert result.tiers[0].members == ((0, 1),)


def test_when_all_is_down_a_zone_that_still_listens_comes_before_one_where_nothing_does() -> None:
    hard = zone("a", 0, size=2, evidence=Evidence.HARD)
    result = assess(BACKUP, place(hard, zone("b", 0, size=2), zone("c", 0, size=2)))
    assert result.shares == (0, 100, 0)
    everywhere = place(hard, zone("b", 0, size=2, evidence=Evidence.HARD))
    assert assess(BACKUP, everywhere).shares == (100, 0, 0)


TIERS = [
    ("spread is one tier", Zones(), "abcab", (("a", "b", "c"),)),
    ("the local zone first", Zones(mode=ZoneMode.LOCAL_FIRST, local="b"), "abc", (("b",), ("a", "c"))),
    ("a backup next", Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("c", "a")), "abcd", (("c",), ("a",), ("b", "d"))),
    ("a named zone keeps its place while it is empty", BACKUP, "b", (("a",), ("b",), ("c",))),
    ("no target at all", Zones(), "", ((),)),
]


@pytest.mark.parametrize(("zones", "present", "expected"), [r[1:] for r in TIERS], ids=[r[0] for r in TIERS])
def test_zones_fall_into_tiers(zones: Zones, present: str, expected: tuple[tuple[str, ...], ...]) -> None:
    assert tiers(zones, list(present)) == expected


SOFT, HARD, NONE = Evidence.SOFT, Evidence.HARD, Evidence.NONE
PICKED = [  # (state, evidence, weight[, missing]) of slots 0, 1, …; panic; the slots that serve
    ("the healthy serve", [(H, NONE, 1), (H, NONE, 1)], False, [0, 1]),
    ("one that just came waits beside healthy ones", [(H, NONE, 1), (K, NONE, 1)], False, [0]),
    ("at a cold start the unknown serve at once", [(K, NONE, 1), (K, NONE, 1)], False, [0, 1]),
    ("the unknown before the unhealthy", [(U, SOFT, 1), (K, NONE, 1)], False, [1]),
    ("without panic nobody unhealthy serves", [(U, SOFT, 1), (E, SOFT, 1)], False, []),
    ("in panic the soft ones serve", [(U, SOFT, 1), (U, HARD, 1), (H, NONE, 1), (K, NONE, 1)], True, [0, 2, 3]),
    ("an ejected one counts as soft whatever its evidence", [(E, HARD, 1), (U, HARD, 1)], True, [0]),
    ("hard ones only when there is nobody else", [(U, HARD, 1), (U, HARD, 1)], True, [0, 1]),
    ("never draining or disabled ones", [(D, NONE, 1), (X, NONE, 1), (U, SOFT, 1)], True, [2]),
    ("never one of weight 0", [(H, NONE, 0), (U, HARD, 1)], True, [1]),
    ("never one that vanished", [(U, SOFT, 1, True), (H, NONE, 1, True)], True, []),
]


@pytest.mark.parametrize(("rows", "panic", "expected"), [r[1:] for r in PICKED], ids=[r[0] for r in PICKED])
def test_who_is_picked_from(rows: list[tuple[object, ...]], panic: bool, expected: list[int]) -> None:
    standings = [
        Standing(slot, "a", row[2], row[0], row[1], len(row) > 3)  # type: ignore[arg-type]
        for slot, row in enumerate(rows)
    ]
    assert [slot for slot, _ in members(standings, panic)] == expected


COUNTED = [  # targets of one zone; available, counted
    ("draining and disabled ones left on purpose", [(H, 1), (D, 1), (X, 1)], 1, 1),
    ("one that just came does not count", [(H, 1), (K, 1)], 1, 1),
    ("the unknown are all there is", [(K, 2), (K, 1)], 3, 3),
    ("unknown ones that serve count beside the unhealthy", [(K, 1), (U, 1)], 1, 2),
    ("weights count, not heads", [(H, 3), (U, 1)], 3, 4),
    ("one that vanished is missed", [(H, 1), (D, 1, True), (D, 1, True)], 1, 3),
    ("an ejected one is not available", [(H, 1), (E, 1)], 1, 2),
    ("an empty zone is worth nothing", [], 0, 0),
]


@pytest.mark.parametrize(("rows", "available", "counted"), [r[1:] for r in COUNTED], ids=[r[0] for r in COUNTED])
def test_what_counts_in_the_ratio(rows: list[tuple[object, ...]], available: int, counted: int) -> None:
    standings = [
        Standing(slot, "a", row[1], row[0], SOFT, len(row) > 2)  # type: ignore[arg-type]
        for slot, row in enumerate(rows)
    ]
    tier = assess(Zones(mode=ZoneMode.ACTIVE_BACKUP, order=("a",)), standings).tiers[0]
    assert (tier.available, tier.counted) == (available, counted)


def test_a_group_without_targets_is_not_in_panic() -> None:
    result = assess(Zones(), [])
    assert result.shares == (0,)
    assert not result.tiers[0].panic


def test_a_zone_says_how_many_of_its_targets_are_healthy() -> None:
    standings = [
        Standing(0, "a", 1, H),
        Standing(1, "a", 1, U, HARD),
        Standing(2, "a", 1, D, missing=True),
        Standing(3, "a", 1, D),
        Standing(4, "b", 1, K),
    ]
    first, second = assess(Zones(), standings).zones
    assert (first.zone, first.healthy, first.total, round(first.ratio, 3)) == ("a", 1, 3, 0.333)
    assert (second.zone, second.healthy, second.total, second.ratio) == ("b", 0, 1, 1.0)


def test_what_rounding_leaves_goes_to_the_first_tier_with_a_score() -> None:
    assert share_out((0, 33, 33, 33)) == (0, 34, 33, 33)
    assert share_out((0, 0)) == (0, 0)


@pytest.mark.parametrize("there", [(H,), (H, H), (H, State.DRAINING)])
def test_no_panic_while_all_that_are_there_are_healthy(there: tuple[State, ...]) -> None:
    standings = [Standing(slot, "a", 1, state) for slot, state in enumerate(there)]
    gone = [Standing(9 + slot, "a", 1, U, HARD, missing=True) for slot in range(5)]
    result = assess(Zones(), standings + gone)
    assert not result.panic and result.shares == (100,)
    assert result.zones[0].total >= 6  # the vanished count in the zone all the same
    assert assess(Zones(), [*standings, *gone, Standing(8, "a", 1, U, SOFT)]).panic
