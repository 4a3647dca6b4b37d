"""The states of a target and what moves it."""

from __future__ import annotations

import pytest

from balancer.health.machine import TRANSITIONS, Event, step
from balancer.model.names import State

PROMISES = [
    ("a first good verdict makes a target healthy", "unknown", "passed", "healthy"),
    ("a first bad verdict takes it out", "unknown", "failed", "unhealthy"),
    ("one bad run takes a target out", "healthy", "failed", "unhealthy"),
    ("one good run brings it back", "unhealthy", "passed", "healthy"),
    ("failing traffic ejects", "healthy", "eject", "ejected"),
    ("failing traffic ejects one not yet probed", "unknown", "eject", "ejected"),
    ("an ejected target comes back as healthy", "healthy", "eject readmit", "healthy"),
    ("a good probe does not shorten an ejection", "ejected", "passed", "ejected"),
    ("a bad run has precedence over an ejection", "ejected", "failed readmit", "unhealthy"),
    ("what is unhealthy is not ejected too", "unhealthy", "eject", "unhealthy"),
    ("a good probe does not end a drain", "draining", "passed", "draining"),
    ("nothing but enabling ends a drain", "draining", "failed eject readmit drain", "draining"),
    ("undraining asks for proof of health", "draining", "enable", "unknown"),
    ("a disabled target stays disabled", "disabled", "passed drain failed", "disabled"),
    ("a drained target can be disabled", "draining", "disable", "disabled"),
    ("enabling asks for proof of health", "disabled", "enable passed", "healthy"),
    ("enabling what is enabled changes nothing", "healthy", "enable", "healthy"),
    ("readmitting what is not ejected changes nothing", "unknown", "readmit", "unknown"),
]


@pytest.mark.parametrize(("before", "events", "after"), [r[1:] for r in PROMISES], ids=[r[0] for r in PROMISES])
def test_a_target_moves_as_promised(before: str, events: str, after: str) -> None:
    state = State(before)
    for event in events.split():
        state = step(state, Event(event))
    assert state is State(after)


def test_every_state_answers_every_event() -> None:
    assert {state: set(row) for state, row in TRANSITIONS.items()} == {state: set(Event) for state in State}
