"""Runs of probes and the time to the next."""

from __future__ import annotations

import pytest

from balancer.health.machine import step
from balancer.health.thresholds import Thresholds
from balancer.model.names import State
from balancer.model.snapshot import HealthCheck

CHECK = HealthCheck(interval=5.0, fast_interval=1.0, unhealthy_interval=4.0, unhealthy_threshold=3, healthy_threshold=2)

RUNS = [  # state, probes (+ good, - bad), states after each by first letter: k unknown, h, u unhealthy, e
    ("the first success makes it healthy", "unknown", "+", "h"),
    ("unknown fails only after the threshold", "unknown", "---", "kku"),
    ("one failure between successes changes nothing", "healthy", "-+-+", "hhhh"),
    ("two failures change nothing", "healthy", "--+--+", "hhhhhh"),
    ("three in a row take it out", "healthy", "---", "hhu"),
    ("two successes bring it back", "unhealthy", "++", "uh"),
    ("a failure starts the count anew", "unhealthy", "+-++", "uuuh"),
    ("an ejected one does not come back by probes", "ejected", "+++", "eee"),
    ("an ejected one fails by probes", "ejected", "---", "eeu"),
    ("a draining one stays so", "draining", "---+", "dddd"),
]


@pytest.mark.parametrize(("before", "probes", "after"), [r[1:] for r in RUNS], ids=[r[0] for r in RUNS])
def test_runs_of_probes(before: str, probes: str, after: str) -> None:
    thresholds, state, seen = Thresholds(CHECK), State(before), ""
    for probe in probes:
        event = thresholds.count(probe == "+", state)
        state = step(state, event) if event else state
        seen += "k" if state is State.UNKNOWN else state[0]
    assert seen == after


DELAYS = [  # state, probes, seconds
    ("a new target", "unknown", "", 1.0),
    ("one that is still unknown", "unknown", "-", 1.0),
    ("a healthy one", "healthy", "+", 5.0),
    ("the first failure of a healthy one", "healthy", "-", 1.0),
    ("an unhealthy one", "unhealthy", "-", 4.0),
    ("the first success of an unhealthy one", "unhealthy", "+", 1.0),
    ("an ejected one", "ejected", "", 1.0),
    ("a failure of an ejected one", "ejected", "-", 1.0),
    ("the first success of an ejected one", "ejected", "+", 1.0),
    ("an ejected one that only waits", "ejected", "++", 5.0),
    ("a draining one", "draining", "-", 5.0),
    ("a healthy one under a new check", "healthy", "", 1.0),
]


@pytest.mark.parametrize(("state", "probes", "seconds"), [r[1:] for r in DELAYS], ids=[r[0] for r in DELAYS])
def test_which_interval_applies(state: str, probes: str, seconds: float) -> None:
    thresholds = Thresholds(CHECK)
    for probe in probes:
        thresholds.count(probe == "+", State(state))
    assert thresholds.next_delay(State(state), 0.0) == seconds
    assert seconds * 0.9 <= thresholds.next_delay(State(state), 0.999) < seconds


@pytest.mark.parametrize(
    ("check", "hanging", "bound"),
    [
        (HealthCheck(), False, 7.0),
        (HealthCheck(), True, 13.0),
        (HealthCheck(interval=2.0, timeout=1.0, fast_interval=1.0, unhealthy_interval=2.0), True, 7.0),
    ],
)
@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
def test_a_failure_is_noticed_within_its_bound(check: HealthCheck, hanging: bool, bound: float, random: float) -> None:
    thresholds, state, now = Thresholds(check), State.HEALTHY, 0.0
    thresholds.count(True, state)  # and at that very moment the target fails
    while state is State.HEALTHY:
        now += thresholds.next_delay(state, random) + (check.timeout if hanging else 0.0)
        event = thresholds.count(False, state)
        state = step(state, event) if event else state
    assert now <= bound


def test_successes_before_an_ejection_do_not_count_for_its_end() -> None:
    thresholds = Thresholds(CHECK)
    for _ in range(5):
        thresholds.count(True, State.HEALTHY)
    thresholds.count(True, State.EJECTED)
    assert thresholds.passes == 1


def test_a_reset_begins_a_new_run() -> None:
    thresholds = Thresholds(CHECK)
    for _ in range(9):
        thresholds.count(False, State.DRAINING)
    thresholds.reset()
    assert [thresholds.count(False, State.UNKNOWN) for _ in range(2)] == [None, None]
