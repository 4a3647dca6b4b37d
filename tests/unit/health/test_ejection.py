"""Who is ejected, for how long, and never too many."""

from __future__ import annotations

import pytest

from balancer.health.ejection import Ejector, Streaks, may_eject
from balancer.model.snapshot import Passive

STREAKS = [  # c connect failed, g gateway failed, a number: a response with that status; ejected at the last step?
    ("three connects fail in a row", "c c c", True),
    ("two do not eject", "c c", False),
    ("a response breaks the streak of connects", "c c 200 c c", False),
    ("any response shows that it can be reached", "c c 404 c c", False),
    ("five gateway failures in a row", "g g g g g", True),
    ("statuses of a gateway count", "502 503 504 502 503", True),
    ("and mix with failures", "g 502 g 503 g", True),
    ("a success breaks the streak", "g g g g 200 g", False),
    ("a 500 is not of the kind", "g g g g 500 g", False),
    ("a 4xx neither counts nor breaks", "g g g g 404 g", True),
    ("a thousand times 4xx", "404 " * 1000, False),
    ("ordinary 5xx do not eject", "500 " * 20, False),
    ("connects and gateway failures are counted apart", "c g c g g g", False),
    ("failures go on ejecting until it is done", "c c c c", True),
]


@pytest.mark.parametrize(("steps", "expected"), [r[1:] for r in STREAKS], ids=[r[0] for r in STREAKS])
def test_streaks(steps: str, expected: bool) -> None:
    assert feed(Streaks(Passive()), steps) is expected


def feed(streaks: Streaks, steps: str) -> bool:
    ejected = False
    for word in steps.split():
        if word == "c":
            ejected = streaks.connect_failed()
        elif word == "g":
            ejected = streaks.gateway_failed()
        else:
            ejected = streaks.responded(int(word))
    return ejected


def test_5xx_count_where_that_is_asked_for() -> None:
    assert feed(Streaks(Passive(consecutive_5xx=3)), "500 g 501")
    assert not feed(Streaks(Passive(consecutive_5xx=3)), "500 500 204 500")


def test_a_limit_of_zero_is_off() -> None:
    streaks = Streaks(Passive(consecutive_connect_failures=0, consecutive_gateway_failures=0))
    assert not feed(streaks, "c " * 50 + "g " * 50)
    assert not feed(streaks, "c")


def test_a_target_that_came_back_begins_anew() -> None:
    streaks = Streaks(Passive())
    feed(streaks, "c c c")
    streaks.reset()
    assert not feed(streaks, "c c")


MAY = [  # ejected, total, others, panic, percent
    ("half of four", 1, 4, 2, False, 50, True),
    ("not more than half of four", 2, 4, 1, False, 50, False),
    ("one of two", 0, 2, 1, False, 50, True),
    ("one of three", 0, 3, 2, False, 50, True),
    ("at least one, whatever the percentage", 0, 5, 4, False, 10, True),
    ("never the last available", 0, 1, 0, False, 50, False),
    ("never the last available, others are unhealthy", 0, 4, 0, False, 50, False),
    ("never in panic", 0, 10, 3, True, 50, False),
    ("all but one", 8, 10, 1, False, 100, True),
]


@pytest.mark.parametrize(
    ("ejected", "total", "others", "panic", "percent", "expected"), [r[1:] for r in MAY], ids=[r[0] for r in MAY]
)
def test_how_many_may_be_ejected(
    ejected: int, total: int, others: int, panic: bool, percent: int, expected: bool
) -> None:
    assert may_eject(Passive(max_ejected_percent=percent), ejected, total, others, panic) is expected


def test_each_ejection_is_longer_up_to_the_cap() -> None:
    ejector, now, lengths = Ejector(Passive(), lambda: 0.0), 0.0, []
    for _ in range(12):
        until = ejector.eject("a", now, by_connect=True)
        lengths.append(round(until - now))
        now = until
        assert ejector.due(now) == ["a"]
        ejector.ended("a", now)
    assert lengths == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_up_to_a_tenth_is_added_at_random() -> None:
    assert Ejector(Passive(), lambda: 0.5).eject("a", 100.0, by_connect=True) == pytest.approx(131.5)


def test_time_without_ejection_is_forgiven() -> None:
    ejector = Ejector(Passive(), lambda: 0.0)
    now = 0.0
    for _ in range(3):
        now = ejector.eject("a", now, by_connect=True)
        ejector.ended("a", now)
    assert [ejector.times("a", now + after) for after in (0, 29, 31, 61, 91, 500)] == [3, 3, 2, 1, 0, 0]
    assert ejector.eject("a", now + 61, by_connect=True) == now + 61 + 60


def test_a_second_worker_does_not_prolong_an_ejection() -> None:
    ejector = Ejector(Passive(), lambda: 0.0)
    assert ejector.eject("a", 0.0, by_connect=True) == ejector.eject("a", 5.0, by_connect=True) == 30.0
    assert ejector.times("a", 5.0) == 1


def test_good_probes_end_only_an_ejection_for_connects() -> None:
    ejector = Ejector(Passive(), lambda: 0.0)
    ejector.eject("gone", 0.0, by_connect=True)
    ejector.eject("sick", 0.0, by_connect=False)
    assert not ejector.ends_early("gone", 1, 2)
    assert ejector.ends_early("gone", 2, 2)
    assert not ejector.ends_early("sick", 9, 2)
    assert not ejector.ends_early("never ejected", 9, 2)
    ejector.ended("gone", 3.0)
    assert not ejector.ends_early("gone", 9, 2)
    assert ejector.due(100.0) == ["sick"]


def test_who_is_gone_never_comes_back() -> None:
    ejector = Ejector(Passive(), lambda: 0.0)
    ejector.eject("a", 0.0, by_connect=True)
    ejector.eject("b", 10.0, by_connect=True)
    ejector.forget("a")
    assert ejector.due(39.9) == []
