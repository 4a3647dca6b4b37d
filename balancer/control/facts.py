"""facts: what can happen to a target, and what the ledger answers; plain values between the parts of control."""

from __future__ import annotations

from dataclasses import dataclass

from balancer.control.orders import Order
from balancer.model.names import Evidence, ProbeResult, State

Key = tuple[str, str]
"""Target group and target."""


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks: seconds, monotonic, and seconds since 1970."""

    monotonic: float
    wall: float

    def earlier(self, seconds: float) -> Instant:
        """Return the moment so many seconds before."""
        return Instant(self.monotonic - seconds, self.wall - seconds)


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe's outcome. `detail`: what was seen, for people; `body`: its first 200 bytes when that was wrong."""

    at: Instant
    result: ProbeResult
    detail: str
    seconds: float
    body: str = ""
    drain: bool = False  # the answer asked for a drain


# What happens


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe of the target has ended."""

    key: Key
    probe: Probe


@dataclass(frozen=True, slots=True)
class Reported:
    """A worker has ejected the target for itself; `kind` is `connect` or `gateway`."""

    key: Key
    kind: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """The operator wants something else of the target than before."""

    key: Key
    order: Order


@dataclass(frozen=True, slots=True)
class Asked:
    """The target itself asks to be drained, by a field of a response."""

    key: Key


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed: look whether something is over."""


Event = Probed | Reported | Ordered | Asked | Ticked

# What follows


@dataclass(frozen=True, slots=True)
class Changed:
    """The target has another state: publish it, say so in one line. `reason` is one word, `detail` for people."""

    key: Key
    old: State
    new: State
    evidence: Evidence
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Shifted:
    """Something that weighs in zone maths has changed without a change of state; no target: in the group as such."""

    key: Key


@dataclass(frozen=True, slots=True)
class Vetoed:
    """The ejection that a worker reported is not to be."""

    key: Key


@dataclass(frozen=True, slots=True)
class Finished:
    """A leaving target's drain time is over: publish a snapshot without it."""

    key: Key


Effect = Changed | Shifted | Vetoed | Finished
