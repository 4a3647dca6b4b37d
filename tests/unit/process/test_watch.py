"""When a child counts as stuck, and how long its successor waits."""

from __future__ import annotations

import pytest

from balancer.process.watch import FIRST_TICKS, SILENT_TICKS, TICK, YOUNG, Backoff, Pulse, Ticks


def test_a_child_that_beat_once_is_stuck_after_four_seconds_awake() -> None:
    pulse = Pulse(7)
    assert not pulse.stopped(8)
    verdicts = [pulse.stopped(8) for _ in range(SILENT_TICKS)]
    assert verdicts == [False] * (SILENT_TICKS - 1) + [True]
    assert pulse.silence == 4.0


def test_a_child_has_thirty_seconds_for_its_first_beat() -> None:
    pulse = Pulse(7)
    verdicts = [pulse.stopped(7) for _ in range(FIRST_TICKS)]
    assert verdicts == [False] * (FIRST_TICKS - 1) + [True]
    assert pulse.silence == 30.0


def test_any_change_is_a_beat() -> None:
    pulse = Pulse(0)
    for beat in (5, 3, 0, 9) * 10:
        assert not pulse.stopped(beat)
        assert not any(pulse.stopped(beat) for _ in range(SILENT_TICKS - 1))


def test_time_asleep_is_one_tick() -> None:
    ticks = Ticks(100.0)
    assert not ticks.due(100.0 + TICK - 0.01)
    assert ticks.due(100.0 + TICK)
    assert ticks.due(4000.0)  # it slept for an hour: one tick
    assert not ticks.due(4000.0)
    assert not ticks.due(4000.0 + TICK - 0.01)
    assert ticks.next == 4000.0 + TICK


LIVES = [
    ("the first death costs nothing", [1.0], 0.0),
    ("the second in a row waits", [1.0, 1.0], 0.1),
    ("then twice as long each", [0.0, 0.0, 0.0, 0.0], 0.4),
    ("but never above five seconds", [0.0] * 50, 5.0),
    ("who lived long had been well", [0.0, 0.0, 0.0, YOUNG], 0.0),
    ("and those before it are forgotten", [0.0, 0.0, 0.0, YOUNG, 0.0, 0.0], 0.1),
]


@pytest.mark.parametrize(("lives", "delay"), [row[1:] for row in LIVES], ids=[row[0] for row in LIVES])
def test_who_dies_young_is_replaced_ever_later(lives: list[float], delay: float) -> None:
    backoff = Backoff()
    delays = [backoff.after(life) for life in lives]
    assert delays[-1] == pytest.approx(delay)
