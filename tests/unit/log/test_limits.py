"""A flood of one kind is cut, counted, and hides no other."""

from __future__ import annotations

from balancer.log.limits import MOST_KINDS, Limits


def test_ten_a_second_of_a_kind_are_admitted_and_the_rest_is_told_once() -> None:
    limits = Limits()
    assert [limits.admits("a", 100.0 + i / 100) for i in range(25)] == [True] * 10 + [False] * 15
    assert limits.admits("b", 100.5)
    assert limits.next() == 101.0
    assert limits.over(100.9) == []
    assert limits.over(101.0) == [("a", 15)]
    assert limits.next() is None
    assert limits.admits("a", 101.0)


def test_what_nobody_has_told_yet_is_not_forgotten_by_a_later_line() -> None:
    limits = Limits()
    for _ in range(12):
        limits.admits("a", 100.0)
    limits.admits("a", 105.0)
    assert limits.over(105.0) == [("a", 3)]


def test_a_slow_kind_is_never_cut() -> None:
    limits = Limits()
    assert all(limits.admits("a", 100.0 + i / 9) for i in range(200))


def test_kinds_without_end_share_one_limit() -> None:
    limits = Limits()
    admitted = sum(limits.admits(f"kind {i}", 100.0) for i in range(10_000))
    assert admitted == MOST_KINDS + 10
