"""Zones of a group: named ones exist, and a backup can carry what it stands in for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from balancer.config.fault import Finding, Steps, warning
from balancer.config.fields import listed, nearest
from balancer.config.sections.target_groups import TargetGroup
from balancer.model.names import ZoneMode


def zones(group: TargetGroup, steps: Steps) -> Iterator[Finding]:
    """Yield what is wrong with the zones of a group whose targets are all known."""
    named = [*(target.zone for target in group.targets), *(entry.zone for entry in group.discover)]
    known = list(dict.fromkeys(named))
    settings, place = group.zones, (*steps, "zones")
    yield from _unused_keys(group, place)
    if settings.mode is ZoneMode.SPREAD or not known:
        return
    if len(known) == 1:
        problem = f"every target is in zone {known[0]}: there is nowhere else to go"
        yield warning((*place, "mode"), problem, "give the targets their zones")
    if settings.mode is ZoneMode.LOCAL_FIRST:
        if settings.local is None:
            yield Finding((*place, "local"), "is missing", f"write local: {known[0]}")
            return
        if settings.local not in known:
            yield _unknown((*place, "local"), settings.local, known)
            return
        tiers = [[settings.local], [zone for zone in known if zone != settings.local]]
    else:
        if not settings.order:
            yield Finding((*place, "order"), "is missing", f"write order: [{', '.join(known)}]")
            return
        faults = list(_order(settings.order, known, (*place, "order")))
        yield from faults
        if faults:
            return
        tiers = [[zone] for zone in settings.order] + [[zone for zone in known if zone not in settings.order]]
    if not group.discover:
        yield from _small_backups(group, [tier for tier in tiers if tier], place)


def _unused_keys(group: TargetGroup, place: Steps) -> Iterator[Finding]:
    settings = group.zones
    for key, mode in (("local", ZoneMode.LOCAL_FIRST), ("order", ZoneMode.ACTIVE_BACKUP)):
        if key in settings.model_fields_set and settings.mode is not mode:
            problem = f"only mode: {mode} looks at this"
            yield warning((*place, key), problem, f"write mode: {mode}, or remove it", on_key=True)


def _order(order: tuple[str, ...], known: list[str], place: Steps) -> Iterator[Finding]:
    for index, zone in enumerate(order):
        if zone in order[:index]:
            yield Finding((*place, index), f"'{zone}' is named twice", "name each zone once")
        elif zone not in known:
            yield _unknown((*place, index), zone, known)


def _unknown(steps: Steps, zone: str, known: list[str]) -> Finding:
    meant = nearest(zone, known)
    return Finding(steps, f"no target is in zone '{zone}'", f"write {meant or listed(known)}")


def _small_backups(group: TargetGroup, tiers: list[list[str]], place: Steps) -> Iterator[Finding]:
    weights: dict[str, int] = defaultdict(int)
    for target in group.targets:
        weights[target.zone] += target.weight
    first = sum(weights[zone] for zone in tiers[0])
    for tier in tiers[1:]:
        weight = sum(weights[zone] for zone in tier)
        if weight * group.zones.overprovisioning_factor < first * 100:
            names = " and ".join(tier)
            problem = f"{names} has {weight} of the weight of {tiers[0][0]}, which has {first}: it cannot take the load"
            yield warning((*place, "mode"), problem, f"add targets to {names}")
