"""What zone maths always keeps to."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from balancer.model.names import Evidence, State, ZoneMode
from balancer.model.snapshot import Zones
from balancer.picking.zones import Failback, Spreader, Standing, assess, share_out, zone_shares

NAMES = "abc"
ZONES = st.builds(
    Zones,
    mode=st.sampled_from(list(ZoneMode)),
    local=st.sampled_from(NAMES),
    order=st.sampled_from([("a",), ("b", "a"), ("a", "b", "c")]),
    overprovisioning_factor=st.integers(100, 1000),
    panic_threshold=st.integers(0, 100),
)
TARGET = st.builds(
    Standing,
    slot=st.just(0),
    zone=st.sampled_from(NAMES),
    weight=st.integers(0, 5),
    state=st.sampled_from(list(State)),
    evidence=st.sampled_from(list(Evidence)),
    missing=st.booleans(),
)
GROUP = st.lists(TARGET, max_size=12).map(lambda found: [replace(t, slot=slot) for slot, t in enumerate(found)])
SCORES = st.lists(st.integers(0, 100), min_size=1, max_size=5).map(tuple)


@given(ZONES, GROUP)
def test_shares_sum_up_to_all_or_nobody_can_serve(zones: Zones, group: list[Standing]) -> None:
    result = assess(zones, group)
    able = any(tier.members for tier in result.tiers)
    assert sum(result.shares) == (100 if able else 0)
    assert all(tier.members for tier in result.tiers if tier.share)
    parts = zone_shares(result, result.shares, group)
    assert abs(sum(parts.values()) - sum(result.shares)) < 1e-6
    assert all(part >= 0 for part in parts.values())
    assert {target.zone for target in group} <= set(parts)


@given(ZONES, GROUP)
def test_nobody_serves_who_must_not(zones: Zones, group: list[Standing]) -> None:
    for tier in assess(zones, group).tiers:
        for slot, weight in tier.members:
            target = group[slot]
            assert target.weight == weight > 0
            assert not target.missing
            assert target.state not in (State.DRAINING, State.DISABLED)
            assert tier.panic or target.state in (State.HEALTHY, State.UNKNOWN)


@given(ZONES, GROUP)
def test_no_tier_gets_more_than_it_can_carry_while_all_together_can(zones: Zones, group: list[Standing]) -> None:
    result = assess(zones, group)
    assert all(0 <= tier.ratio <= 1 for tier in result.tiers)
    if sum(result.scores) >= 100:
        assert all(tier.share <= tier.score and not tier.panic for tier in result.tiers)


SICK = st.sampled_from([State.UNHEALTHY, State.EJECTED])
KNOWN = TARGET.filter(lambda t: t.state is not State.UNKNOWN)  # these leave the count when a healthy one appears
WITH_A_SICK_ONE = st.tuples(
    st.builds(Standing, slot=st.just(0), zone=st.sampled_from(NAMES), weight=st.integers(1, 5), state=SICK),
    st.lists(KNOWN, max_size=8),
).map(lambda found: [replace(t, slot=slot) for slot, t in enumerate([found[0], *found[1]])])


@given(ZONES, WITH_A_SICK_ONE)
def test_a_target_that_recovers_never_takes_traffic_from_its_tier(zones: Zones, group: list[Standing]) -> None:
    before = assess(zones, group)
    after = assess(zones, [replace(group[0], state=State.HEALTHY), *group[1:]])
    index = next(i for i, tier in enumerate(before.tiers) if group[0].zone in tier.zones)
    assert after.scores[index] >= before.scores[index]
    if any(before.scores):  # else the last resort had it all, which is no share by health
        assert after.shares[index] >= before.shares[index] - 1  # one for the rounding


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 20))
def test_spread_with_all_healthy_is_by_weight(sizes: list[int], weight: int) -> None:
    group = [
        Standing(slot, zone, weight, State.HEALTHY)
        for slot, zone in enumerate(zone for zone, size in zip(NAMES, sizes) for _ in range(size))
    ]
    parts = zone_shares(assess(Zones(), group), (100,), group)
    for zone, size in zip(NAMES, sizes):
        assert abs(parts[zone] - 100 * size / sum(sizes)) < 1e-9


@given(SCORES)
def test_shares_follow_scores(scores: tuple[int, ...]) -> None:
    shares = share_out(scores)
    assert sum(shares) == (100 if any(scores) else 0)
    assert all(share == 0 for share, score in zip(shares, scores) if score == 0)


@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(st.integers(0, 100), min_size=n, max_size=n), min_size=1)),
    st.lists(st.floats(0.1, 100), min_size=1),
    st.floats(0, 60),
    st.floats(0, 60),
)
def test_failback_never_leaves_traffic_where_it_cannot_be_carried(
    rounds: list[list[int]], waits: list[float], delay: float, ramp: float
) -> None:
    failback, now = Failback(delay, ramp), 0.0
    for turn, scores in enumerate(rounds):
        now += waits[turn % len(waits)]
        raw = share_out(scores)
        shares = failback.step(raw, now, tuple(scores))
        assert sum(shares) == sum(raw)
        assert all(share >= 0 for share in shares)
        if sum(scores) >= 100:
            assert all(share <= score for share, score in zip(shares, scores))
            if len(scores) > 1:
                assert shares[0] <= raw[0]  # the first tier never gets more than it should
    # whatever happened, it ends with the raw shares once nothing changes for long enough
    for _ in range(3):
        now += 1300.0
        shares = failback.step(raw, now, tuple(scores))
    assert shares == raw
    assert failback.settled


@given(st.floats(1, 60), st.floats(1, 60), st.lists(st.floats(0.1, 20), min_size=5, max_size=40))
def test_a_ramp_only_rises(delay: float, ramp: float, waits: list[float]) -> None:
    failback, now = Failback(delay, ramp), 0.0
    failback.step((100, 0), now, (100, 100))
    failback.step((0, 100), now, (0, 100))
    firsts = []
    for wait in waits:
        firsts.append(failback.step((100, 0), now, (100, 100))[0])
        if now < delay:
            assert firsts[-1] == 0
        now += wait
    assert all(earlier <= later for earlier, later in pairwise(firsts))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=4), st.integers(1, 400))
def test_requests_are_spread_as_the_shares_say(scores: list[int], count: int) -> None:
    shares = share_out(scores)
    spreader = Spreader(shares)
    picks = [spreader.pick() for _ in range(count)]
    if not any(shares):
        assert set(picks) == {None}
        return
    for index, share in enumerate(shares):
        assert abs(picks.count(index) - count * share / 100) < len(shares)
