"""published: the snapshot that runs, and how the next one is put together and brought to the workers.

    configuration as written, addresses of its names, who is leaving ──> merge ──> slots ──> snapshot ──> publish

One publication at a time; whatever asks for one meanwhile is served by the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from balancer.board import slots
from balancer.control import log
from balancer.control.discovery.merge import Merged, merge
from balancer.control.discovery.refusal import why_refused
from balancer.control.facts import Key
from balancer.control.places import Places
from balancer.control.publish import Publisher, Refused
from balancer.model.snapshot import Snapshot

AGAIN = 1.0  # seconds after which a publication that was refused is tried again


class Published:
    """What is published. `base`: the configuration as written; `running`: the snapshot made of it."""

    def __init__(
        self,
        publisher: Publisher,
        places: Places,
        listeners: dict[str, str],
        addresses: Callable[[str], tuple[str, ...]],
        committing: Callable[[Snapshot, dict[Key, float]], None],
    ) -> None:
        """`listeners`: name → `ip:port` as bound. `committing(snapshot, leaving)` is called just before a commit."""
        self.base: Snapshot | None = None
        self.running: Snapshot | None = None
        self.listeners = listeners
        self.leaving: dict[Key, float] = {}  # who is draining, until when (monotonic)
        self._publisher = publisher
        self._places = places
        self._addresses = addresses
        self._committing = committing
        self._lock = asyncio.Lock()
        self._stale = asyncio.Event()
        self._refused: set[tuple[str, int]] = set()

    def adopt(self, running: Snapshot, base: Snapshot, leaving: dict[Key, float]) -> None:
        """Go on with what was published before this process began."""
        self.running, self.base, self.leaving = running, base, leaving

    def again(self) -> None:
        """Have the targets put together anew, soon; many calls are one."""
        self._stale.set()

    async def take(self, base: Snapshot) -> None:
        """Publish another configuration. Raises Refused or NoRoom: nothing has changed."""
        async with self._lock:
            before = self.listeners
            self.listeners = await self._publisher.listen(base)
            try:
                await self._publish(base)
            except (Refused, slots.NoRoom):
                self.listeners = before
                raise
            self.base = base

    async def keep_up(self, wanted: Callable[[], bool]) -> None:
        """Publish whenever targets have changed, until cancelled; not while `wanted` says no."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            if not wanted() or self.base is None:
                continue
            try:
                async with self._lock:
                    await self._publish(self.base)
            except (Refused, slots.NoRoom) as error:
                log.warn("a change of targets could not be published", error=error, again_in=f"{AGAIN:g}s")
                await asyncio.sleep(AGAIN)
                self._stale.set()

    async def _publish(self, base: Snapshot) -> None:
        running = self.running
        merged = self._merged(base)
        before = {group.name: group for group in running.target_groups} if running is not None else {}
        groups = []
        for group in base.target_groups:
            targets = merged[group.name].targets
            whole = group if targets == group.targets else replace(group, targets=targets)
            known = before.get(group.name)
            groups.append(known if known is not None and known == whole else whole)
        snapshot = replace(base, target_groups=tuple(groups))
        leaving = {(name, target): end for name, part in merged.items() for target, end in part.leaving.items()}
        if running is not None:
            same = replace(snapshot, revision=running.revision, slots=running.slots) == running
            if same and not self._places.behind(running.revision):
                self.leaving = leaving
                return
        revision = running.revision + 1 if running is not None else 1
        held = running.slots if running is not None else {}
        gone = _gone(running, snapshot) if running is not None else []
        if gone:
            held = slots.remember(gone, held)
        try:
            snapshot = replace(snapshot, revision=revision, slots=slots.assign(slots.keys(snapshot, running), held))
        except slots.NoRoom:
            self._publisher.withdraw(revision)
            raise
        await self._publisher.publish(snapshot, lambda: self._commit(snapshot, leaving))

    def _commit(self, snapshot: Snapshot, leaving: dict[Key, float]) -> None:
        self.running, self.leaving = snapshot, leaving
        self._committing(snapshot, leaving)

    def _merged(self, base: Snapshot) -> dict[str, Merged]:
        now = time.monotonic()
        before = {group.name: group.targets for group in self.running.target_groups} if self.running else {}
        return {
            group.name: merge(
                group,
                before.get(group.name, ()),
                {target: end for (name, target), end in self.leaving.items() if name == group.name},
                self._addresses,
                self._refuses,
                now,
            )
            for group in base.target_groups
        }

    def _refuses(self, ip: str, port: int) -> bool:
        why = why_refused(ip, port, list(_own(self.listeners.values())))
        if why and (ip, port) not in self._refused:
            self._refused.add((ip, port))
            log.warn("an address that was found cannot be a target", address=f"{ip}:{port}", why=why)
        return bool(why)


def _own(listeners: Iterable[str]) -> Iterable[tuple[str, int]]:
    for address in listeners:
        host, _, port = address.rpartition(":")
        yield host.strip("[]"), int(port)


def _gone(before: Snapshot, after: Snapshot) -> list[tuple[str, str, str]]:
    """Return (target group, target, zone) of those that `after` has no more: what they counted keeps its zone."""
    groups = {group.name: group for group in after.target_groups}
    gone: list[tuple[str, str, str]] = []
    for group in before.target_groups:
        now = groups.get(group.name)
        if now is not group:
            left = {target.name for target in now.targets} if now is not None else set()
            gone += [(group.name, target.name, target.zone) for target in group.targets if target.name not in left]
    return gone
