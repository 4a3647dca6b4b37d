"""A stage for control's parts: a clock one advances, snapshots in few words, a board of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from balancer.board import board as shared
from balancer.board import slots
from balancer.board.board import Board
from balancer.control.facts import Effect, Instant, Probe, Probed
from balancer.control.ledger import Ledger
from balancer.model.names import ProbeResult
from balancer.model.snapshot import Discover, HealthCheck, Passive, Snapshot, Target, TargetGroup, Zones

CHECK = HealthCheck(interval=5.0, timeout=2.0, unhealthy_threshold=3, healthy_threshold=2, fast_interval=1.0)


class Clock:
    """Both clocks; they stand still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    @property
    def instant(self) -> Instant:
        return Instant(self.now, self.now + 1_700_000_000)

    def go(self, seconds: float) -> Instant:
        self.now += seconds
        return self.instant


def target(name: str, zone: str = "zone-a", ip: str = "10.0.0.1", weight: int = 1) -> Target:
    return Target(name, f"{ip}:8000", ip, 8000, weight, zone)


def group(
    *targets: Target,
    name: str = "demo",
    check: HealthCheck | None = CHECK,
    passive: Passive | None = None,
    zones: Zones | None = None,
    discover: tuple[Discover, ...] = (),
    slow_start: float = 0.0,
    drain_timeout: float = 30.0,
) -> TargetGroup:
    return TargetGroup(
        name,
        targets=targets,
        health_check=check,
        passive=passive or Passive(),
        zones=zones or Zones(),
        discover=discover,
        slow_start=slow_start,
        drain_timeout=drain_timeout,
    )


def snapshot(*groups: TargetGroup, revision: int = 1) -> Snapshot:
    made = Snapshot(version=1, revision=revision, target_groups=groups)
    places = slots.assign(slots.keys(made), {})
    return Snapshot(version=1, revision=revision, target_groups=groups, slots=places)


def probe(
    ledger: Ledger, clock: Clock, name: str, result: ProbeResult = ProbeResult.OK, times: int = 1, group: str = "demo"
) -> list[Effect]:
    """Let probes of a target end, a second apart; return what follows."""
    effects: list[Effect] = []
    for _ in range(times):
        effects += ledger.apply(Probed((group, name), Probe(clock.go(1), result, "", 0.01)), clock.instant)
    return effects


@contextmanager
def board() -> Iterator[Board]:
    descriptor = shared.create()
    made = Board(descriptor)
    try:
        yield made
    finally:
        os.close(descriptor)
