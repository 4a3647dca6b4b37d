"""Traffic leaves a tier at once and comes back late and slowly."""

from __future__ import annotations

import pytest

from balancer.picking.slow_start import factor
from balancer.picking.zones import Failback, Spreader, share_out

WELL = (100, 100)


def step(failback: Failback, now: float, *scores: int) -> tuple[int, ...]:
    return failback.step(share_out(scores), now, scores)


def failed_over() -> Failback:
    failback = Failback(30.0, 30.0)
    assert step(failback, 0.0, *WELL) == (100, 0)
    assert step(failback, 10.0, 0, 100) == (0, 100)
    return failback


def test_traffic_leaves_at_once() -> None:
    failback = Failback(30.0, 30.0)
    step(failback, 0.0, *WELL)
    assert step(failback, 1.0, 70, 100) == (70, 30)
    assert step(failback, 2.0, 0, 100) == (0, 100)
    assert failback.settled


@pytest.mark.parametrize(
    ("after", "first"), [(0, 0), (29.9, 0), (30, 0), (37.5, 25), (45, 50), (59.9, 99), (60, 100), (99, 100)]
)
def test_traffic_comes_back_after_the_delay_along_a_ramp(after: float, first: int) -> None:
    failback = failed_over()
    assert step(failback, 20.0, *WELL) == (0, 100)
    assert not failback.settled
    assert step(failback, 20.0 + after, *WELL) == (first, 100 - first)
    assert failback.settled is (first == 100)


def test_a_relapse_starts_the_wait_anew() -> None:
    failback = failed_over()
    step(failback, 20.0, *WELL)
    assert step(failback, 40.0, 0, 100) == (0, 100)
    step(failback, 41.0, *WELL)
    assert step(failback, 70.0, *WELL) == (0, 100)
    assert step(failback, 86.0, *WELL) == (50, 50)


def test_a_relapse_on_the_ramp_is_followed_at_once() -> None:
    failback = failed_over()
    step(failback, 20.0, *WELL)
    assert step(failback, 65.0, *WELL) == (50, 50)
    assert step(failback, 66.0, 35, 100) == (35, 65)


def test_without_delay_and_ramp_it_is_at_once() -> None:
    failback = Failback(0.0, 0.0)
    step(failback, 0.0, *WELL)
    step(failback, 1.0, 0, 100)
    assert step(failback, 1.0, *WELL) == (100, 0)
    assert failback.settled


def test_without_ramp_all_comes_back_when_the_delay_is_over() -> None:
    failback = Failback(30.0, 0.0)
    step(failback, 0.0, *WELL)
    step(failback, 1.0, 0, 100)
    assert step(failback, 2.0, *WELL) == (0, 100)
    assert step(failback, 32.0, *WELL) == (100, 0)


def test_when_the_backup_fails_while_traffic_is_held_there_it_goes_back_at_once() -> None:
    failback = failed_over()
    assert step(failback, 20.0, *WELL) == (0, 100)
    assert step(failback, 21.0, 100, 0) == (100, 0)


def test_a_backup_that_grows_weak_gives_back_what_it_cannot_carry() -> None:
    failback = failed_over()
    assert step(failback, 20.0, *WELL) == (0, 100)
    assert step(failback, 21.0, 100, 70) == (30, 70)
    assert step(failback, 22.0, *WELL) == (0, 100)


def test_a_third_tier_takes_over_before_the_first_is_disturbed() -> None:
    failback = Failback(30.0, 30.0)
    step(failback, 0.0, 100, 100, 100)
    step(failback, 1.0, 0, 100, 100)
    assert step(failback, 2.0, 100, 100, 100) == (0, 100, 0)
    assert step(failback, 3.0, 100, 70, 100) == (0, 70, 30)


def test_a_failover_to_a_later_tier_is_no_move_back() -> None:
    failback = Failback(30.0, 30.0)
    step(failback, 0.0, 100, 0, 100)
    step(failback, 1.0, 100, 100, 100)
    assert step(failback, 2.0, 0, 100, 100) == (0, 100, 0)


