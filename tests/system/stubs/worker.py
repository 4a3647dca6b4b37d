"""A worker whose data path answers a line with `pid revision`; `wait S` first waits, `crash` ends the process.

`STUB_WORKER=crash` in the environment: it ends at its start. `STUB_WORKER=stay`: a drain never ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Iterator

from balancer.board import layout
from balancer.board.board import Board
from balancer.model.snapshot import Snapshot
from balancer.process.worker import Send, start
from balancer.routing.router import Router


class Stub:
    """Accepts on duplicates of its sockets, as the real data path does."""

    def __init__(self, loop: AbstractEventLoop, board: Board, place: int, places: int, send: Send) -> None:
        if os.environ.get("STUB_WORKER") == "crash":
            os._exit(70)
        self.on_drained: Callable[[], None] = lambda: None
        self._loop = loop
        self._head = board.row_head(place)
        self._built: dict[str, socket.socket] = {}
        self._running: dict[socket.socket, socket.socket] = {}  # the worker's → ours
        self._tasks: set[Task[None]] = set()
        self.revision = 0
        self._next = 0

    def prepare(self, _snapshot: Snapshot) -> dict[str, Router]:
        return {}

    def building(
        self, snapshot: Snapshot, sockets: dict[str, socket.socket], prepared: dict[str, Router] | None = None, /
    ) -> Iterator[None]:
        self.build(snapshot, sockets, prepared)
        yield

    def build(
        self, snapshot: Snapshot, sockets: dict[str, socket.socket], _prepared: dict[str, Router] | None = None, /
    ) -> None:
        if any(name.startswith("refuse") for name in sockets):
            raise ValueError("told to refuse")
        self._built, self._next = sockets, snapshot.revision

    def swap(self) -> None:
        for theirs in set(self._running) - set(self._built.values()):
            self._close(theirs)
        for theirs in self._built.values():
            if theirs not in self._running:
                self._running[theirs] = ours = theirs.dup()
                self._loop.add_reader(ours.fileno(), self._accept, ours)
        self.revision = self._next

    def withdraw(self) -> None:
        self._built = {}

    def states(self) -> None:
        return

    def veto(self, group: str, target: str) -> None:
        return

    async def drain(self, timeout: float, /) -> None:
        for theirs in list(self._running):
            self._accept(self._running[theirs])
            self._close(theirs)
        self.on_drained()
        if os.environ.get("STUB_WORKER") == "stay":
            await asyncio.sleep(3600)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def _close(self, theirs: socket.socket) -> None:
        ours = self._running.pop(theirs)
        self._loop.remove_reader(ours.fileno())
        ours.close()

    def _accept(self, ours: socket.socket) -> None:
        while True:
            try:
                connection, _ = ours.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        self._head[layout.ROW_ACTIVE] += 1
        with connection:
            said = (await self._loop.sock_recv(connection, 100)).split()
            if said[:1] == [b"wait"]:
                await asyncio.sleep(float(said[1]))
            if said[:1] == [b"crash"]:
                os._exit(1)
            await self._loop.sock_sendall(connection, f"{os.getpid()} {self.revision}\n".encode())
        self._head[layout.ROW_ACTIVE] -= 1


if __name__ == "__main__":
    sys.exit(start(Stub, sys.argv[1]))
