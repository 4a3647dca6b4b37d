"""picture: all that control knows at one moment, as plain values that views and metrics can read in any thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from balancer.config.fault import Fault
from balancer.control import orders
from balancer.control.facts import Instant, Key, Probe
from balancer.control.orders import Order
from balancer.model.names import Evidence, State
from balancer.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class TargetPicture:
    """One target. `factor`: the part of its weight that it gets now; `probes`: the last ones, oldest first.

    `weight` is the one in force, `configured_weight` the file's; `configured`: drain, disabled or serve, as the file
    has it; `drain_timeout` in seconds.
    """

    group: str
    name: str
    address: str
    ip: str
    zone: str
    weight: int
    state: State
    evidence: Evidence
    since: Instant
    reason: str
    detail: str
    factor: float
    probes: tuple[Probe, ...] = ()
    configured_weight: int = 1
    configured: str = "serve"
    order: Order = orders.NONE
    drain_timeout: float = 0.0
    drilled: bool = False


@dataclass(frozen=True, slots=True)
class ZonePicture:
    """One zone of a group; `ratio` 0 to 1, `share` in percent of the group's traffic."""

    name: str
    healthy: int
    total: int
    ratio: float
    share: float


@dataclass(frozen=True, slots=True)
class GroupPicture:
    """One target group; `tiers`: the zones of each with its share in force, in percent.

    `vanished`: addresses that discovery lost less than a minute ago, counted in the totals of zones.
    """

    name: str
    policy: str
    panic: bool
    zones: tuple[ZonePicture, ...]
    tiers: tuple[tuple[tuple[str, ...], int], ...]
    targets: tuple[TargetPicture, ...]
    vanished: int = 0


@dataclass(frozen=True, slots=True)
class NamePicture:
    """One host name of a group. `error`: why it does not resolve, "" if it does; `since`: since when it does not."""

    group: str
    dns: str
    addresses: tuple[str, ...]
    error: str
    since: Instant | None


@dataclass(frozen=True, slots=True)
class WorkerPicture:
    """One worker place; `pid` 0 while nobody is in it, `started_wall` in seconds since 1970."""

    place: int
    pid: int
    started_wall: float
    restarts: int
    revision: int
    active_requests: int
    connections: int


@dataclass(frozen=True, slots=True)
class LastReload:
    """How the last attempt to take a configuration over ended; the first start is one."""

    success: bool = True
    at_wall: float = 0.0
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What runs. `listeners`: name → address as bound; `zones`: the zone of every target there ever was.

    `drill`: the drill that is not over yet, as the admin API shows it; `compiled`: whether the data path is.
    """

    now: Instant
    version: str
    snapshot: Snapshot
    config_hash: str
    loaded_at_wall: float
    last_reload: LastReload
    pid: int
    started_wall: float
    listeners: dict[str, str] = field(default_factory=dict)
    groups: tuple[GroupPicture, ...] = ()
    workers: tuple[WorkerPicture, ...] = ()
    names: tuple[NamePicture, ...] = ()
    zones: dict[Key, str] = field(default_factory=dict)
    drill: dict[str, Any] | None = None
    compiled: bool = False
