"""Live: what a worker serves by: the running snapshot as listeners, groups and targets, swapped as one.

`build` makes everything that can fail, beside what runs; `swap` only puts it in place, between two events. What did not
change is the same object before and after: targets with their pools and counts, groups with their place in the cycle,
listeners with their connections.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

from balancer.board import layout
from balancer.board.board import Board
from balancer.data.buffers import Buffers
from balancer.data.deadlines import PERIOD
from balancer.data.group import LiveGroup
from balancer.data.http.client import LAST_WORD
from balancer.data.http.exchange import Exchange
from balancer.data.http.upstream import UpstreamProtocol  # at the start: an import needs a descriptor
from balancer.data.listener import LiveListener
from balancer.data.place import Place, log
from balancer.data.target import LiveTarget, settings
from balancer.data.turns import Turns
from balancer.model.reason import Reason
from balancer.model.snapshot import Snapshot
from balancer.routing.router import Router

SLICE = 256  # targets that are built in one go
_NOTED = 128  # requests under way that are looked at before others have their turn


@dataclass(slots=True)
class _Next:
    """What `swap` puts in place."""

    snapshot: Snapshot
    groups: dict[str, LiveGroup]
    targets: dict[tuple[str, str, str, int], LiveTarget]
    sockets: dict[str, socket.socket]
    copies: dict[str, socket.socket]  # of those on which a listener is to begin
    routers: dict[str, Router]


class Live:
    """The data path of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        board: Board,
        place: int,
        places: int,
        send: Callable[[dict[str, object]], object],
    ) -> None:
        self.on_drained: Callable[[], None] = lambda: None
        remember = os.environ.get("BALANCER_HEAD_MEMORY", "on") != "off"
        self.place = Place(loop, board, place, places, send, remember=remember)
        self.snapshot = Snapshot()
        self.listeners: dict[str, LiveListener] = {}
        self.groups: dict[str, LiveGroup] = {}
        self.targets: dict[tuple[str, str, str, int], LiveTarget] = {}
        self._retiring: set[LiveListener] = set()  # gone from the configuration, not yet from their clients
        self._sockets: dict[str, socket.socket] = {}
        self._next: _Next | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._minute = 0.0
        self._to_note: Turns[UpstreamProtocol] = Turns()  # whose requests are under way
        self._due = time.monotonic()  # when the clock's next turn should come
        self._going_on = False  # what its last turn left is looked at in the next turn of the loop
        self.buffers = Buffers(self.place)
        self._tick()

    # Snapshots

    def prepare(self, snapshot: Snapshot) -> dict[str, Router]:
        """Return the routers of a snapshot, by listener; ValueError. May be called in another thread: it only reads."""
        routers = {}
        for spec in snapshot.listeners:
            running = self.listeners.get(spec.name)
            same = running is not None and running.spec.rules == spec.rules
            routers[spec.name] = running.router if running is not None and same else Router(spec.rules)
        return routers

    def build(
        self, snapshot: Snapshot, sockets: dict[str, socket.socket], routers: dict[str, Router] | None = None
    ) -> None:
        """Make what `swap` will put in place; ValueError, and nothing changed, if it cannot be.

        `routers`: what `prepare` returned, if it was called.
        """
        for _ in self.building(snapshot, sockets, routers):
            pass

    def building(
        self, snapshot: Snapshot, sockets: dict[str, socket.socket], routers: dict[str, Router] | None = None
    ) -> Iterator[None]:
        """Do what `build` does in slices: between them, requests may have their turn. Only the last one counts."""
        groups: dict[str, LiveGroup] = {}
        targets: dict[tuple[str, str, str, int], LiveTarget] = {}
        for spec in snapshot.target_groups:
            running = self.groups.get(spec.name)
            if running is not None and running.spec == spec and not any(live.removed for live in running.targets):
                groups[spec.name] = running
                for kept in running.targets:
                    targets[spec.name, kept.spec.name, kept.spec.ip, kept.spec.port] = kept
                continue
            own = []
            for count, target in enumerate(spec.targets):
                key = (spec.name, target.name, target.ip, target.port)
                live = self.targets.get(key)
                if live is None or live.cell != snapshot.slots.get(f"target|{spec.name}|{target.name}", -1):
                    live = LiveTarget(self.place, spec, target, snapshot.slots)
                targets[key] = live
                own.append(live)
                if count % SLICE == SLICE - 1:
                    yield
            groups[spec.name] = LiveGroup(self.place, spec, own, snapshot.slots)
            yield
        for listener in snapshot.listeners:
            if listener.name not in sockets:
                raise ValueError(f"no socket for listener {listener.name!r}")
        routers = routers or self.prepare(snapshot)
        self.withdraw()
        self._next = _Next(snapshot, groups, targets, sockets, self._copies(snapshot, sockets), routers)

    def _copies(self, snapshot: Snapshot, sockets: dict[str, socket.socket]) -> dict[str, socket.socket]:
        """Return a copy of each socket on which a listener is to begin; ValueError. `swap` must not fail for one."""
        copies: dict[str, socket.socket] = {}
        try:
            for name, sock in ((listener.name, sockets[listener.name]) for listener in snapshot.listeners):
                if name not in self.listeners or self._sockets.get(name) is not sock:
                    copies[name] = sock.dup()
        except OSError as error:
            for copy in copies.values():
                copy.close()
            raise ValueError(f"no descriptor for a listener: {error.strerror}") from error
        return copies

    def withdraw(self) -> None:
        """Forget what was built."""
        found, self._next = self._next, None
        for copy in found.copies.values() if found is not None else ():
            copy.close()

    def swap(self) -> None:
        """Put in place what was built."""
        found, self._next = self._next, None
        if found is None:
            return
        snapshot, before = found.snapshot, self.targets
        self.place.version, self.place.revision = snapshot.version, snapshot.revision
        try:
            self.place.access_log.open(snapshot.access_log.path)
        except OSError as error:  # traffic matters more than its log: what was logged to before stays
            log.error("access log cannot be opened path=%s error=%r", snapshot.access_log.path, error.strerror)
        for name, group in found.groups.items():
            running = self.groups.get(name)
            if running is not group:
                settled = running is not None and settings(running.spec) == settings(group.spec)
                for live, spec in zip(group.targets, group.spec.targets, strict=True):
                    if not settled or live.spec != spec:
                        live.configure(group.spec, spec)
                        live.show_streaks()
                group.take_over(running)  # last: those who wait find the places that there are now
        for name, group in self.groups.items():
            if name not in found.groups:
                group.dissolve()
        self.snapshot, self.groups, self.targets = snapshot, found.groups, found.targets
        self.buffers.limit = snapshot.buffer_limit
        for key, target in before.items():
            if self.targets.get(key) is not target:
                target.leave()
        for key, target in self.targets.items():
            if before.get(key) is not target:
                target.show()
                target.show_streaks()
        self._listen(found)

    def _listen(self, found: _Next) -> None:
        snapshot, sockets, routers = found.snapshot, found.sockets, found.routers
        wanted = {listener.name: listener for listener in snapshot.listeners}
        for name, live in list(self.listeners.items()):
            if name not in wanted or self._sockets.get(name) is not sockets[name]:
                del self.listeners[name]
                live.resign()
                self._retiring.add(live)
                drain = max((group.drain_timeout for group in snapshot.target_groups), default=30.0)
                self._spawn(self._retire(live, drain))
        for name, spec in wanted.items():
            running = self.listeners.get(name)
            if running is None:
                running = LiveListener(self.place, name, found.copies.pop(name))
                running.configure(spec, self.groups, snapshot.slots, routers[name])
                self.listeners[name] = running
                self._spawn(running.serve())
            elif running.serves(spec, self.groups):
                running.renumber()
            else:
                running.configure(spec, self.groups, snapshot.slots, routers[name])
        self._sockets = dict(sockets)

    async def _retire(self, live: LiveListener, seconds: float) -> None:
        try:
            await live.retire(seconds)
        finally:
            self._retiring.discard(live)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = self.place.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What control says

    def states(self) -> None:
        """Read the board: control has written."""
        for group in self.groups.values():
            if group.outdated():
                group.refresh()

    def veto(self, group: str, target: str) -> None:
        """Take back an ejection that this worker made for itself."""
        if group in self.groups:
            self.groups[group].veto(target)

    # The coarse clock

    def _tick(self) -> None:
        more = False
        now = time.monotonic()
        try:
            self._measure(now)
            more = self._look(now)
        except Exception:  # the clock goes on: without it nothing would ever time out
            log.exception("internal error in the coarse clock")
        self._due = now + PERIOD
        self.place.loop.call_later(max(0.0, self._due - time.monotonic()), self._tick)
        self._soon(more)

    def _soon(self, more: bool) -> None:
        """Go on as soon as others have had their turn, if more are to be looked at; the beat of the clock is kept."""
        if more and not self._going_on:
            self._going_on = True
            self.place.loop.call_later(0.0, self._go_on)

    def _go_on(self) -> None:
        """Look at what the last turn left."""
        self._going_on = False
        now = time.monotonic()
        deadlines = self.place.deadlines
        more = bool(deadlines) and deadlines.look(now)
        more |= bool(self._to_note) and self._note(now)
        self._soon(self._add_up(self.buffers.go_on()) or more)

    def _note(self, now: float) -> bool:
        """Note some of the requests that are under way for long; return True if others are left for a later turn."""
        exchanges = (one.exchange for one in self._to_note.take(_NOTED) if one.exchange is not None)
        self.place.recent.look(now, (one for one in exchanges if one.client.serving))
        return bool(self._to_note)

    def _add_up(self, more: bool) -> bool:
        """Show what waits in all buffers, unless `more` are still to be asked."""
        if not more:
            self.place.head[layout.ROW_BUFFERED] = self.buffers.total
        return more

    def _measure(self, now: float) -> None:
        """Take how late this turn is; under overload give up what rests, and turn requests away."""
        overload = self.place.overload
        share = overload.share
        if overload.turned(max(0.0, now - self._due), now):
            for listener in (*self.listeners.values(), *self._retiring):
                listener.close_resting(now)
        if overload.share != share:
            log.warning("load shed percent=%d lag_ms=%.0f", overload.share, overload.lag * 1000)
            for group in self.groups.values():
                group.be_careful()

    def _look(self, now: float) -> bool:
        place = self.place
        more = place.deadlines.look(now)
        self._look_at_descriptors(now)
        for group in self.groups.values():
            group.look(now)
        for target in tuple(place.leaving):
            target.look(now)
            if target.is_done():
                place.leaving.discard(target)
        for listener in self.listeners.values():
            listener.show()
        if now - self._minute >= 6.0:
            self._minute = now
            for target in self.targets.values():
                target.forget(0.1)
        everybody = (*self.listeners.values(), *self._retiring)
        more |= self._add_up(self.buffers.look(chain.from_iterable(each.connections for each in everybody), now))
        place.show(sum(listener.active for listener in everybody))
        if not self._to_note:
            place.recent.look(now, self._waiting())
            targets = chain(self.targets.values(), place.leaving)
            self._to_note.begin(chain.from_iterable(target.connections for target in targets))
        more |= self._note(now)
        place.access_log.flush()
        if place.access_log.missing and place.access_log.open_again(now):
            log.info("access log opened path=%s", self.snapshot.access_log.path)
        return more

    def _waiting(self) -> Iterator[Exchange]:
        """Yield the requests that are on their way to a target, or in a queue."""
        for target in chain(self.targets.values(), self.place.leaving):
            if target.connecting or target.waiting:
                yield from target.unconnected()
        for group in self.groups.values():
            if group.waiting:
                yield from group.queue.everybody()

    def _look_at_descriptors(self, now: float) -> None:
        """Keep a tenth of them free: those who only rest go first, then nobody else is accepted for a while."""
        place = self.place
        descriptors = place.descriptors
        targets = self.targets.values()
        used = descriptors.look(
            place.connections,
            sum(len(target.connections) + target.connecting for target in chain(targets, place.leaving)),
            now,
        )
        if not descriptors.short:
            return
        left = used - descriptors.low
        clients = [client for listener in self.listeners.values() for client in listener.resting()]
        for client in heapq.nsmallest(left, clients, key=attrgetter("rests_since")):  # the longest rest first
            client.close_idle()
        left -= min(left, len(clients))
        for target in targets:
            left -= target.close_idle(left)
        if descriptors.low + left >= descriptors.high:
            for listener in self.listeners.values():
                listener.hold_back()

    # The end

    async def drain(self, timeout: float) -> None:
        """Accept what waits, then no more; return when all is finished, or was aborted after `timeout` seconds."""
        place = self.place
        until = time.monotonic() + timeout
        place.draining = True
        listeners = list(self.listeners.values())
        for listener in listeners:
            await listener.stop_accepting()
        self.on_drained()
        listeners += self._retiring
        for listener in listeners:
            for client in listener.connections:
                client.persistent = False
        idle_until = min(until, time.monotonic() + LAST_WORD)
        while any(listener.connections for listener in listeners):
            now = time.monotonic()
            if now >= idle_until:
                for listener in listeners:
                    listener.close_idle()
            if now >= until:
                for listener in listeners:
                    listener.abort(Reason.SHUTTING_DOWN)
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0)  # what was written leaves at the end of the round
        place.access_log.close(1.0)
