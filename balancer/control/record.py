"""record: what the ledger holds of one target."""

from __future__ import annotations

from collections import deque

from balancer.control import orders
from balancer.control.facts import Instant, Key, Probe
from balancer.health.thresholds import Thresholds
from balancer.model.names import Evidence, State
from balancer.model.snapshot import HealthCheck, Target, TargetGroup
from balancer.picking import slow_start
from balancer.picking.zones import Standing

REMEMBERED = 20  # probes


class Record:
    """One target: its state with evidence, time and reason, its probes, and what ends when."""

    __slots__ = (
        "checked",
        "detail",
        "ejected_until",
        "evidence",
        "group",
        "joined_late",
        "leaving_until",
        "order",
        "probes",
        "reason",
        "since",
        "slow_since",
        "state",
        "target",
        "thresholds",
    )

    def __init__(self, group: TargetGroup, target: Target, now: Instant) -> None:
        self.group = group
        self.target = target
        self.state = State.UNKNOWN
        self.evidence = Evidence.NONE
        self.since = now
        self.reason = ""  # one word
        self.detail = ""
        self.thresholds = _thresholds(group.health_check)
        self.probes: deque[Probe] = deque(maxlen=REMEMBERED)
        self.checked = group.health_check is None  # its first check is done, or there is none
        self.ejected_until: float | None = None
        self.leaving_until: float | None = None
        self.order = orders.NONE
        self.joined_late = False  # it came to a group that was serving: it starts slowly
        self.slow_since: float | None = None

    @property
    def key(self) -> Key:
        return self.group.name, self.target.name

    @property
    def check(self) -> HealthCheck | None:
        return self.group.health_check

    @property
    def weight(self) -> int:
        """Its weight: the operator's, else the configuration's."""
        return self.target.weight if self.order.weight is None else self.order.weight

    @property
    def configured(self) -> str:
        """What the configuration alone makes of it: drain, disabled, or serve."""
        return "disabled" if self.target.disabled else "drain" if self.target.drain else "serve"

    @property
    def held_out(self) -> bool:
        """Whether it is drained or disabled, and still a target of its group."""
        return self.leaving_until is None and self.state in (State.DRAINING, State.DISABLED)

    def take_over(self, group: TargetGroup, target: Target) -> None:
        """Take another snapshot's settings; counting begins anew if the check is another one."""
        if group.health_check != self.group.health_check:
            self.thresholds = _thresholds(group.health_check)
            self.checked = self.checked or group.health_check is None
        self.group, self.target = group, target

    def factor(self, now: float) -> float:
        """Return the part of its weight that it gets while it starts slowly, 0.1 to 1."""
        if self.slow_since is None:
            return 1.0
        return slow_start.factor(now - self.slow_since, self.group.slow_start)

    def next_delay(self, random: float) -> float:
        """Return the seconds to its next probe."""
        return self.thresholds.next_delay(self.state, random) if self.thresholds is not None else 0.0

    def standing(self, slot: int, *, drilled: bool = False) -> Standing:
        """Return what zone maths knows of it."""
        return Standing(slot, self.target.zone, self.weight, self.state, self.evidence, drilled=drilled)


def _thresholds(check: HealthCheck | None) -> Thresholds | None:
    return None if check is None else Thresholds(check)
