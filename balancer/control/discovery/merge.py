"""merge: the targets of a group: those written, those found by name, and those that are leaving. Pure.

Rules
1. A found address is called `name#n`. It keeps its number while it is there; a new one gets the lowest that is free.
2. Whoever is not there any more is leaving: it stays in the list, draining, until its drain time is over.
3. A written target whose name leads to another address is the same target at a new place, not a new target.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from balancer.model.snapshot import Discover, Snapshot, Target, TargetGroup


@dataclass(frozen=True, slots=True)
class Merged:
    """The targets of a group; `leaving`: name → when the drain time of one is over (seconds, monotonic)."""

    targets: tuple[Target, ...]
    leaving: dict[str, float]


def merge(
    group: TargetGroup,
    before: tuple[Target, ...],
    leaving: Mapping[str, float],
    addresses: Callable[[str], tuple[str, ...]],
    refused: Callable[[str, int], bool],
    now: float,
) -> Merged:
    """Return the targets that follow `before` (what is published of this group now).

    `addresses` gives those of a host name, `refused` says of an address and port that it may be no target. A name in
    `leaving` whose time is over is dropped.
    """
    written = tuple(_placed(target, addresses) for target in group.targets)
    taken = {target.name for target in written}
    numbered = {(source(target.name), target.ip, target.port): target.name for target in before}
    found: list[Target] = []
    wanted: list[tuple[Discover, str]] = []
    seen: set[tuple[str, str, int]] = set()
    for entry in group.discover:
        for ip in addresses(entry.dns):
            key = (entry.dns, ip, entry.port)
            if key not in seen and not refused(ip, entry.port):
                seen.add(key)
                wanted.append((entry, ip))
    fresh: list[tuple[Discover, str]] = []
    for entry, ip in wanted:
        old = numbered.get((entry.dns, ip, entry.port))
        if old is None or old in taken:
            fresh.append((entry, ip))
        else:
            taken.add(old)
            found.append(_found(entry, ip, old))
    gone = [target for target in before if target.name not in taken]
    still = {target.name: leaving.get(target.name, now + group.drain_timeout) for target in gone}
    still = {name: end for name, end in still.items() if end > now}
    gone = [target for target in gone if target.name in still]
    taken |= set(still)
    for entry, ip in fresh:
        number = next(n for n in range(1, len(taken) + 2) if f"{entry.dns}#{n}" not in taken)
        name = f"{entry.dns}#{number}"
        taken.add(name)
        found.append(_found(entry, ip, name))
    order = {entry.dns: index for index, entry in enumerate(group.discover)}
    found.sort(key=lambda target: (order[source(target.name)], _number(target.name)))
    return Merged((*written, *found, *gone), still)


def as_written(snapshot: Snapshot, leaving: Collection[tuple[str, str]]) -> Snapshot:
    """Return the configuration that a published snapshot came from: without what was found, left or resolved.

    `leaving`: (target group, target) of those that were only draining.
    """
    groups = []
    for group in snapshot.target_groups:
        kept = [t for t in group.targets if not source(t.name) and (group.name, t.name) not in leaving]
        targets = tuple(target if host_of(target) == target.ip else replace(target, ip="") for target in kept)
        groups.append(replace(group, targets=targets))
    return replace(snapshot, target_groups=tuple(groups), revision=0, slots={})


def known_addresses(snapshot: Snapshot, leaving: Collection[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return name → addresses that a published snapshot holds, those of leaving targets left out."""
    known: dict[str, dict[str, None]] = {}
    for group in snapshot.target_groups:
        for target in group.targets:
            host = source(target.name) or host_of(target)
            if target.ip and host != target.ip and (group.name, target.name) not in leaving:
                known.setdefault(host, {})[target.ip] = None
    return {host: tuple(addresses) for host, addresses in known.items()}


def source(name: str) -> str:
    """Return the host name that a found target's name was made of; "" for a written one."""
    return name.rpartition("#")[0]


def hosts(group: TargetGroup) -> list[str]:
    """Return the names of a group that need resolving."""
    written = [host_of(target) for target in group.targets if not target.ip]
    return [*written, *(entry.dns for entry in group.discover)]


def host_of(target: Target) -> str:
    """Return the host of a target's address, without brackets."""
    return target.address.rpartition(":")[0].strip("[]")


def _placed(target: Target, addresses: Callable[[str], tuple[str, ...]]) -> Target:
    if target.ip:
        return target
    known = addresses(host_of(target))
    return replace(target, ip=known[0] if known else "")


def _found(entry: Discover, ip: str, name: str) -> Target:
    address = f"[{ip}]:{entry.port}" if ":" in ip else f"{ip}:{entry.port}"
    return Target(name=name, address=address, ip=ip, port=entry.port, weight=entry.weight, zone=entry.zone)


def _number(name: str) -> int:
    return int(name.rpartition("#")[2])
