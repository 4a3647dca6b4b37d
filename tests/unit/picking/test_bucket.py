"""A bucket gives what it holds, then what comes back in time, to one writer or to several."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.model.snapshot import RateLimit
from balancer.picking.bucket import SECOND, Bucket

START = 5 * SECOND


class Model:
    """The rule as it is written down: tokens = min(burst, tokens + rate × Δt)."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit, self.tokens, self.last = limit, float(limit.burst), START

    def take(self, now: int) -> bool:
        self.tokens = min(self.limit.burst, self.tokens + self.limit.rate * (now - self.last) / SECOND)
        self.last = now
        if self.tokens < 1 - 1e-6:
            return False
        self.tokens -= 1
        return True


@given(
    st.sampled_from([0.5, 1.0, 3.0, 100.0]),
    st.integers(1, 20),
    st.lists(st.integers(0, 3 * SECOND), max_size=60),
)
def test_one_number_says_what_tokens_say(rate: float, burst: int, gaps: list[int]) -> None:
    limit = RateLimit(rate, burst)
    bucket, model, full, now = Bucket(limit), Model(limit), 0, START
    for gap in gaps:
        now += gap
        left = model.tokens + rate * (now - model.last) / SECOND
        full, wait = bucket.take(full, now)
        if abs(min(burst, left) - 1) > 1e-4:  # at the very edge the two round apart
            assert (wait == 0) is model.take(now)
        elif wait == 0:
            model.tokens, model.last = left - 1, now
        else:
            model.tokens, model.last = left, now


@pytest.mark.parametrize(("rate", "burst"), [(100.0, 200), (1.0, 1), (0.1, 3), (1000.0, 1)])
def test_at_first_the_burst_then_the_rate(rate: float, burst: int) -> None:
    bucket, full, taken = Bucket(RateLimit(rate, burst)), 0, 0
    span = round(20 * SECOND / rate)
    for now in range(START, START + span, span // 5_000):
        full, wait = bucket.take(full, now)
        taken += wait == 0
    assert taken == pytest.approx(burst + 20, abs=1)


def test_who_is_told_to_wait_gets_a_token_then_and_none_before() -> None:
    bucket, full = Bucket(RateLimit(0.1, 2)), 0
    full, _ = bucket.take(full, START)
    full, _ = bucket.take(full, START)
    same, wait = bucket.take(full, START)
    assert (same, wait) == (full, 10 * SECOND)
    assert bucket.take(full, START + wait - 1)[1] == 1
    assert bucket.take(full, START + wait)[1] == 0


def test_several_writers_share_what_there_is() -> None:
    bucket, chance = Bucket(RateLimit(100.0, 200)), random.Random(1)
    rows = [0, 0, 0, 0]
    taken, now = 0, START
    while now < START + 10 * SECOND:
        now += chance.randrange(SECOND // 500)
        row = chance.randrange(len(rows)) if now % SECOND < SECOND // 2 else 0  # now spread, now all at one
        full, wait = bucket.take(max(rows), now)
        if not wait:
            rows[row] = full
            taken += 1
    assert taken == pytest.approx(200 + 1000, abs=2)


def test_a_full_bucket_is_no_fuller_after_a_year() -> None:
    bucket = Bucket(RateLimit(1.0, 5))
    full, now, granted = 0, START + 365 * 86400 * SECOND, 0
    for _ in range(10):
        full, wait = bucket.take(full, now)
        granted += wait == 0
    assert granted == 5
    waits = [bucket.take(full, now + step * SECOND)[1] for step in range(3)]
    assert all(later < sooner for sooner, later in pairwise(waits) if sooner)
