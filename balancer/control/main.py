"""main: the life of the control process, from its first message to its last."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

from balancer.board import layout
from balancer.board.board import Board
from balancer.board.slots import NoRoom
from balancer.config.fault import Fault
from balancer.control import log
from balancer.control.admin.address import url
from balancer.control.admin.door import most_connections
from balancer.control.admin.server import AdminServer
from balancer.control.discovery.merge import as_written, known_addresses
from balancer.control.loop import Control, instant
from balancer.control.picture import LastReload
from balancer.control.publish import Refused
from balancer.control.readiness import FIRST_CHECKS, Readiness
from balancer.control.reload import Reload, hash_of
from balancer.control.states import kept_on_board
from balancer.link.channel import Channel
from balancer.link.messages import ControlStart
from balancer.model import codec
from balancer.model.names import State
from balancer.model.snapshot import Snapshot

INPUT_FAULT, OUR_FAULT = 1, 70
MOST_PROBES = 4096


class Program:
    """Control with its configuration and its admin server."""

    def __init__(self, config: Path, channel: Channel, board: Board, start: ControlStart) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.control = Control(channel, board, start, max(8, min(MOST_PROBES, descriptors // 4)))
        self.reload = Reload(config, self._take)
        self.readiness = Readiness(self.control)
        self.admin = AdminServer(self.control, self.reload, self.readiness, most_connections(descriptors))
        self._channel = channel
        self._board = board
        self._start = start
        self._tasks: set[asyncio.Task[object]] = set()
        self._failed = False

    async def run(self) -> int:
        """Return the exit code once the supervisor wants control to end."""
        control = self.control
        control.reload_asked = lambda: self._go(self.reload.apply("signal"))
        self._channel.attach(asyncio.get_running_loop(), control.heard, control.ended.set)
        for part in control.parts():
            self._go(part)
        try:
            if self._start.snapshot is not None:
                self._resume(codec.decode(self._start.snapshot))
            elif await self._begin():
                self._channel.send({"is": "fail", "exit": INPUT_FAULT})
                return INPUT_FAULT
            self._go(self._follow_files())
            self._go(self._announce())
            await control.ended.wait()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await self.admin.close()
        return OUR_FAULT if self._failed else 0

    # Beginnings

    async def _begin(self) -> tuple[Fault, ...]:
        """Take over the first configuration; return its faults, said already, if it cannot be."""
        loaded = await self.reload.read()
        faults = loaded.faults
        if loaded.snapshot is not None:
            base = replace(loaded.snapshot, version=1)
            try:
                await self._listen_for_admin(base)
                self.reload.taken(base, await self._take(base))
            except (Refused, NoRoom) as error:
                faults = (self.reload.fault(error, loaded),)
        for fault in faults:
            print(fault, file=sys.stderr, flush=True)
        self.reload.last = LastReload(not faults, time.time(), faults)
        self.readiness.began(anew=False)
        return faults

    def _resume(self, running: Snapshot) -> None:
        """Go on with the snapshot that runs, with the states on the board. What is on disk is read after that."""
        control = self.control
        kept = kept_on_board(self._board, running, instant())
        leaving = {key for key, one in kept.items() if one.leaving}
        base = as_written(running, leaving)
        control.adopt(running, base, kept, leaving)
        control.dns.recall(known_addresses(running, leaving))
        self.reload.resumed(base, self._board.cells[layout.CONFIG_LOADED] / 1000, self._recognise)
        self.readiness.began(anew=True)
        log.info("control started anew", version=running.version, revision=running.revision, targets=len(kept))
        self._go(self._admin_again(base))

    def _recognise(self, found: Snapshot) -> None:
        """Take what is on disk for the text of what runs, if it is that: a snapshot does not say all of it."""
        control, base = self.control, self.control.base
        if base is not None and _mark(found) == self._board.cells[layout.CONFIG_HASH]:
            base = replace(found, version=base.version)
            control.published.base = base
            control.want_names(base)
            self.reload.taken(base, self.reload.loaded_at_wall)

    async def _follow_files(self) -> None:
        """Take over what is on disk whenever it changes; a control that starts anew begins with looking."""
        if self._start.snapshot is not None:
            await self.reload.apply("start")
        await self.reload.watch()

    async def _take(self, base: Snapshot) -> float:
        """Have workers take `base`; return since when it runs, as a control that starts anew will read it."""
        await self.control.take(base)
        self._board.cells[layout.CONFIG_HASH] = _mark(base)
        self._board.cells[layout.CONFIG_LOADED] = since = time.time_ns() // 1_000_000
        return since / 1000

    # The admin server

    async def _listen_for_admin(self, base: Snapshot) -> None:
        try:
            self._admin_url = await self.admin.start(base.admin)
        except OSError as error:
            words = (error.strerror or str(error)).lower()
            raise Refused(
                f"the admin server cannot listen on {base.admin.address}: {words} (change admin.address)"
            ) from error

    async def _admin_again(self, base: Snapshot) -> None:
        while True:
            try:
                await self._listen_for_admin(base)
            except Refused as error:
                log.warn("the admin server could not start", error=error)
                await asyncio.sleep(1.0)
            else:
                return

    # Saying so

    async def _announce(self) -> None:
        """Say where to go, and how many targets are well, once that is known."""
        since = time.monotonic()
        while self.readiness.reasons() and time.monotonic() - since < FIRST_CHECKS + 8:
            await asyncio.sleep(0.05)
        control = self.control
        if control.running is None or control.stopping or self._start.snapshot is not None:
            return
        for listener in control.running.listeners:
            bound = control.published.listeners.get(listener.name, listener.address)
            host, _, port = bound.rpartition(":")
            where = url(host.strip("[]"), int(port))
            log.info(f"listening on {where}", listener=listener.name, bind=None if bound in where else bound)
        bound = self.admin.bound
        log.info(f"admin on {self._admin_url}", bind=None if bound in self._admin_url else bound)
        for name in control.ledger.groups:
            records = [one for one in control.ledger.group(name) if one.state not in (State.DRAINING, State.DISABLED)]
            healthy = sum(record.state is State.HEALTHY for record in records)
            zones = len({record.target.zone for record in records})
            group = None if len(control.ledger.groups) == 1 else name
            told = f"{healthy} of {len(records)} targets healthy in {zones} zone{'' if zones == 1 else 's'}"
            log.info(told, group=group)

    # Tasks

    def _go(self, part: object) -> None:
        task: asyncio.Task[object] = asyncio.ensure_future(part)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The rest cannot be trusted any more: the supervisor starts control anew.
            log.LOG.error("control failed", exc_info=task.exception())
            self._failed = True
            self.control.ended.set()


def _mark(base: Snapshot) -> int:
    """Return the first 64 bits of a configuration's hash."""
    return int(hash_of(base)[:16], 16)


async def run(config: Path, channel: Channel, board: Board, start: ControlStart) -> int:
    """Run control until the supervisor wants it to end; return its exit code."""
    return await Program(config, channel, board, start).run()
