"""The entry of a worker process: it begins as a child, takes its place, and does with the data path what it is told.

    start ──> build, swap ──> ready        offer ──> build ──> built | refused        commit ──> swap ──> swapped
    stop ──> drain ──> exit 0              withdraw, states, veto                     end of the channel ──> exit 0

A worker that is told to use a snapshot which it has not built (the offer was lost, or came to its predecessor) ends:
its successor starts on that very snapshot.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from asyncio import AbstractEventLoop, Future, Task
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import uvloop

from balancer.board import layout, rings
from balancer.board.board import Board
from balancer.link import memory
from balancer.link.channel import Channel, Ended, close_all
from balancer.link.messages import Message, WorkerStart, worker_start
from balancer.log.sink import LOG, to_stderr
from balancer.model import codec
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import Snapshot
from balancer.model.uncollected import uncollected
from balancer.process.begin import OUR_FAULT, START_WITHIN, beat, begin, no_core_dumps, settle
from balancer.routing.router import Router

LARGE = 256 * 1024  # bytes of a snapshot that takes long enough to read for a request to notice
USUAL = sys.getswitchinterval()
SLICE = 0.002  # seconds that the loop builds before requests have their turn
GIVE_WAY = 0.0005  # seconds that a thread may go on while the loop wants to


class DataPath(Protocol):
    """What a worker asks of the data path. Everything is called from the loop."""

    on_drained: Callable[[], None]  # to be called once `drain` accepts no more

    def prepare(self, snapshot: Snapshot) -> dict[str, Router]:
        """Return what can be made of a snapshot in another thread; ValueError if it cannot be."""

    def build(
        self, snapshot: Snapshot, sockets: dict[str, socket.socket], prepared: dict[str, Router] | None = None, /
    ) -> None:
        """Build beside what runs, and change nothing; ValueError if it cannot be. Replaces an earlier build.

        `sockets` by listener; one that runs already is the same object again. They stay the worker's, which closes
        them when no committed listener uses them any more: serve a `dup()`.
        """

    def building(
        self, snapshot: Snapshot, sockets: dict[str, socket.socket], prepared: dict[str, Router] | None = None, /
    ) -> Iterator[None]:
        """Do what `build` does in slices. Between them requests have their turn, but nothing is swapped or built."""

    def swap(self) -> None:
        """Use what was built."""

    def withdraw(self) -> None:
        """Forget what was built."""

    def states(self) -> None:
        """Read the board: control has written."""

    def veto(self, group: str, target: str) -> None:
        """Take an ejection back."""

    async def drain(self, timeout: float, /) -> None:
        """Accept what waits, then no more; return when all is finished, or was aborted after `timeout` seconds."""


Send = Callable[[Message], None]
NewDataPath = Callable[[AbstractEventLoop, Board, int, int, Send], DataPath]


class Worker:
    """One worker between its channel and its data path."""

    def __init__(self, loop: AbstractEventLoop, channel: Channel, board: Board, start: WorkerStart) -> None:
        self._loop = loop
        self._channel = channel
        self._board = board
        self._head = board.row_head(start.place)
        self._start = start
        self._held: dict[int, socket.socket] = {}  # by inode: whoever comes twice is the same socket
        self._running: dict[str, socket.socket] = {}
        self._built: tuple[int, dict[str, socket.socket]] | None = None
        self._building: tuple[int, Task[None]] | None = None  # a large snapshot is built beside the traffic
        self._wanted = False  # True: what is being built is committed already
        self._known: dict[bytes, object] = {}  # parts of the last large snapshot, by how they are written
        self._offer: dict[str, socket.socket] = {}  # its sockets
        self._generation = -1
        self._draining: Task[None] | None = None
        self.done: Future[int] = loop.create_future()

    def begin(self, snapshot: Snapshot, descriptors: list[int], new: NewDataPath) -> None:
        """Serve on the committed snapshot; `descriptors` are the sockets of the start message. Raises ValueError."""
        start = self._start
        claim(self._board, start.place, snapshot)
        self._data = new(self._loop, self._board, start.place, start.places, self._say)
        self._data.on_drained = self._drained
        sockets = self._adopt(start.listeners, descriptors)
        self._data.build(snapshot, sockets)
        self._built = start.revision, sockets
        self._swap()
        beat(self._loop, self._head, layout.ROW_BEAT, self._look)
        self._channel.attach(self._loop, self._heard, self._ended)
        settle()
        self._say({"is": "ready", "revision": start.revision})

    def _heard(self, message: Message, descriptors: list[int]) -> None:
        if self._draining is not None and message["is"] in ("offer", "commit", "withdraw"):
            close_all(descriptors)  # it serves to its end on what it has
            return
        match message["is"]:
            case "offer":
                self._offered(message, descriptors)
                return
            case "commit":
                self._committed(int(message["revision"]))
            case "withdraw":
                self._withdraw()
            case "states":
                self._look()
            case "veto":
                self._data.veto(str(message["group"]), str(message["target"]))
            case "stop" if self._draining is None:
                self._draining = self._loop.create_task(self._drain(float(message["timeout"])))
        close_all(descriptors)

    # Snapshots

    def _offered(self, message: Message, descriptors: list[int]) -> None:
        revision = int(message["revision"])
        self._withdraw()
        try:
            data = take(descriptors)
            sockets = self._adopt(tuple(message["listeners"]), descriptors)
            if len(data) > LARGE:
                self._offer = sockets
                task = self._loop.create_task(self._build_beside(revision, data, sockets))
                self._building = revision, task
                return
            self._data.build(codec.decode(data), sockets)
        except Exception as error:
            self._refuse(revision, error)
            return
        self._have_built(revision, sockets)

    async def _build_beside(self, revision: int, data: bytes, sockets: dict[str, socket.socket]) -> None:
        """Build while requests go on: reading in a thread that gives way at once, the rest in slices."""

        def read() -> tuple[Snapshot, dict[str, Router]]:
            snapshot = codec.decode(data, self._known)
            return snapshot, self._data.prepare(snapshot)

        sys.setswitchinterval(GIVE_WAY)
        try:
            with uncollected():
                snapshot, prepared = await self._loop.run_in_executor(None, read)
                since = time.perf_counter()
                for _ in self._data.building(snapshot, sockets, prepared):
                    if time.perf_counter() - since > SLICE:
                        await asyncio.sleep(0)
                        since = time.perf_counter()
        except Exception as error:
            self._refuse(revision, error)
        else:
            self._have_built(revision, sockets)
        finally:
            sys.setswitchinterval(USUAL)

    def _have_built(self, revision: int, sockets: dict[str, socket.socket]) -> None:
        self._building, self._offer = None, {}
        self._built = revision, sockets
        self._say({"is": "built", "revision": revision})
        if self._wanted:
            self._wanted = False
            self._committed(revision)

    def _refuse(self, revision: int, error: Exception) -> None:
        if not isinstance(error, ValueError):
            LOG.error("a snapshot could not be built", exc_info=error)
        self._building, self._offer = None, {}
        self._close_unused()
        self._say({"is": "refused", "revision": revision, "error": str(error) or repr(error)})
        if self._wanted:
            self._end(OUR_FAULT)

    def _committed(self, revision: int) -> None:
        if self._building is not None and self._building[0] == revision:
            self._wanted = True  # the offer came just before: to a worker that was started after the others' offer
            return
        if self._built is not None and self._built[0] == revision:
            try:
                self._swap()
            except Exception:
                LOG.exception("a snapshot could not be taken over")
                self._end(OUR_FAULT)
                return
        elif self._head[layout.ROW_REVISION] != revision:
            self._end(OUR_FAULT)
            return
        self._say({"is": "swapped", "revision": revision})

    def _swap(self) -> None:
        assert self._built is not None
        self._data.swap()
        revision, self._running = self._built
        self._built = None
        self._head[layout.ROW_REVISION] = revision
        self._close_unused()

    def _withdraw(self) -> None:
        if self._building is not None:
            self._building[1].cancel()
            self._building, self._offer, self._wanted = None, {}, False
        if self._built is not None:
            self._built = None
            self._data.withdraw()
        self._close_unused()

    def _look(self) -> None:
        """Have the states read if they are not those of the last look; a message about them may have been lost."""
        generation = self._board.cells[layout.GENERATION]
        if generation != self._generation and not generation & 1:  # odd: control is writing
            self._generation = generation
            self._data.states()

    # Sockets

    def _adopt(self, names: tuple[str, ...], descriptors: list[int]) -> dict[str, socket.socket]:
        """Return the sockets by listener; those that are held already are kept, and their new descriptors closed."""
        if len(names) != len(descriptors):
            close_all(descriptors)
            raise ValueError(f"{len(descriptors)} sockets came for {len(names)} listeners")
        sockets = {}
        for name, descriptor in zip(names, descriptors, strict=True):
            inode = os.fstat(descriptor).st_ino
            if inode in self._held:
                os.close(descriptor)
            else:
                self._held[inode] = socket.socket(fileno=descriptor)
            sockets[name] = self._held[inode]
        return sockets

    def _close_unused(self) -> None:
        used = {*self._running.values(), *self._offer.values(), *(self._built[1].values() if self._built else ())}
        for inode, sock in list(self._held.items()):
            if sock not in used:
                del self._held[inode]
                sock.close()

    # The end

    async def _drain(self, seconds: float) -> None:
        try:
            await self._data.drain(seconds)
        except Exception:
            LOG.exception("the drain failed")
            self._end(OUR_FAULT)
        else:
            self._end(0)

    def _drained(self) -> None:
        self._withdraw()
        self._running, self._built = {}, None
        self._close_unused()
        self._say({"is": "drained"})

    def _say(self, message: Message) -> None:
        self._channel.send(message)

    def _ended(self) -> None:
        self._end(0)

    def _end(self, code: int) -> None:
        if not self.done.done():
            self.done.set_result(code)


def take(descriptors: list[int]) -> bytes:
    """Return the bytes of the memory file that comes first in `descriptors`, and take it out. Raises ValueError."""
    if not descriptors:
        raise ValueError("no snapshot came along")
    descriptor = descriptors.pop(0)
    try:
        return memory.content(descriptor)
    finally:
        os.close(descriptor)


def claim(board: Board, place: int, snapshot: Snapshot) -> None:
    """Make a row this process's own: what its predecessor had in hand is counted as lost, its gauges go to zero."""
    head, row = board.row_head(place), board.row(place)
    lost = _requests_at_targets(row, snapshot.slots)
    inside = sum(row[at + layout.LISTENER_ACTIVE] for key, at in snapshot.slots.items() if key.startswith("listener|"))
    lost[""] = max(0, inside - lost.total())  # those that had no target yet
    for group, count in lost.items():
        at = snapshot.slots.get(f"reasons|{group}")
        if at is not None:
            row[at + REASON_CODES[Reason.WORKER_LOST]] += count
    head[layout.ROW_LOST] += lost.total()
    rings.inherit(board, place, REASON_CODES[Reason.WORKER_LOST] + 1, time.time())
    for gauge in layout.ROW_GAUGES:
        head[gauge] = 0
    for key, at in snapshot.slots.items():
        for gauge in layout.GAUGES.get(key.partition("|")[0], ()):
            row[at + gauge] = 0
    if head[layout.ROW_STARTS]:
        board.clear_table(layout.CLIENTS, place)
    head[layout.ROW_REVISION] = 0
    head[layout.ROW_STARTED] = time.time_ns() // 1_000_000
    head[layout.ROW_STARTS] += 1
    head[layout.ROW_PID] = os.getpid()


