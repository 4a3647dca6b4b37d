"""read: takes readings of target groups off the board."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from balancer.board import histogram, layout
from balancer.control.drill.readings import Reading
from balancer.control.facts import Key
from balancer.control.stats import Stats
from balancer.model.reason import REASONS

_SERVER_ERRORS = 4  # the cell of 5xx that targets answered, in a block of hits; our own have reasons


def read(stats: Stats, groups: Collection[str], zones: Mapping[Key, str], now: float) -> dict[str, Reading]:
    """Return a reading of each group; `zones`: the zone of every target."""
    seen = {name: Reading(now) for name in groups}
    # What has finished first, then what runs: a request that ends in between is missed once rather than seen twice.
    for names, slot in stats.series("hits"):
        if names[1] in seen:
            _hits(seen, names, stats.block(slot, layout.HITS_BLOCK), zones)
    for (group, target), slot in stats.series("target"):
        if group in seen:
            seen[group].active[zones.get((group, target), "")] += stats.block(slot + layout.TARGET_ACTIVE, 1)[0]
    for (_, group), slot in stats.series("flow"):
        if group in seen:
            cells = stats.block(slot, layout.FLOW_BYTES_IN)
            counts = zip(cells[layout.FLOW_DURATION : histogram.SUM], cells[layout.FLOW_WHOLE :])
            buckets = tuple(old + a + b for old, (a, b) in zip(seen[group].buckets, counts))
            seen[group] = replace(seen[group], buckets=buckets)
    for (group,), slot in stats.series("reasons"):
        if group in seen:
            failures = zip(REASONS, stats.block(slot, layout.REASONS_RETRIES))
            seen[group].reasons.update({reason.word: count for reason, count in failures if count})
    return seen


def _hits(seen: dict[str, Reading], names: list[str], cells: list[int], zones: Mapping[Key, str]) -> None:
    _, group, target = names
    reading = seen[group]
    if target:
        reading.finished[zones.get((group, target), "")] += sum(cells)
    seen[group] = replace(reading, errors=reading.errors + cells[_SERVER_ERRORS])
