"""Who is in rotation and how much: zones in tiers, their scores and shares, panic, failback.

1. A tier is a list of zones; inside it the policy runs over all its targets, flat. `spread` has one tier, `local_first`
   two, `active_backup` one per zone of `order` and one for the others.
2. ratio = weight of available / weight of counted. Available: the healthy, or the unknown of a tier without healthy
   ones. Counted: all but those that left on purpose (draining, disabled) and the unknown, who have just arrived; where
   the unknown serve they count too, or the ratio would pass 1. One that vanished is counted and never available.
3. score = min(100, factor × available // counted) in integers. Walked in order, a tier gets its score of what is left;
   scores that sum up to less than 100 are scaled up to it.
4. Panic (fail open): the scores sum up to less than 100 and the ratio of the tier is below the threshold. Then those
   with soft evidence against them serve too, and those where nothing listens only if there is nobody else. While
   all that are there are healthy there is no panic, however many have vanished: it would add nobody.

Source: load balancing notes 2.9; Envoy priority levels and panic threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from balancer.model.names import Evidence, State, ZoneMode
from balancer.model.snapshot import Zones
from balancer.picking.failback import Failback as Failback
from balancer.picking.failback import Spreader as Spreader

_ON_PURPOSE = frozenset({State.DRAINING, State.DISABLED})


@dataclass(frozen=True, slots=True)
class Standing:
    """What zones know of one target. `missing`: it vanished from discovery less than a minute ago, undrained.

    `drilled`: its zone is failed on purpose; it counts as down with hard evidence, and panic does not use it.
    """

    slot: int
    zone: str
    weight: int
    state: State
    evidence: Evidence = Evidence.NONE
    missing: bool = False
    drilled: bool = False

    @property
    def usable(self) -> bool:
        """Whether it may be picked at all, at least in panic."""
        return self.weight > 0 and not self.missing and not self.drilled and self.state not in _ON_PURPOSE

    @property
    def listens(self) -> bool:
        """Whether something may be there: healthy, unknown, or down by soft evidence (an ejection is soft)."""
        return self.state is not State.UNHEALTHY or self.evidence is not Evidence.HARD


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier: how well it is (`available` of `counted` weight) and its part of the traffic.

    `score` and `share` in percent; `members`: (slot, weight) of those who are picked from, in panic or not.
    """

    zones: tuple[str, ...]
    available: int
    counted: int
    score: int
    share: int
    panic: bool
    members: tuple[tuple[int, int], ...]

    @property
    def ratio(self) -> float:
        """The available part of its weight, 0 to 1."""
        return self.available / self.counted if self.counted else 0.0


@dataclass(frozen=True, slots=True)
class ZoneHealth:
    """One zone: targets that are healthy, all that should be there, and the available part of its weight, 0 to 1."""

    zone: str
    healthy: int
    total: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the zones of a group are worth now. The shares of the tiers sum up to 100, or to 0: nobody can serve."""

    tiers: tuple[Tier, ...]
    zones: tuple[ZoneHealth, ...]

    @property
    def scores(self) -> tuple[int, ...]:
        return tuple(tier.score for tier in self.tiers)

    @property
    def shares(self) -> tuple[int, ...]:
        """The raw shares, before `Failback`."""
        return tuple(tier.share for tier in self.tiers)

    @property
    def panic(self) -> bool:
        """Whether a tier that has traffic is in panic."""
        return any(tier.panic and tier.share for tier in self.tiers)


def tiers(zones: Zones, present: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the zones tier by tier; `present`: the zones of the group's targets, repeated or not.

    A zone that the configuration names keeps its tier while it has no target, so that places do not move.
    """
    found = tuple(dict.fromkeys(present))
    if zones.mode is ZoneMode.SPREAD:
        return (found,)
    named = (zones.local,) if zones.mode is ZoneMode.LOCAL_FIRST else tuple(dict.fromkeys(zones.order))
    rest = tuple(zone for zone in found if zone not in named)
    first = tuple((zone,) for zone in named)
    return (*first, rest) if rest else first


def weigh(standings: Sequence[Standing]) -> tuple[int, int]:
    """Return the weights of the available and of the counted (rule 2)."""
    healthy = unknown = counted = 0
    for target in standings:
        if target.state is State.DISABLED or (target.state is State.DRAINING and not target.missing):
            continue
        if target.missing or target.drilled:
            counted += target.weight
        elif target.state is State.UNKNOWN:
            unknown += target.weight
        else:
            counted += target.weight
            if target.state is State.HEALTHY:
                healthy += target.weight
    return (healthy, counted) if healthy else (unknown, counted + unknown)


