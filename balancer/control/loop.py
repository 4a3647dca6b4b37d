"""loop: control itself: every event comes in here, every effect goes out.

    messages, probes, names, files, time ──> ledger, published ──> board, workers, log

Rules
1. The ledger decides what a target's state is, `states` writes it, `published` brings snapshots to workers: this module
   only connects them.
2. What follows from one event is done before the next is looked at; only publications take time, one at a time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Coroutine, Iterable

from balancer.board import layout
from balancer.board.board import Board
from balancer.board.slots import zones_of_gone
from balancer.control import log
from balancer.control.discovery.dns import Ask, Dns, ask
from balancer.control.discovery.merge import host_of, hosts, source
from balancer.control.drill.driller import Driller
from balancer.control.explain.versions import Versions
from balancer.control.facts import (
    Asked,
    Changed,
    Effect,
    Event,
    Finished,
    Instant,
    Key,
    Ordered,
    Probe,
    Probed,
    Reported,
    Shifted,
    Ticked,
    Vetoed,
)
from balancer.control.ledger import Kept, Ledger
from balancer.control.orders import Order
from balancer.control.places import Places
from balancer.control.probes.job import Job, job_of
from balancer.control.probes.prober import Prober
from balancer.control.publish import Publisher, Refused
from balancer.control.published import Published
from balancer.control.sightings import Sightings
from balancer.control.states import States
from balancer.control.stats import RESULTS, Stats
from balancer.link.channel import Channel, close_all
from balancer.link.messages import ControlStart, Message
from balancer.model.names import State
from balancer.model.snapshot import Snapshot

TICK = 0.25  # seconds
FIRST_ANSWERS = 0.5  # seconds that new names may hold a publication up: without an answer their targets come later
APART = 0.02  # seconds between two looks at a thousand targets that become healthy one by one


def instant() -> Instant:
    """Return this moment."""
    return Instant(time.monotonic(), time.time())


class Control:
    """All of control but its configuration and its admin server."""

    def __init__(self, channel: Channel, board: Board, start: ControlStart, at_once: int, asking: Ask = ask) -> None:
        """`at_once`: the most probes that may run together; `asking` resolves a name, in a thread."""
        self.board = board
        self.places = Places(start.places)
        self.stopping = start.stopping
        self.zones: dict[Key, str] = {}
        self.versions = Versions()
        self.ended = asyncio.Event()
        self.reload_asked: Callable[[], None] = lambda: None
        self._channel = channel
        self.publisher = Publisher(channel.send, self.places)
        self.ledger = Ledger(random.random)
        self.sightings = Sightings(board)
        self.states = States(board, lambda generation: self._say({"is": "states", "generation": generation}))
        self.dns = Dns(lambda: self.published.again(), self._well, asking)
        self.prober = Prober(self._probed, lambda key: self.ledger.records[key].next_delay(random.random()), at_once)
        self.published = Published(
            self.publisher, self.places, dict(start.listeners), self.dns.addresses, self._committing
        )
        self.driller = Driller(self)
        self._unwell: set[str] | None = None  # names with a target that is not healthy; None: count anew
        self._written = 0.0
        self._writing: asyncio.TimerHandle | None = None
        self._jobs: dict[str, dict[Key, Job]] = {}  # what is probed, by target group
        self._stale: set[str] = set()  # groups with changes that are not on the board yet

    @property
    def running(self) -> Snapshot | None:
        """The snapshot that is published."""
        return self.published.running

    @property
    def base(self) -> Snapshot | None:
        """The configuration as written that it was made of."""
        return self.published.base

    # Messages

    def heard(self, message: Message, descriptors: list[int]) -> None:
        """Take one message of the supervisor's."""
        close_all(descriptors)
        self.places.hear(message)
        self.publisher.hear(message)
        match message["is"]:
            case "reload":
                self.reload_asked()
            case "stop":
                self.stopping = True
            case "ready" if self.running is not None and self.places.behind(self.running.revision):
                self.published.again()
            case "eject":
                self.apply(Reported((str(message["group"]), str(message["target"])), str(message["kind"])))
            case "asks":
                self.apply(Asked((str(message["group"]), str(message["target"]))))
            case "unreachable":
                record = self.ledger.records.get((str(message["group"]), str(message["target"])))
                if record is not None:
                    self.dns.hurry(source(record.target.name) or host_of(record.target))

    def _say(self, message: Message) -> None:
        self._channel.send(message)

    # Events

    def apply(self, event: Event) -> None:
        """Let an event have its effects."""
        self._follow(self.ledger.apply(event, instant()))

    def order(self, key: Key, order: Order) -> None:
        """Take the operator's orders on a target; whoever is to serve again is probed at once."""
        self.apply(Ordered(key, order))
        self.write_states()
        if self.ledger.records[key].state is State.UNKNOWN:
            self.prober.hurry(key)

    def _probed(self, key: Key, probe: Probe) -> None:
        if self.running is not None:
            slot = self.running.slots.get(f"checks|{key[0]}|{key[1]}")
            if slot is not None:
                self.board.row(layout.CONTROL_PLACE)[slot + RESULTS.index(probe.result)] += 1
        self.apply(Probed(key, probe))

    def _follow(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Changed():
                    self._say_changed(effect)
                    self._write_soon(effect.key[0])
                case Vetoed((group, target)):
                    self._say({"is": "veto", "group": group, "target": target})
                case Finished():
                    self.published.again()
                case Shifted((group, _)):
                    self._write_soon(group)

    def _write_soon(self, group: str) -> None:
        """Write a group's part of the board now, or as soon as the last time is a little past."""
        self._stale.add(group)
        if self._writing is None:
            wait = max(0.0, self._written + APART - time.monotonic())
            self._writing = asyncio.get_running_loop().call_later(wait, self._write_stale)

    def _write_stale(self) -> None:
        self.write_states(self._stale)

    def write_states(self, groups: Collection[str] | None = None) -> None:
        """Bring the board up to date, for these groups or for all."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        self._written, self._unwell = time.monotonic(), None
        if self.running is not None:
            self.states.write(self.running, self.ledger, instant(), groups)
        self._stale = set()

    def _say_changed(self, change: Changed) -> None:
        record = self.ledger.records.get(change.key)
        bad = change.new in (State.UNHEALTHY, State.EJECTED)
        log.say(
            log.WARNING if bad else log.INFO,
            f"target became {change.new.value}",
            group=change.key[0],
            target=change.key[1],
            address=record.target.address if record is not None else None,
            zone=record.target.zone if record is not None else None,
            was=change.old.value,
            evidence=change.evidence.value if bad else None,
            reason=change.reason,
            detail=change.detail or None,
        )

    # Snapshots

    async def take(self, base: Snapshot) -> None:
        """Publish another configuration. Raises Refused or NoRoom: nothing has changed."""
        if self.stopping:
            raise Refused("the balancer is stopping (start it again with this configuration)")
        self.want_names(base)
        try:
            await self.dns.answered(FIRST_ANSWERS)
            await self.published.take(base)
        finally:
            self.want_names(self.base)

    def adopt(self, running: Snapshot, base: Snapshot, kept: dict[Key, Kept], leaving: Iterable[Key]) -> None:
        """Go on with what is published: control has started anew."""
        drains = {group.name: group.drain_timeout for group in running.target_groups}
        ends = {key: kept[key].since.monotonic + drains[key[0]] for key in leaving}
        self.zones.update(zones_of_gone(running.slots))
        self.published.adopt(running, base, ends)
        self.want_names(base)
        self._take_over(running, ends, kept)
        self.driller.resume()

    def want_names(self, base: Snapshot | None) -> None:
        """Resolve the names of a configuration from now on, and those that run."""
        groups = [group for one in (base, self.base) if one is not None for group in one.target_groups]
        self.dns.want(host for group in groups for host in hosts(group))

    def _committing(self, snapshot: Snapshot, leaving: dict[Key, float]) -> None:
        self.board.cells[layout.CONFIG_VERSION] = snapshot.version
        self._take_over(snapshot, leaving, None)

    def _take_over(self, snapshot: Snapshot, leaving: dict[Key, float], kept: dict[Key, Kept] | None) -> None:
        self.versions.keep(snapshot)
        before = self.ledger.groups
        fresh = [group for group in snapshot.target_groups if before.get(group.name) is not group]
        self.zones.update(((group.name, target.name), target.zone) for group in fresh for target in group.targets)
        for group in fresh:
            jobs = {(group.name, target.name): job_of(group, target) for target in group.targets}
            self._jobs[group.name] = {key: job for key, job in jobs.items() if job is not None}
        self._jobs = {group.name: self._jobs[group.name] for group in snapshot.target_groups}
        self._follow(self.ledger.adopt(snapshot, leaving, instant(), kept))
        changed = {group.name for group in fresh} | {name for name, _ in leaving} | self._stale
        self.write_states(None if kept is not None else changed)
        self.prober.assign({key: job for jobs in self._jobs.values() for key, job in jobs.items()})

    def _well(self, host: str) -> bool:
        if self._unwell is None:
            unwell = [one.target for one in self.ledger.records.values() if one.state is not State.HEALTHY]
            self._unwell = {source(target.name) or host_of(target) for target in unwell}
        return host not in self._unwell

    # Time

    async def tick(self) -> None:
        """Do what is due by time alone, until cancelled."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            self.apply(Ticked())
            now = time.monotonic()
            if now - last >= 1.0:
                last = now
                self._finish_idle(now)
                if self.running is not None:
                    for key, kind in list(self.sightings.look(self.running, now)):
                        self.apply(Reported(key, kind))
                if self.states.restless(self.ledger, now):
                    self.write_states()

    def _finish_idle(self, now: float) -> None:
        """End the drain of targets that have nothing left to do; a second's grace is for picks under way."""
        stats = self.stats()
        for group, target in [key for key, end in self.published.leaving.items() if end > now]:
            record = self.ledger.records.get((group, target))
            idle = stats is not None and stats.active(group, target) == 0
            if record is not None and idle and now - record.since.monotonic > 1.0:
                self.published.leaving[group, target] = now
                self.published.again()

    def stats(self) -> Stats | None:
        """Return the board's numbers, None before the first publication."""
        running = self.running
        return Stats(self.board, running.slots, running.workers) if running is not None else None

    def parts(self) -> list[Coroutine[None, None, None]]:
        """Return what must go on for as long as control lives."""
        return [
            self.dns.run(),
            self.prober.run(),
            self.published.keep_up(lambda: not self.stopping),
            self.driller.run(),
            self.tick(),
        ]