def test_when_all_are_needed_nothing_is_held_back() -> None:
    failback = failed_over()
    assert step(failback, 11.0, 0, 0) == (0, 0)
    assert step(failback, 12.0, 0, 50) == (0, 100)
    assert step(failback, 13.0, 35, 50) == share_out((35, 50))


def test_one_tier_has_nothing_to_fail_back() -> None:
    failback = Failback(30.0, 30.0)
    assert step(failback, 0.0, 100) == (100,)
    assert step(failback, 1.0, 20) == (100,)
    assert failback.settled


def test_another_number_of_tiers_starts_anew() -> None:
    failback = failed_over()
    assert step(failback, 20.0, 100, 100, 100) == (100, 0, 0)


def held_for(failback: Failback, start: float) -> float:
    """Return how long traffic is held from `start`, when the tier recovers, to its first percent (1 s steps)."""
    now = start
    while step(failback, now, *WELL)[0] == 0:
        now += 1.0
    return now - start


def test_a_tier_that_flaps_waits_longer_each_time_and_is_forgiven_in_time() -> None:
    failback = Failback(30.0, 1.0)
    step(failback, 0.0, *WELL)
    waits, now = [], 0.0
    for _ in range(6):
        now += 5.0
        step(failback, now, 0, 100)
        now += 5.0
        waits.append(round(held_for(failback, now)))
        now += waits[-1]
    assert waits == [31, 31, 31, 61, 121, 241]
    now += 700.0
    step(failback, now, *WELL)
    step(failback, now + 1.0, 0, 100)
    assert round(held_for(failback, now + 2.0)) == 31


def test_the_wait_never_exceeds_ten_minutes() -> None:
    failback = Failback(30.0, 1.0)
    now = 0.0
    for _ in range(100):
        step(failback, now, *WELL)
        step(failback, now + 1.0, 0, 100)
        now += 2.0
    step(failback, now, *WELL)
    assert step(failback, now + 601.0, *WELL) == (100, 0)


def test_seventy_to_thirty_is_seven_of_any_ten() -> None:
    spreader = Spreader((70, 30))
    picks = [spreader.pick() for _ in range(1000)]
    assert all(picks[i : i + 10].count(0) == 7 for i in range(990))


def test_a_tier_without_a_share_gets_nothing() -> None:
    spreader = Spreader((0, 100, 0))
    assert {spreader.pick() for _ in range(10)} == {1}
    spreader.update((50, 50, 0))
    assert [spreader.pick() for _ in range(4)].count(1) == 2
    spreader.update((0, 0, 0))
    assert spreader.pick() is None
    spreader.update((0, 30, 70))
    assert [spreader.pick() for _ in range(10)].count(1) == 3


def test_what_is_owed_stays_owed_while_shares_move() -> None:
    spreader = Spreader((100, 0))
    picks = []
    for percent in range(100):  # one request a step, as on a ramp at low traffic
        spreader.update((100 - percent, percent))
        picks.append(spreader.pick())
    assert 49 <= picks.count(1) <= 50


@pytest.mark.parametrize(
    ("age", "window", "aggression", "expected"),
    [
        (0.0, 10.0, 1.0, 0.1),
        (0.5, 10.0, 1.0, 0.1),
        (5.0, 10.0, 1.0, 0.5),
        (2.5, 10.0, 2.0, 0.5),
        (10.0, 10.0, 1.0, 1.0),
        (99.0, 10.0, 1.0, 1.0),
        (0.0, 0.0, 1.0, 1.0),
        (-1.0, 10.0, 1.0, 0.1),
    ],
)
def test_a_target_that_comes_back_gets_its_weight_by_and_by(
    age: float, window: float, aggression: float, expected: float
) -> None:
    assert factor(age, window, aggression) == pytest.approx(expected)
