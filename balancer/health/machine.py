"""The states of a target and every way from one to another.

Rule 1: no other module assigns a state. Rule 2: the table is total (each state answers each event, if only by staying),
so one row tells all that can happen there. Rule 3: PASSED and FAILED are verdicts of `thresholds`, not single probes.

An ejected target ignores good probes (they pass while requests fail) but not bad ones: a probe that fails has
precedence, so nothing is ejected and unhealthy at once. A target that leaves the configuration or a name drains.
"""

from __future__ import annotations

from enum import StrEnum

from balancer.model.names import State


class Event(StrEnum):
    """What can happen to a target."""

    PASSED = "passed"  # enough probes passed
    FAILED = "failed"  # enough probes failed
    EJECT = "eject"  # its traffic failed
    READMIT = "readmit"  # its ejection is over
    DRAIN = "drain"  # no new work: asked for, or it left the configuration
    DISABLE = "disable"
    ENABLE = "enable"  # undrain too; asks for proof of health


_UNKNOWN, _HEALTHY, _UNHEALTHY, _EJECTED, _DRAINING, _DISABLED = State

_ROWS = {  #     PASSED      FAILED      EJECT       READMIT     DRAIN      DISABLE    ENABLE
    _UNKNOWN:   (_HEALTHY,   _UNHEALTHY, _EJECTED,   _UNKNOWN,   _DRAINING, _DISABLED, _UNKNOWN),
    _HEALTHY:   (_HEALTHY,   _UNHEALTHY, _EJECTED,   _HEALTHY,   _DRAINING, _DISABLED, _HEALTHY),
    _UNHEALTHY: (_HEALTHY,   _UNHEALTHY, _UNHEALTHY, _UNHEALTHY, _DRAINING, _DISABLED, _UNHEALTHY),
    _EJECTED:   (_EJECTED,   _UNHEALTHY, _EJECTED,   _HEALTHY,   _DRAINING, _DISABLED, _EJECTED),
    _DRAINING:  (_DRAINING,  _DRAINING,  _DRAINING,  _DRAINING,  _DRAINING, _DISABLED, _UNKNOWN),
    _DISABLED:  (_DISABLED,  _DISABLED,  _DISABLED,  _DISABLED,  _DISABLED, _DISABLED, _UNKNOWN),
}  # fmt: skip

TRANSITIONS: dict[State, dict[Event, State]] = {
    state: dict(zip(Event, row, strict=True)) for state, row in _ROWS.items()
}


def step(state: State, event: Event) -> State:
    """Return the state after `event`. Total: never raises."""
    return TRANSITIONS[state][event]
