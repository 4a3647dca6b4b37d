"""judge: may a zone be failed on purpose, and must a drill that runs end. Pure.

Rules
1. The rest is what a group has without the drilled zone, by the same zone maths: it must come to a score of 100, and
   take what runs now. Who is drained or disabled counts there as missing: it is capacity that nobody can lean on.
2. What may not begin must not go on: the guard rail applies the same rule while the drill runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from balancer.model.names import Evidence, State
from balancer.model.snapshot import Zones
from balancer.picking.zones import Assessment, Standing, assess

LEAST_FAILED = 3  # failures in the window below which no ratio counts: one of five requests is no trend


@dataclass(frozen=True, slots=True)
class Part:
    """One target group as a drill sees it. `active`: requests in flight; `most`: what one target takes, or 0.

    `out`: slots of those who are drained or disabled and belong to the group still; who left it for good is not missed.
    """

    name: str
    zones: Zones
    standings: tuple[Standing, ...]
    active: int = 0
    most: int = 0
    out: frozenset[int] = frozenset()

    def has(self, zone: str) -> bool:
        """Return whether any target is in the zone."""
        return any(standing.zone == zone for standing in self.standings)


def affected(parts: Iterable[Part], zone: str, group: str | None) -> tuple[Part, ...]:
    """Return the groups that a drill of `zone` fails; `group`: that one only."""
    return tuple(part for part in parts if group in (None, part.name) and part.has(zone))


def refusals(parts: Sequence[Part], zone: str) -> tuple[str, ...]:
    """Return why the zone may not be failed in these groups, a sentence with its numbers for each; none if it may."""
    return tuple(why for part in parts if (why := _refusal(part, zone)))


def crossed(parts: Sequence[Part], zone: str, lost_before: frozenset[tuple[str, str]]) -> str:
    """Return why a drill that runs must end, "" if it need not. `lost_before`: (group, zone) lost when it began."""
    for part in parts:
        for other in lost(part):
            if other != zone and (part.name, other) not in lost_before:
                return f"{part.name}: {other} was lost too"
        why = _refusal(part, zone)
        if why:
            return why
    return ""


def too_many_failed(requests: int, failed: int, ratio_before: float, most_percent: float) -> str:
    """Return why the failures of the last seconds end a drill, "" if they do not.

    `ratio_before`: failed of all requests before it began, 0 to 1; `most_percent`: how much more there may be.
    """
    if failed < LEAST_FAILED or not requests:
        return ""
    ratio = failed / requests
    if round((ratio - ratio_before) * 100, 6) <= most_percent:
        return ""
    return (
        f"{failed} of the last {requests} requests failed: {ratio * 100:.1f} % against {ratio_before * 100:.1f} % "
        f"before, and {most_percent:g} % more may"
    )


def lost(part: Part) -> list[str]:
    """Return the zones of a group that have targets and none that is healthy."""
    return [zone.zone for zone in assess(part.zones, part.standings).zones if zone.total and not zone.healthy]


def rest(part: Part, zone: str) -> Assessment:
    """Return what a group has without the zone."""
    others = [standing for standing in part.standings if standing.zone != zone]
    return assess(part.zones, [_missed(standing) if standing.slot in part.out else standing for standing in others])


def _missed(standing: Standing) -> Standing:
    return replace(standing, state=State.UNHEALTHY, evidence=Evidence.HARD)


def _refusal(part: Part, zone: str) -> str:
    others = [standing for standing in part.standings if standing.zone != zone]
    if not others:
        return f"{part.name}: {zone} is its only zone"
    left = rest(part, zone)
    total = min(100, sum(tier.score for tier in left.tiers))
    if total < 100:
        available, counted = (sum(getattr(tier, what) for tier in left.tiers) for what in ("available", "counted"))
        told = ", ".join(f"{one.zone} {one.healthy}/{one.total}" for one in left.zones)
        out = sum(standing.slot in part.out for standing in others)
        told += f"; {out} of them drained or disabled" if out else ""
        return f"{part.name}: the rest would carry {total} of 100: {available} of {counted} of its weight ({told})"
    members = sum(len(tier.members) for tier in left.tiers)
    if part.most and part.active > members * part.most:
        return f"{part.name}: {part.active} requests run and the rest takes {members * part.most} at once"
    return ""
