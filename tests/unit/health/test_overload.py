"""What share of requests a worker turns away as its loop runs late, and whom it gives up when its buffers are full."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from balancer.health.overload import MOST, Overload, excess, worst

WELL, LATE = 0.001, 0.3


def shares(seconds: Sequence[float]) -> tuple[list[int], list[bool]]:
    """Return the share after each second whose four turns were so late, and in which of them idle connections go."""
    overload = Overload(0.0)
    found: list[int] = []
    gone: list[bool] = []
    for number, late in enumerate(seconds):
        told = [overload.turned(late, number + quarter / 4) for quarter in range(1, 5)]
        found.append(overload.share)
        gone.append(any(told))
    return found, gone


@pytest.mark.parametrize(
    ("what", "seconds", "expected"),
    [
        ("well", [WELL] * 5, [0] * 5),
        ("late for a second", [WELL, LATE, WELL, WELL], [0] * 4),
        ("late for longer: idle connections, then a tenth more each second", [LATE] * 4, [0, 10, 20, 30]),
        ("and a tenth less each second", [LATE] * 4 + [WELL] * 4, [0, 10, 20, 30, 20, 10, 0, 0]),
        ("late again while it falls", [LATE] * 3 + [WELL] + [LATE] * 2, [0, 10, 20, 10, 20, 30]),
        ("late again after it was well", [LATE] * 2 + [WELL] * 2 + [LATE] * 2, [0, 10, 0, 0, 0, 10]),
        ("as late as may be", [0.1] * 3, [0] * 3),
    ],
)
def test_the_share_follows_the_lateness(what: str, seconds: list[float], expected: list[int]) -> None:
    assert shares(seconds)[0] == expected


def test_there_is_an_end_to_it() -> None:
    assert shares([LATE] * 20)[0][-1] == MOST


def test_idle_connections_go_first_and_as_long_as_it_lasts() -> None:
    assert shares([WELL, LATE, LATE, WELL])[1] == [False, True, True, False]


def test_half_of_the_turns_decide() -> None:
    overload = Overload(0.0)
    for now, late in enumerate([0.5, 0.5, 0.5, 0.001, 0.001, 0.001, 0.001], 1):
        overload.turned(late, now / 8)
    overload.turned(0.001, 1.0)
    assert overload.lag == 0.001 and overload.share == 0


def test_a_machine_that_slept_sheds_nothing() -> None:
    overload = Overload(0.0)
    assert not overload.turned(3600.0, 3600.0)
    for turn in range(1, 30):
        assert not overload.turned(WELL, 3600.0 + turn / 10)
    assert overload.share == 0


@pytest.mark.parametrize("share", [0, 10, 30, 50, 90])
def test_the_share_is_spread_evenly(share: int) -> None:
    overload = Overload(0.0)
    overload.share = share
    turned = [overload.turns_away() for _ in range(1000)]
    assert sum(turned) == share * 10
    assert all(abs(sum(turned[at : at + 100]) - share) <= 1 for at in range(0, 900, 37))


@pytest.mark.parametrize(
    ("total", "limit", "expected"), [(0, 100, 0), (100, 100, 0), (101, 100, 11), (10**9, 0, 0), (200, 100, 110)]
)
def test_over_the_limit_a_tenth_is_made_free(total: int, limit: int, expected: int) -> None:
    assert excess(total, limit) == expected


def test_those_go_who_have_kept_their_bytes_for_longest_and_no_more_than_must() -> None:
    holders = [("young", 30.0, 100), ("oldest", 1.0, 10), ("old", 2.0, 50), ("nobody's", float("inf"), 500)]
    assert worst(holders, 0) == []
    assert worst(holders, 5) == ["oldest"]
    assert worst(holders, 11) == ["oldest", "old"]
    assert worst(holders, 1000) == ["oldest", "old", "young", "nobody's"]
