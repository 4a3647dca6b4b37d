"""What policies always keep to."""

from __future__ import annotations

from collections import Counter
from math import gcd

from hypothesis import given
from hypothesis import strategies as st

from balancer.model.names import PolicyName
from balancer.picking.least_conn import LeastConn
from balancer.picking.policy import make
from balancer.picking.retry import exclusions
from balancer.picking.round_robin import LONGEST_CYCLE, RoundRobin, Turns, cycle
from balancer.picking.view import View

WEIGHTS = st.lists(st.integers(1, 40), min_size=1, max_size=8)
PHASE = st.floats(0, 0.999)


def view_of(weights: list[int]) -> View:
    return View(tuple(range(len(weights))), tuple(weights))


@given(WEIGHTS, PHASE, st.integers(0, 300))
def test_round_robin_is_never_a_whole_pick_ahead_of_a_share(weights: list[int], phase: float, count: int) -> None:
    order, total = cycle(weights), sum(weights)
    start = int(phase * len(order))
    policy = RoundRobin(lambda: phase)
    policy.update(view_of(weights))
    seen = [policy.pick(()) for _ in range(count)]
    assert seen == [order[(start + turn) % len(order)] for turn in range(count)]
    from_zero = Counter[int]()
    for turn in range(1, len(order) + 1):
        from_zero[order[turn - 1]] += 1
        ahead = [from_zero[i] - turn * weight / total for i, weight in enumerate(weights)]
        # Never a whole pick ahead; equals that wait for one another may be a little more than one behind.
        assert all(-2 < picks < 1 for picks in ahead)
        assert len(weights) > 2 or min(ahead) >= -1
    assert all(from_zero[i] * total == len(order) * weight for i, weight in enumerate(weights))


@given(WEIGHTS, PHASE, st.integers(1, 3))
def test_round_robin_is_exact_over_whole_cycles_from_any_start(weights: list[int], phase: float, laps: int) -> None:
    policy = RoundRobin(lambda: phase)
    policy.update(view_of(weights))
    turns = sum(weights) // gcd(*weights)
    seen = Counter(policy.pick(()) for _ in range(turns * laps))
    assert seen == {i: weight // gcd(*weights) * laps for i, weight in enumerate(weights)}


@given(st.lists(st.integers(300, 700), min_size=3, max_size=4).filter(lambda w: sum(w) // gcd(*w) > LONGEST_CYCLE))
def test_weights_without_a_kept_cycle_are_shared_as_well(weights: list[int]) -> None:
    policy = RoundRobin(lambda: 0.0)
    policy.update(view_of(weights))
    seen = Counter(policy.pick(()) for _ in range(sum(weights)))
    assert seen == dict(enumerate(weights))


@given(
    st.lists(st.sampled_from([1, 2, 3, 5, 100, 370]), min_size=1, max_size=9),
    st.lists(st.sets(st.integers(0, 8), max_size=5), max_size=60),
    st.data(),
)
def test_turns_are_those_of_the_plain_algorithm_whatever_was_tried(
    weights: list[int], tries: list[set[int]], data: st.DataObject
) -> None:
    credits = data.draw(st.lists(st.integers(-50, 50), min_size=len(weights), max_size=len(weights)))
    turns = Turns(view_of(weights), dict(enumerate(credits)))
    for tried in tries:
        open_to = [index for index in range(len(weights)) if index not in tried]
        for index in open_to:
            credits[index] += weights[index]
        plain = max(open_to, key=lambda index: (credits[index], -index), default=None)
        if plain is not None:
            credits[plain] -= sum(weights[index] for index in open_to)
        assert turns.pick_beside(tried) == plain
        assert turns.credits() == dict(enumerate(credits))


@given(WEIGHTS, st.lists(st.sets(st.integers(0, 7)), max_size=60), PHASE)
def test_first_picks_are_the_same_whatever_is_retried_between_them(
    weights: list[int], retries: list[set[int]], phase: float
) -> None:
    for unit in (1, 997):  # with a cycle, and without
        view = view_of([weight * unit + (unit > 1) * index for index, weight in enumerate(weights)])
        plain, disturbed = RoundRobin(lambda: phase), RoundRobin(lambda: phase)
        for policy in (plain, disturbed):
            policy.update(view)
        for tried in retries:
            assert plain.pick(()) == disturbed.pick(())
            if tried:
                disturbed.pick(tried)


@given(WEIGHTS, st.data())
def test_retries_around_one_target_share_by_weight(weights: list[int], data: st.DataObject) -> None:
    failed = data.draw(st.integers(0, len(weights) - 1))
    policy = RoundRobin(lambda: 0.0)
    policy.update(view_of(weights))
    rest = sum(weights) - weights[failed]
    seen = Counter(policy.pick({failed}) for _ in range(rest))
    expected = {i: weight for i, weight in enumerate(weights) if i != failed}
    assert seen == (expected or {})


@given(
    st.sampled_from(list(PolicyName)),
    st.dictionaries(st.integers(0, 30), st.integers(1, 1000), max_size=10),
    st.sets(st.integers(0, 30)),
    PHASE,
)
def test_a_pick_is_an_untried_target_of_the_view_if_there_is_one(
    name: PolicyName, targets: dict[int, int], tried: set[int], phase: float
) -> None:
    policy = make(name, lambda slot: slot % 5, lambda: phase)
    policy.update(View(tuple(targets), tuple(targets.values())))
    for exclude in ((), tried, frozenset(tried), list(tried)):
        open_to = set(targets) - set(exclude)
        slot = policy.pick(exclude)
        assert slot in open_to if open_to else slot is None


@given(
    st.sampled_from(list(PolicyName)),
    st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, 300), max_size=6), min_size=1, max_size=8),
    PHASE,
)
def test_a_policy_lives_through_any_change_of_rotation(
    name: PolicyName, views: list[dict[int, int]], phase: float
) -> None:
    policy = make(name, lambda _: 0, lambda: phase)
    for targets in views:
        policy.update(View(tuple(targets), tuple(targets.values())))
        for tried in ((), (0, 1), ()):
            slot = policy.pick(tried)
            assert slot in set(targets) - set(tried) or (slot is None and set(targets) <= set(tried))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=10), st.integers(1, 30))
