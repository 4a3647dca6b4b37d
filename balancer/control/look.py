"""look: takes the picture: what control knows at this moment, as plain values."""

from __future__ import annotations

import os

from balancer import __version__, compiled
from balancer.board import layout
from balancer.control.discovery.merge import hosts
from balancer.control.loop import Control, instant
from balancer.control.picture import GroupPicture, NamePicture, Picture, TargetPicture, WorkerPicture, ZonePicture
from balancer.control.record import Record
from balancer.control.reload import Reload
from balancer.control.stats import level
from balancer.model.snapshot import Snapshot, TargetGroup

STARTED_WALL = instant().wall
COMPILED = compiled()


def picture(control: Control, reload: Reload) -> Picture:
    """Return the picture; an empty snapshot stands in it before the first publication."""
    running = control.running or Snapshot()
    return Picture(
        now=instant(),
        version=__version__,
        snapshot=running,
        config_hash=reload.hash,
        loaded_at_wall=reload.loaded_at_wall,
        last_reload=reload.last,
        pid=os.getpid(),
        started_wall=STARTED_WALL,
        listeners=dict(control.published.listeners),
        groups=tuple(_group(control, group) for group in running.target_groups),
        workers=tuple(_worker(control, place) for place in range(running.workers)),
        names=names(control),
        zones=control.zones,
        drill=control.driller.running(),
        compiled=COMPILED,
    )


def names(control: Control) -> tuple[NamePicture, ...]:
    """Return the host names of the configuration, group by group, with what became of them."""
    found, now = [], instant()
    for group in control.base.target_groups if control.base is not None else ():
        for host in dict.fromkeys(hosts(group)):
            failing = control.dns.failing(host)
            error, since = failing if failing is not None else ("", None)
            moment = now.earlier(now.monotonic - since) if since is not None else None
            found.append(NamePicture(group.name, host, control.dns.addresses(host), error, moment))
    return tuple(found)


def _group(control: Control, group: TargetGroup) -> GroupPicture:
    shares = control.states.groups.get(group.name)
    factors = control.ledger.factors(group.name, instant().monotonic)
    zones = shares.assessment.zones if shares is not None else ()
    tiers = zip(shares.assessment.tiers, shares.shares) if shares is not None else ()
    return GroupPicture(
        name=group.name,
        policy=group.policy.value,
        panic=shares is not None and shares.assessment.panic,
        zones=tuple(
            ZonePicture(
                zone.zone, zone.healthy, zone.total, zone.ratio, shares.by_zone.get(zone.zone, 0.0) if shares else 0.0
            )
            for zone in zones
        ),
        tiers=tuple((tier.zones, share) for tier, share in tiers),
        targets=tuple(
            _target(record, factors[record.target.name], drilled=control.ledger.drilled(record))
            for record in control.ledger.group(group.name)
        ),
        vanished=control.ledger.missing(group.name),
    )


def _target(record: Record, factor: float, *, drilled: bool) -> TargetPicture:
    target = record.target
    return TargetPicture(
        group=record.group.name,
        name=target.name,
        address=target.address,
        ip=target.ip,
        zone=target.zone,
        weight=record.weight,
        state=record.state,
        evidence=record.evidence,
        since=record.since,
        reason=record.reason,
        detail=record.detail,
        factor=factor,
        configured_weight=target.weight,
        configured=record.configured,
        order=record.order,
        drain_timeout=record.group.drain_timeout,
        drilled=drilled,
        probes=tuple(record.probes),
    )


def _worker(control: Control, place: int) -> WorkerPicture:
    head = control.board.row_head(place)
    worker = control.places.workers.get(place)
    return WorkerPicture(
        place=place,
        pid=worker.pid if worker is not None else 0,
        started_wall=head[layout.ROW_STARTED] / 1000,
        restarts=max(0, head[layout.ROW_STARTS] - 1),
        revision=worker.revision if worker is not None else 0,
        active_requests=level(head[layout.ROW_ACTIVE]),
        connections=level(head[layout.ROW_CONNECTIONS]),
    )
