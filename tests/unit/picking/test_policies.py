"""What each policy promises, pick by pick."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from balancer.model.names import PolicyName
from balancer.picking.least_conn import LeastConn
from balancer.picking.policy import make
from balancer.picking.round_robin import RoundRobin, cycle
from balancer.picking.spread import Spread
from balancer.picking.view import View


def start() -> float:
    return 0.0


def always(value: float) -> Callable[[], float]:
    return lambda: value


def round_robin(*weights: int, random: Callable[[], float] = start) -> RoundRobin:
    policy = RoundRobin(random)
    policy.update(View(tuple(range(len(weights))), weights))
    return policy


def least_conn(active: dict[int, int], *weights: int, random: Callable[[], float] = start) -> LeastConn:
    policy = LeastConn(lambda slot: active.get(slot, 0), random)
    policy.update(View(tuple(range(len(weights))), weights))
    return policy


def picks(policy: RoundRobin | LeastConn, count: int, tried: tuple[int, ...] = ()) -> str:
    return "".join("-" if (slot := policy.pick(tried)) is None else "abcdefghij"[slot] for _ in range(count))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((5, 1, 1), "aabacaa"), ((4, 2, 1), "abacaba"), ((1, 1, 1), "abcabc"), ((10, 20), "babbab"), ((7,), "aaa")],
)
def test_heavy_targets_are_picked_smoothly(weights: tuple[int, ...], expected: str) -> None:
    assert picks(round_robin(*weights), len(expected)) == expected


@pytest.mark.parametrize("offset", range(9))
def test_five_three_one_is_exact_over_ninety_from_any_start(offset: int) -> None:
    policy = round_robin(5, 3, 1, random=always(offset / 9))
    assert Counter(picks(policy, 90)) == {"a": 50, "b": 30, "c": 10}


def test_workers_do_not_all_begin_with_the_first_target() -> None:
    assert {picks(round_robin(1, 1, 1, random=always(r)), 1) for r in (0.0, 0.4, 0.9)} == set("abc")
    heavy = (1000, 999, 998)  # no cycle kept
    assert {picks(round_robin(*heavy, random=always(r)), 1) for r in (0.0, 0.4, 0.9)} == set("abc")
    many = (1,) * 1999 + (2,)
    assert len({round_robin(*many, random=always(r / 100)).pick(()) for r in range(100)}) > 90


@pytest.mark.parametrize("last", [1, 2, 37], ids=["equal weights", "one heavier", "one that starts slowly"])
@pytest.mark.parametrize("update", ["first", "another"])
def test_ten_thousand_targets_are_taken_in_hand_without_looking_at_each_for_each(last: int, update: str) -> None:
    count = 10_000
    policy = RoundRobin(always(0.99))
    if update == "another":
        policy.update(View(tuple(range(count)), (100,) * (count - 1) + (last + 1,)))
        policy.pick({0})
    began = time.process_time()
    policy.update(View(tuple(range(count)), (100,) * (count - 1) + (last * 100,)))
    for slot in range(100):
        policy.pick(())
        policy.pick({slot})
    assert time.process_time() - began < 0.5  # it took 17 s to begin, and 2 ms a pick


def test_a_retry_takes_an_untried_target_and_leaves_the_turns_of_others_alone() -> None:
    policy = round_robin(5, 3, 1)
    first, retried = Counter[str](), Counter[str]()
    for _ in range(90):
        slot = picks(policy, 1)
        first[slot] += 1
        if slot == "a":
            retried[picks(policy, 1, tried=(0,))] += 1
    assert first == {"a": 50, "b": 30, "c": 10}
    assert retried["a"] == 0
    assert 36 <= retried["b"] <= 39  # 3 of 4 of fifty


def test_retries_from_different_targets_do_not_starve_the_third() -> None:
    policy = round_robin(1, 1, 1)
    retried = Counter(picks(policy, 1, tried=((0,), (1,))[turn % 2]) for turn in range(90))
    assert min(retried.values()) >= 20
    assert set(retried) == set("abc")


@pytest.mark.parametrize("zone", [4, 60], ids=["a few were tried", "a whole zone was"])
def test_retries_in_a_large_group_are_shared_by_weight(zone: int) -> None:
    weights = (1,) * 60 + (1, 3) * 60
    policy = round_robin(*weights, random=Random(7).random)
    seen = Counter(policy.pick(range(zone)) for _ in range(4000))
    assert not set(seen) & set(range(zone))
    light, heavy = (sum(seen[slot] for slot in range(60 + odd, 180, 2)) for odd in (0, 1))
    assert heavy / light == pytest.approx(3.0, rel=0.15)
    assert policy.pick(range(180)) is None


def test_no_target_is_left_when_all_were_tried() -> None:
    assert round_robin(1, 2).pick((0, 1)) is None
    assert least_conn({}, 1, 2).pick({0, 1}) is None


@pytest.mark.parametrize("name", list(PolicyName))
def test_a_policy_without_targets_picks_nothing(name: PolicyName) -> None:
    policy = make(name, lambda _: 0, start)
    assert policy.pick(()) is None
    policy.update(View((4, 9), (1, 1)))
    assert {policy.pick(()), policy.pick(())} == {4, 9}
    policy.update(View())
    assert policy.pick(()) is None


def test_weights_too_varied_for_a_kept_cycle_are_exact_all_the_same() -> None:
    weights = (1000, 999, 3)
    assert Counter(picks(round_robin(*weights), sum(weights))) == {"a": 1000, "b": 999, "c": 3}


def test_a_changed_rotation_goes_on_where_the_last_was() -> None:
    policy = round_robin(1, 1, 1, 1)
    assert picks(policy, 2) == "ab"
    policy.update(View((0, 1, 3), (1, 1, 1)))
    assert picks(policy, 3) == "dab"


def test_one_pick_per_change_of_weights_does_not_stay_at_one_target() -> None:
    policy = round_robin(100, 100, 10)
    seen = Counter[str]()
    for weight in range(11, 100):
        policy.update(View((0, 1, 2), (100, 100, weight)))
        seen[picks(policy, 1)] += 1
    assert seen["a"] > 20
    assert seen["b"] > 20
    assert seen["c"] > 5


def test_an_equal_rotation_changes_nothing() -> None:
    policy = round_robin(1, 1, 1)
    assert picks(policy, 1) == "a"
    policy.update(View((0, 1, 2), (1, 1, 1)))
    assert picks(policy, 2) == "bc"


@pytest.mark.parametrize("weights", [(1,), (1, 1), (5, 1, 1), (3, 3, 2, 2, 1), (10, 20, 30), (7, 3, 7, 3), (128, 1)])
def test_the_quick_cycle_is_the_plain_algorithm(weights: tuple[int, ...]) -> None:
    credits, total, plain = [0] * len(weights), sum(weights), []
    for _ in range(total):
        credits = [credit + weight for credit, weight in zip(credits, weights)]
        best = credits.index(max(credits))
        credits[best] -= total
        plain.append(best)
    quick = cycle(weights)
    assert list(quick) * (total // len(quick)) == plain


LEAST = [  # in flight, weights, tried, the picks when nothing finishes
    ("idle ones take turns", {}, (1, 1, 1), (), "abc"),
    ("the least busy first", {0: 2, 1: 0, 2: 1}, (1, 1, 1), (), "b"),
    ("work is divided by the weight", {0: 3, 1: 1}, (4, 1), (), "a"),
    ("an idle light one does not beat an idle heavy one", {}, (1, 3), (), "b"),
    ("a busy heavy one gives way", {0: 5, 1: 0}, (3, 1), (), "b"),
    ("what was tried is left out", {0: 0, 1: 9, 2: 9}, (1, 1, 1), (0,), "b"),
]


@pytest.mark.parametrize(("active", "weights", "tried", "expected"), [r[1:] for r in LEAST], ids=[r[0] for r in LEAST])
def test_least_conn(active: dict[int, int], weights: tuple[int, ...], tried: tuple[int, ...], expected: str) -> None:
    assert picks(least_conn(active, *weights), len(expected), tried) == expected


def test_least_conn_goes_on_after_the_last_pick_when_the_rotation_changes() -> None:
    policy = least_conn({}, 1, 1, 1)
    assert picks(policy, 2) == "ab"
    policy.update(View((1, 2, 3), (1, 1, 1)))
    assert picks(policy, 3) == "cdb"


def test_a_weighted_forward_of_nine_to_one_is_exact_over_a_thousand() -> None:
    for offset in range(10):
        spread = Spread((("shop", 9), ("canary", 1)), always(offset / 10))
        assert Counter(spread.pick() for _ in range(1000)) == {0: 900, 1: 100}


def test_a_forward_skips_a_group_that_has_no_target_and_one_of_weight_0() -> None:
    spread = Spread((("a", 1), ("b", 0), ("c", 1)), start)
    assert {spread.pick() for _ in range(4)} == {0, 2}
    assert {spread.pick({2}) for _ in range(4)} == {0}
    assert spread.pick({0, 2}) is None
    only = Spread((("a", 1), ("b", 0)), start)
    assert only.pick() == 0
    assert only.pick({0}) is None
