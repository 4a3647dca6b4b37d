"""sight: what a viewer wants to know, from two answers of the admin server: `/api/v1/status` and `/metrics`. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

GROUP = "demo"
WINDOW = 3.0  # seconds over which rates are taken

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TargetSight:
    """One target; `share` in percent of the group's requests within the window."""

    name: str
    zone: str
    state: str
    reason: str
    active_requests: int
    per_second: float
    share: float


@dataclass(frozen=True, slots=True)
class ZoneSight:
    """One zone; `share` in percent: what the zone is to get."""

    name: str
    healthy: int
    total: int
    share: float


@dataclass(frozen=True, slots=True)
class Sight:
    """One look. `balancer_failed` counts requests that the balancer itself had to answer with 5xx, ever."""

    targets: tuple[TargetSight, ...] = ()
    zones: tuple[ZoneSight, ...] = ()
    policy: str = ""
    panic: bool = False
    per_second: float = 0.0
    balancer_failed: int = 0

    @property
    def healthy(self) -> int:
        return sum(zone.healthy for zone in self.zones)


@dataclass(frozen=True, slots=True)
class Counts:
    """What is read from a scrape: finished requests by target, and those failed by the balancer."""

    by_target: Mapping[str, float]
    failed: float


def counts(exposition: str) -> Counts:
    """Return the counts of the demo's group in a scrape in the Prometheus text format."""
    by_target: dict[str, float] = {}
    failed = 0.0
    for family in text_string_to_metric_families(exposition):
        if family.name != "balancer_requests":
            continue
        for sample in family.samples:
            if sample.name != "balancer_requests_total":
                continue
            labels = sample.labels
            if labels["source"] == "balancer" and labels["code"] == "5xx":
                failed += sample.value
            if labels["target_group"] == GROUP and labels["target"]:
                by_target[labels["target"]] = by_target.get(labels["target"], 0.0) + sample.value
    return Counts(by_target, failed)


class Watcher:
    """Makes sights of successive answers, and says in words what has changed between two of them."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Counts]] = deque()
        self._status: Json | None = None

    def look(self, status: Json, counted: Counts, now: float) -> tuple[Sight, list[str]]:
        """Return the sight and the events since the last look, oldest first. `now`: seconds, monotonic."""
        self._seen.append((now, counted))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW:
            self._seen.popleft()
        sight = self._sight(status, counted)
        events = _events(self._status, status) if self._status is not None else []
        self._status = status
        return sight, events

    def _sight(self, status: Json, counted: Counts) -> Sight:
        group = _group(status)
        since, first = self._seen[0]
        seconds = max(self._seen[-1][0] - since, 1e-9)
        done = {
            target["name"]: max(
                0.0, counted.by_target.get(target["name"], 0.0) - first.by_target.get(target["name"], 0.0)
            )
            for target in group["targets"]
        }
        total = sum(done.values())
        return Sight(
            targets=tuple(
                TargetSight(
                    name=target["name"],
                    zone=target["zone"],
                    state=target["state"],
                    reason=target["reason"],
                    active_requests=target["active_requests"],
                    per_second=done[target["name"]] / seconds,
                    share=100 * done[target["name"]] / total if total else 0.0,
                )
                for target in group["targets"]
            ),
            zones=tuple(
                ZoneSight(zone["name"], zone["healthy"], zone["total"], zone["share"]) for zone in group["zones"]
            ),
            policy=group["policy"],
            panic=group["panic"],
            per_second=total / seconds,
            balancer_failed=int(counted.failed),
        )


def _group(status: Json) -> Json:
    for group in status["target_groups"]:
        if group["name"] == GROUP:
            found: Json = group
            return found
    return {"policy": "", "panic": False, "zones": [], "targets": []}


def _events(before: Json, after: Json) -> list[str]:
    old, new = _group(before), _group(after)
    return [*_reloads(before["config"], after["config"]), *_states(old, new), *_zones(old, new), *_lives(before, after)]


def _states(old: Json, new: Json) -> list[str]:
    states = {target["name"]: target["state"] for target in old["targets"]}
    told = []
    for target in new["targets"]:
        name, state = target["name"], target["state"]
        if states.get(name, state) == state:
            continue
        why = ": ".join(filter(None, (target["reason"], target["detail"])))
        told.append(f"{name} became {state}" + (f" ({why})" if why and state != "healthy" else ""))
    return told


def _zones(old: Json, new: Json) -> list[str]:
    healthy = {zone["name"]: zone["healthy"] for zone in old["zones"]}
    told = []
    for zone in new["zones"]:
        had = healthy.get(zone["name"])
        if had and not zone["healthy"]:
            told.append(f"{zone['name']} is lost: its requests go elsewhere")
        elif had == 0 and zone["healthy"]:
            told.append(f"{zone['name']} is back: {zone['healthy']} of {zone['total']} healthy")
    if new["panic"] != old["panic"]:
        told.append("panic: unhealthy targets get requests too" if new["panic"] else "the panic is over")
    return told


def _reloads(old: Json, new: Json) -> list[str]:
    if new["version"] != old["version"]:
        return [f"configuration {new['version']} is in force"]
    last = new["last_reload"]
    if last["at"] == old["last_reload"]["at"] or last["success"]:
        return []
    faults = last["faults"]
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    told = f"line {faults[0]['line']}: {faults[0]['path']}: {faults[0]['message']}{more}" if faults else "see the log"
    return [f"the edited configuration is refused, nothing changes: {told}"]


def _lives(before: Json, after: Json) -> list[str]:
    restarts = {worker["place"]: worker["restarts"] for worker in before["workers"]}
    told = [
        f"worker {worker['place']} was replaced (now pid {worker['pid']})"
        for worker in after["workers"]
        if worker["restarts"] > restarts.get(worker["place"], worker["restarts"])
    ]
    if before["control"]["pid"] != after["control"]["pid"]:
        told.append(f"control was replaced (now pid {after['control']['pid']})")
    return told
