"""Failures that several workers saw of one target add up: within ten seconds, and with no answer in between."""

from __future__ import annotations

import pytest

from balancer.health.together import Together

Look = tuple[float, list[int], int]  # second, streak of each worker, answers ever


@pytest.mark.parametrize(
    ("what", "looks", "expected"),
    [
        (
            "one a worker",
            [(0, [1, 0, 0], 5), (3, [1, 1, 0], 5), (6, [1, 1, 1], 5)],
            [False, False, True],
        ),
        ("all at once", [(0, [1, 1, 1], 5)], [True]),
        ("two of one and one of another", [(0, [2, 0, 1], 5)], [True]),
        ("too few", [(0, [1, 1, 0], 5)], [False]),
        ("one worker judges for itself", [(0, [3, 0, 0], 5)], [False]),
        ("too long ago", [(0, [1, 0, 0], 5), (5, [1, 1, 0], 5), (11, [1, 1, 1], 5)], [False] * 3),
        ("an answer in between breaks them", [(0, [1, 1, 0], 5), (1, [1, 1, 0], 6), (2, [1, 1, 1], 6)], [False] * 3),
        (
            "after an answer they are counted anew",
            [(0, [1, 1, 0], 5), (1, [1, 1, 0], 6), (2, [2, 2, 1], 6)],
            [False, False, True],
        ),
        (
            "a streak that ended begins anew",
            [(0, [1, 1, 0], 5), (1, [0, 1, 0], 5), (2, [0, 1, 1], 5)],
            [False] * 3,
        ),
        ("what led to one ejection leads to no other", [(0, [1, 1, 1], 5), (1, [1, 1, 1], 5)], [True, False]),
    ],
)
def test_failures_add_up(what: str, looks: list[Look], expected: list[bool]) -> None:
    together = Together(3, 3)
    together.look([0, 0, 0], 5, -1.0)
    assert [together.look(streaks, answers, second) for second, streaks, answers in looks] == expected


def test_a_limit_that_is_off_ejects_nobody() -> None:
    assert not Together(0, 2).look([100, 100], 0, 1.0)


def test_it_is_quiet_once_every_streak_has_ended() -> None:
    together = Together(3, 2)
    together.look([1, 0], 0, 0.0)
    assert not together.quiet
    together.look([0, 0], 0, 1.0)
    assert together.quiet