def test_least_conn_never_picks_one_with_more_work_for_its_weight(targets: list[tuple[int, int]], picks: int) -> None:
    active = [work for work, _ in targets]
    weights = [weight for _, weight in targets]
    policy = LeastConn(active.__getitem__, lambda: 0.0)
    policy.update(view_of(weights))
    for _ in range(picks):
        slot = policy.pick(())
        assert slot is not None
        mine = (active[slot] + 1) / weights[slot]
        assert all(mine <= (work + 1) / weight + 1e-9 for work, weight in zip(active, weights))
        active[slot] += 1


@given(st.integers(1, 8), st.integers(1, 40))
def test_least_conn_gives_idle_equals_their_turn(count: int, picks: int) -> None:
    policy = LeastConn(lambda _: 0, lambda: 0.0)
    policy.update(view_of([1] * count))
    seen = Counter(policy.pick(()) for _ in range(picks))
    assert max(seen.values()) - min([*seen.values()] if len(seen) == count else [0]) <= 1


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.data())
def test_a_retry_prefers_a_zone_that_has_not_failed_and_ends(zone_of: list[str], data: st.DataObject) -> None:
    slots = list(range(len(zone_of)))
    tier = data.draw(st.lists(st.sampled_from(slots), unique=True))
    tried: set[int] = set()
    for _ in range(len(tier)):
        exclude = next(iter(exclusions(tried, zone_of, tier)))
        choice = data.draw(st.sampled_from([slot for slot in tier if slot not in exclude]))
        failed_zones = {zone_of[slot] for slot in tried}
        fresh = [slot for slot in tier if zone_of[slot] not in failed_zones]
        assert choice not in tried
        assert not fresh or choice in fresh
        tried.add(choice)
    assert exclusions(tried, zone_of, tier) == ()
