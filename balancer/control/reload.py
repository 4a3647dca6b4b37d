"""reload: the one way by which a configuration is taken over: read → check → diff → publish.

A changed file, SIGHUP and the admin API all come here. A bad file changes nothing and is reported; half of a
configuration is never applied.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from math import inf
from pathlib import Path
from typing import TypeVar

from balancer.board import layout
from balancer.board.slots import NoRoom
from balancer.config import processors
from balancer.config.fault import Fault, few
from balancer.config.load import Loaded, load
from balancer.config.plan import Change, diff, restart_faults
from balancer.control import log
from balancer.control.picture import LastReload
from balancer.control.publish import Refused
from balancer.control.watch import PERIOD, Watch
from balancer.model import codec
from balancer.model.snapshot import Snapshot

AGAIN = 1.0  # seconds after which a configuration that was refused in passing is tried again
SHOWN = 10  # changes in a log line


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. No changes: the configuration was the same."""

    success: bool
    version: int
    changes: tuple[Change, ...] = ()
    faults: tuple[Fault, ...] = ()
    passing: bool = False  # it was not for the configuration: the same is tried again in a moment


class Reload:
    """The configuration on disk and its way in. `base` is what was taken over last, as written."""

    def __init__(self, config: Path, take: Callable[[Snapshot], Awaitable[float]]) -> None:
        """`take` publishes a configuration; it raises Refused or NoRoom, and then nothing has changed."""
        self.config = config
        self.base: Snapshot | None = None
        self.last = LastReload()
        self.loaded_at_wall = 0.0
        self._take = take
        self._recognise: Callable[[Snapshot], None] | None = None
        self._watch = Watch(config)
        self._lock = asyncio.Lock()
        self._again_at = inf  # when what was refused in passing is tried again (monotonic)
        self._read_seconds = 0.0  # what the last reading took
        self._cpus = cache(processors.cpus)  # `workers: auto` stays what it was when the program began

    @property
    def hash(self) -> str:
        """Return the hash of the configuration that runs."""
        return hash_of(self.base) if self.base is not None else ""

    async def read(self) -> Loaded:
        """Read and check what is on disk."""
        self._watch.about_to_load()
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        began = time.monotonic()
        loaded = await asyncio.to_thread(self._load, nofile)
        self._read_seconds = time.monotonic() - began
        self._watch.loaded(loaded.files)
        if loaded.snapshot is not None and loaded.snapshot.workers > layout.CONTROL_PLACE:
            loaded = replace(loaded, snapshot=replace(loaded.snapshot, workers=layout.CONTROL_PLACE))
        for warning in loaded.warnings:
            log.warn("configuration has a warning", **_place(warning))
        return loaded

    def _load(self, nofile: int) -> Loaded:
        loaded = load(self.config, os.environ, cpus=self._cpus, nofile=nofile)
        loaded = replace(loaded, faults=few(loaded.faults), warnings=few(loaded.warnings))
        if loaded.snapshot is None:
            return loaded
        snapshot = shared(self.base, loaded.snapshot) if self.base is not None else loaded.snapshot
        hash_of(snapshot)  # here, where nobody waits for it
        return replace(loaded, snapshot=snapshot)

    def resumed(self, base: Snapshot, at_wall: float, recognise: Callable[[Snapshot], None]) -> None:
        """Take note of what runs, as the board and the workers know it.

        `recognise` is told what is found on disk before that is compared: it may call `taken` with the exact text.
        """
        self.taken(base, at_wall)
        self._recognise = recognise

    async def apply(self, origin: str, loaded: Loaded | None = None) -> Outcome:
        """Take over what is on disk, or was `loaded` just now; `origin`: file, signal, admin, start. One at a time."""
        async with self._lock:
            loaded = loaded or await self.read()
            began = time.monotonic()
            outcome = await self._apply(loaded)
            published = time.monotonic() - began
            self._again_at = time.monotonic() + AGAIN if outcome.passing else inf
        self.last = LastReload(outcome.success, time.time(), outcome.faults)
        for fault in outcome.faults:
            if outcome.passing:
                log.warn(
                    "configuration did not reach all", origin=origin, problem=fault.problem, again_in=f"{AGAIN:g}s"
                )
            else:
                log.warn("configuration was rejected", origin=origin, **_place(fault))
        if outcome.success:
            told = "; ".join(sentence(change) for change in outcome.changes[:SHOWN]) or "nothing"
            more = len(outcome.changes) - SHOWN
            told += f"; and {more} more" if more > 0 else ""
            log.info(
                "configuration was reloaded",
                origin=origin,
                version=outcome.version,
                changes=told,
                read=f"{self._read_seconds * 1000:.0f}ms",
                published=f"{published * 1000:.0f}ms",
            )
        return outcome

    async def _apply(self, loaded: Loaded) -> Outcome:
        if self._recognise is not None and loaded.snapshot is not None:
            self._recognise(loaded.snapshot)
            self._recognise = None
        old, new = self.base, loaded.snapshot
        if new is None or old is None:
            return Outcome(False, old.version if old is not None else 0, faults=loaded.faults)
        changes = diff(old, new)
        faults = restart_faults(changes, loaded.places)
        if faults:
            return Outcome(False, old.version, changes, faults)
        if _plain(old) == _plain(new):
            return Outcome(True, old.version)
        new = replace(new, version=old.version + 1)
        try:
            since = await self._take(new)
        except (Refused, NoRoom) as error:
            passing = isinstance(error, Refused) and error.passing
            fault = self.fault(error, loaded)
            if passing:
                fault = replace(fault, remedy=f"{fault.remedy}; it is tried again in {AGAIN:g} s")
            return Outcome(False, old.version, changes, (fault,), passing)
        self.taken(new, since)
        return Outcome(True, new.version, changes)

    def taken(self, base: Snapshot, at_wall: float) -> None:
        """Take note that `base` runs, since `at_wall` (seconds since 1970)."""
        self.base, self.loaded_at_wall = base, at_wall

    def fault(self, error: Refused | NoRoom, loaded: Loaded) -> Fault:
        """Return the fault that a refusal is, placed at the listener that cannot be bound if it is that."""
        if isinstance(error, Refused) and error.passing:
            return Fault("", 0, 0, "", str(error), "nothing was changed")
        problem, _, remedy = str(error).partition(" (")
        remedy = remedy.removesuffix(")") or "nothing was changed; see the log"
        path = ""
        if isinstance(error, Refused) and error.listener and loaded.snapshot is not None:
            path = f"listeners.{error.listener}.address"
            address = next((one.address for one in loaded.snapshot.listeners if one.name == error.listener), "")
            problem = f"cannot listen on {address}: {problem}"
        place = loaded.places.get(path) or loaded.places.get("")
        file, line, column = (place.file, place.line, place.column) if place else (str(self.config), 1, 1)
        return Fault(file, line, column, path, problem, remedy)

    async def watch(self) -> None:
        """Reload whenever the files have changed, or somebody was late the last time, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            for file in self._watch.replaced_on_host():
                log.warn(
                    "the configuration was replaced on the host, but this container still sees the old file: "
                    "mount the folder instead of the file (./config:/etc/balancer)",
                    file=file,
                )
            if self._watch.changed() or time.monotonic() >= self._again_at:
                await self.apply("file")


def hash_of(snapshot: Snapshot) -> str:
    """Return the hash of a configuration, whatever its version, as 64 hexadecimal digits."""
    plain = _plain(snapshot)
    for known, digest in tuple(_known):
        if all(getattr(known, name) is getattr(plain, name) for name in _PARTS):
            return digest
    digest = hashlib.sha256(codec.encode(plain)).hexdigest()
    _known.append((plain, digest))
    return digest


def shared(old: Snapshot, new: Snapshot) -> Snapshot:
    """Return `new` with the very objects of `old` where they are equal: what differs is then seen at a glance."""
    listeners = {one.name: one for one in old.listeners}
    groups = {one.name: one for one in old.target_groups}

    def known(one: _Named, before: _Named | None) -> _Named:
        return one if before is None or before != one else before

    return replace(
        new,
        listeners=tuple(known(one, listeners.get(one.name)) for one in new.listeners),
        target_groups=tuple(known(one, groups.get(one.name)) for one in new.target_groups),
    )


_Named = TypeVar("_Named")
_PARTS = [field.name for field in fields(Snapshot) if field.name not in ("version", "revision", "slots")]
_known: deque[tuple[Snapshot, str]] = deque(maxlen=2)  # asked for again and again, dear where targets are many


def _plain(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, version=0, revision=0, slots={})


def sentence(change: Change) -> str:
    """Return one change in words: `changed target_groups.demo.targets.a1: weight 1 → 5`."""
    told = ", ".join(f"{field.name} {field.old} → {field.new}" for field in change.fields)
    return f"{change.kind.value} {change.path}" + (f": {told}" if told else "")


def _place(fault: Fault) -> dict[str, object]:
    where = f"{fault.file}:{fault.line}:{fault.column}" if fault.file else None
    return {"at": where, "path": fault.path or None, "problem": fault.problem, "remedy": fault.remedy}