def _requests_at_targets(row: memoryview[int], slots: Mapping[str, int]) -> Counter[str]:
    """Return the requests in flight by target group."""
    active: Counter[str] = Counter()
    for key, at in slots.items():
        kind, _, rest = key.partition("|")
        if kind == "target":
            active[rest.partition("|")[0]] += row[at + layout.TARGET_ACTIVE]
    return active


def start(new: NewDataPath, place: str) -> int:
    """Begin, serve until told to stop, and return the exit code."""
    channel = begin(f"balancer-w{place}")
    no_core_dumps()
    try:
        message, descriptors = channel.wait(START_WITHIN)
    except Ended:
        return 0
    board = Board(descriptors[0])
    os.close(descriptors.pop(0))
    with uncollected():
        snapshot = codec.decode(take(descriptors))
    loop = uvloop.new_event_loop()

    async def serve() -> int:
        worker = Worker(loop, channel, board, worker_start(message))
        worker.begin(snapshot, descriptors, new)
        return await worker.done

    return loop.run_until_complete(serve())


def main(place: str) -> int:
    """Return the exit code: 0 after a drain, 70 if it is our fault."""
    to_stderr()
    try:
        from balancer.data.live import Live

        return start(Live, place)
    except Exception:
        LOG.exception("worker failed")
        return OUR_FAULT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