def serving(standings: Sequence[Standing]) -> list[Standing]:
    """Return those who get new work without panic: the usable healthy, else the usable unknown.

    Whether others serve, and whether one is the last that does, is asked of this.
    """
    usable = [target for target in standings if target.usable]
    healthy = [target for target in usable if target.state is State.HEALTHY]
    return healthy or [target for target in usable if target.state is State.UNKNOWN]


def members(standings: Sequence[Standing], panic: bool) -> tuple[tuple[int, int], ...]:
    """Return (slot, weight) of those of one tier who are picked from; empty if nobody can serve.

    The healthy, else the unknown; in panic the healthy, the unknown and the softly unhealthy together, those where
    nothing listens only when there is nobody else. Never draining, disabled, vanished, drilled
    ones or those of weight 0.
    """
    if panic:
        usable = [target for target in standings if target.usable]
        chosen = [target for target in usable if target.listens] or usable
    else:
        chosen = serving(standings)
    return tuple((target.slot, target.weight) for target in chosen)


def assess(zones: Zones, standings: Sequence[Standing]) -> Assessment:
    """Return tiers with scores, shares and members, and the health of each zone."""
    parts = tiers(zones, [target.zone for target in standings])
    grouped = [tuple(target for target in standings if target.zone in part) for part in parts]
    weights = [weigh(group) for group in grouped]
    scores = [_score(zones.overprovisioning_factor, available, counted) for available, counted in weights]
    panics = [
        sum(scores) < 100 and counted > 0 and available * 100 < zones.panic_threshold * counted and not _all_well(group)
        for group, (available, counted) in zip(grouped, weights)
    ]
    chosen = [members(group, panic) for group, panic in zip(grouped, panics)]
    shares = share_out(scores) if any(scores) else _share_of_the_last(grouped, chosen)
    return Assessment(
        tuple(
            Tier(part, available, counted, score, share, panic, picked)
            for part, (available, counted), score, share, panic, picked in zip(
                parts, weights, scores, shares, panics, chosen
            )
        ),
        tuple(_zone_health(zone, standings) for part in parts for zone in part),
    )


def share_out(scores: Sequence[int]) -> tuple[int, ...]:
    """Return the shares in percent for the tiers' scores; all 0 if every score is."""
    total = min(100, sum(scores))
    if total == 0:
        return (0,) * len(scores)
    shares: list[int] = []
    left = 100
    for score in scores:
        share = min(left, (200 * score + total) // (2 * total))  # 100 × score / total, rounded half up
        shares.append(share)
        left -= share
    if left:
        shares[next(index for index, score in enumerate(scores) if score)] += left
    return tuple(shares)


def zone_shares(assessment: Assessment, shares: Sequence[int], standings: Sequence[Standing]) -> dict[str, float]:
    """Return each zone's part of the group's traffic in percent; `shares`: those in force, tier by tier."""
    zone_of = {target.slot: target.zone for target in standings}
    result: dict[str, float] = {}
    for tier, share in zip(assessment.tiers, shares):
        whole = sum(weight for _, weight in tier.members)
        result.update(dict.fromkeys(tier.zones, 0.0))
        for slot, weight in tier.members:
            result[zone_of[slot]] += share * weight / whole
    return result


def _score(factor: int, available: int, counted: int) -> int:
    # integers: floats give 97 instead of 98 for 7 of 10
    return min(100, factor * available // counted) if counted else 0


def _all_well(standings: Sequence[Standing]) -> bool:
    """Return whether some may be picked, and all of these are healthy."""
    states = {target.state for target in standings if target.usable}
    return states == {State.HEALTHY}


def _share_of_the_last(
    grouped: Sequence[Sequence[Standing]], chosen: Sequence[tuple[tuple[int, int], ...]]
) -> tuple[int, ...]:
    """Return the shares when every score is 0: all to the first tier where something listens, else to any."""
    able = [index for index, picked in enumerate(chosen) if picked]
    listening = [index for index in able if any(target.usable and target.listens for target in grouped[index])]
    winner = next(iter(listening or able), -1)
    return tuple(100 if index == winner else 0 for index in range(len(grouped)))


def _zone_health(zone: str, standings: Sequence[Standing]) -> ZoneHealth:
    own = [target for target in standings if target.zone == zone]
    there = [target for target in own if target.missing or target.state not in _ON_PURPOSE]
    available, counted = weigh(own)
    healthy = sum(target.state is State.HEALTHY and not target.missing and not target.drilled for target in there)
    return ZoneHealth(zone, healthy, len(there), available / counted if counted else 0.0)
