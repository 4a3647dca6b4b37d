"""views: the picture as the JSON of the admin API. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from balancer.config.fault import Fault
from balancer.config.plan import Change
from balancer.control import orders
from balancer.control.facts import Probe
from balancer.control.orders import Order
from balancer.control.picture import GroupPicture, LastReload, Picture, TargetPicture
from balancer.control.reload import Outcome
from balancer.control.stats import Stats
from balancer.model import codec
from balancer.model.names import State
from balancer.model.secret import MASK, masked

_LEAVING = (State.DRAINING, State.DISABLED)

Json = dict[str, Any]


def time(wall: float) -> str | None:
    """Return a time as RFC 3339 in UTC with milliseconds; None for "never"."""
    if wall <= 0:
        return None
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status(picture: Picture, stats: Stats | None) -> Json:
    """Return the answer of `GET /api/v1/status`."""
    snapshot = picture.snapshot
    return {
        "version": picture.version,
        "compiled": picture.compiled,
        "config": {
            "version": snapshot.version,
            "revision": snapshot.revision,
            "hash": picture.config_hash,
            "loaded_at": time(picture.loaded_at_wall),
            "last_reload": last_reload(picture.last_reload),
        },
        "control": {"pid": picture.pid, "started_at": time(picture.started_wall)},
        "workers": [
            {
                "place": worker.place,
                "pid": worker.pid,
                "started_at": time(worker.started_wall),
                "restarts": worker.restarts,
                "revision": worker.revision,
                "active_requests": worker.active_requests,
                "connections": worker.connections,
            }
            for worker in picture.workers
        ],
        "listeners": [
            {
                "name": listener.name,
                "protocol": listener.protocol.value,
                "address": picture.listeners.get(listener.name, listener.address),
            }
            for listener in snapshot.listeners
        ],
        "target_groups": [_group(group, stats) for group in picture.groups],
        "discovery": [
            {
                "target_group": name.group,
                "dns": name.dns,
                "addresses": list(name.addresses),
                "error": name.error,
                "since": time(name.since.wall) if name.since is not None else None,
            }
            for name in picture.names
        ],
        "drill": picture.drill,
    }


def target(picture: Picture, stats: Stats | None, group: str, name: str) -> Json | None:
    """Return one target with its last probes, newest first; None if there is none of that name."""
    for one in picture.groups:
        for candidate in one.targets:
            if (one.name, candidate.name) == (group, name):
                probes = [_probe(probe) for probe in reversed(candidate.probes)]
                return {"target_group": group, **_target(candidate, stats), "probes": probes}
    return None


def config(picture: Picture) -> Json:
    """Return the answer of `GET /api/v1/config`; secrets are masked."""
    document = json.loads(codec.encode(picture.snapshot))
    if document["snapshot"]["admin"]["token"]:
        document["snapshot"]["admin"]["token"] = MASK
    for group in document["snapshot"]["target_groups"]:
        check = group["health_check"]
        if check is not None:
            check["headers"] = _masked(check["headers"])
    for rule in (rule for listener in document["snapshot"]["listeners"] for rule in listener["rules"]):
        match = rule["match"]
        match["headers"], match["query"] = _masked(match["headers"]), _masked(match["query"])
    return {
        "snapshot": document,
        "version": picture.snapshot.version,
        "hash": picture.config_hash,
        "loaded_at": time(picture.loaded_at_wall),
    }


def _masked(pairs: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[name, masked(name, value)] for name, value in pairs]


def outcome(result: Outcome, kept: Sequence[str] = ()) -> Json:
    """Return how a reload ended; `kept`: the operator's orders that differ from the configuration."""
    return {
        "success": result.success,
        "version": result.version,
        "changes": [change(one) for one in result.changes],
        "faults": [fault(one) for one in result.faults],
        "kept": list(kept),
    }


def last_reload(last: LastReload) -> Json:
    """Return how the last attempt to take a configuration over ended."""
    return {"success": last.success, "at": time(last.at_wall), "faults": [fault(one) for one in last.faults]}


def fault(one: Fault) -> Json:
    """Return one fault."""
    return {"file": one.file, "line": one.line, "column": one.column, "path": one.path, "message": one.message}


def change(one: Change) -> Json:
    """Return one change."""
    fields = [{"name": field.name, "old": field.old, "new": field.new} for field in one.fields]
    return {"kind": one.kind.value, "object": one.object, "path": one.path, "cost": one.cost, "fields": fields}


def _group(group: GroupPicture, stats: Stats | None) -> Json:
    return {
        "name": group.name,
        "policy": group.policy,
        "panic": group.panic,
        "vanished": group.vanished,
        "zones": [
            {"name": zone.name, "healthy": zone.healthy, "total": zone.total, "share": round(zone.share, 1)}
            for zone in group.zones
        ],
        "tiers": [{"zones": list(zones), "share": share} for zones, share in group.tiers],
        "targets": [_target(one, stats) for one in group.targets],
    }


def _target(one: TargetPicture, stats: Stats | None) -> Json:
    return {
        "name": one.name,
        "address": one.address,
        "ip": one.ip,
        "zone": one.zone,
        "weight": one.weight,
        "effective_weight": round(one.weight * one.factor, 3),
        "state": one.state.value,
        "since": time(one.since.wall),
        "reason": one.reason,
        "detail": one.detail,
        "evidence": one.evidence.value,
        "active_requests": stats.active(one.group, one.name) if stats is not None else 0,
        "configured_weight": one.configured_weight,
        "configured": one.configured,
        "drilled": one.drilled,
        "order": _order(one.order),
        "drain_until": time(one.since.wall + one.drain_timeout) if one.state in _LEAVING else None,
    }


def _order(order: Order) -> Json | None:
    """Return what the operator, or the target itself, wants beside the configuration; None for nothing."""
    if order == orders.NONE:
        return None
    return {
        "drain": order.drain,
        "drain_since": time(order.drain_at),
        "weight": order.weight,
        "weight_since": time(order.weight_at),
        "asked_by_target": order.asked,
    }


def orders_kept(picture: Picture) -> list[str]:
    """Return in words where the operator's orders differ from the configuration, which does not undo them."""
    told = []
    for one in (target for group in picture.groups for target in group.targets):
        name = f"{one.group}/{one.name}"
        if one.order.drain and one.configured == "serve":
            since = time(one.order.drain_at)
            told.append(f"{name} stays drained by the operator since {since} (balancer undrain {name})")
        if one.order.drain is False and one.configured == "drain":
            told.append(f"{name} serves by the operator's word, the configuration drains it (balancer drain {name})")
        if one.order.weight is not None and one.order.weight != one.configured_weight:
            told.append(
                f"{name} keeps the operator's weight {one.order.weight}, the configuration says "
                f"{one.configured_weight} (balancer weight {name} reset)"
            )
    return told


def _probe(probe: Probe) -> Json:
    return {
        "at": time(probe.at.wall),
        "result": probe.result.value,
        "detail": probe.detail,
        "duration_ms": round(probe.seconds * 1000, 3),
        "body": probe.body,
    }
