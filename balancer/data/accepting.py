"""Accepting: the socket of a listener in one worker, and whether connections are taken from it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine

from balancer.data.place import Place

# The loop accepts one connection a turn on each descriptor it watches: with several of the one socket a turn is shared
# by as many new connections (an eighth less CPU for each; docs/performance.md).
WATCHED = 4


class Accepting:
    """Takes connections from a listening socket, until it is told to pause or to end."""

    __slots__ = (
        "_backlog",
        "_client",
        "_ended",
        "_opening",
        "_place",
        "_servers",
        "coming",
        "copies",
        "paused",
        "sock",
    )

    def __init__(self, place: Place, sock: socket.socket, client: Callable[[], asyncio.Protocol]) -> None:
        """`client` makes what serves a connection."""
        self.sock = sock
        self.copies = 1  # descriptors of the socket that are to be watched
        self.paused = False
        self.coming = 0  # connections that were taken and are no clients yet
        self._place = place
        self._client = client
        self._servers: list[asyncio.Server] = []  # that watch a copy each
        self._opening: asyncio.Task[None] | None = None
        self._ended = False
        self._backlog = 0  # as the kernel was told last

    def __bool__(self) -> bool:
        """Return whether connections are taken."""
        return bool(self._servers)

    def open(self) -> Coroutine[object, object, None]:
        """Return the work of watching as many copies as are to be; OSError where no descriptor is left for one."""
        missing = self.copies - len(self._servers)
        copies = [self.sock.dup()] if missing > 0 else []  # closing a server closes its socket
        with contextlib.suppress(OSError):  # one is enough where descriptors are few
            while len(copies) < missing:
                copies.append(self.sock.dup())
        return self._open(copies)

    async def _open(self, copies: list[socket.socket]) -> None:
        place = self._place
        self._backlog = place.descriptors.backlog
        try:
            while copies and not self._ended and not self.paused:
                server = await place.loop.create_server(self._client, sock=copies[-1], backlog=self._backlog)
                copies.pop()
                self._servers.append(server)
        except OSError as error:  # tried again by the clock
            if not self._servers:
                self.paused = not self._ended
                place.descriptors.complain(time.monotonic(), f"accepting: {error.strerror}")
        for sock in copies:
            sock.close()
        if self._ended or self.paused:  # since the last was begun
            self._close()

    def watch(self, copies: int) -> None:
        """Watch so many copies from now on; more of them with the next `look`."""
        self.copies = copies
        self._close(but=copies)

    def look(self, *, may: bool) -> None:
        """Go on after a pause if it `may`; watch as many copies, and keep as long a backlog, as there are to be."""
        if self.paused or (self._servers and len(self._servers) < self.copies):
            if may and (self._opening is None or self._opening.done()):
                try:
                    self._opening = self._place.loop.create_task(self.open())
                except OSError:  # no descriptor for it yet
                    return
                self.paused = False
        elif self._backlog != self._place.descriptors.backlog:
            self.fit_backlog()

    def pause(self) -> None:
        """Take no more for now: who comes waits in the kernel's backlog."""
        self._close()
        self.paused = True

    def fit_backlog(self) -> None:
        """Have the kernel keep no more connections for us than there are descriptors for."""
        if self._servers:
            self._backlog = self._place.descriptors.backlog
            self.sock.listen(self._backlog)

    def take(self, most: int) -> int:
        """Take up to so many of those who wait, at once; return how many did."""
        for taken in range(most):
            try:
                accepted, _ = self.sock.accept()
            except OSError:  # nobody waits, or there is no descriptor
                return taken
            self._welcome(accepted)
        return max(0, most)

    def _welcome(self, accepted: socket.socket) -> asyncio.Task[None]:
        accepted.setblocking(False)
        self.coming += 1
        return self._place.loop.create_task(self._take(accepted))

    async def _take(self, accepted: socket.socket) -> None:
        try:
            await self._place.loop.connect_accepted_socket(self._client, accepted)
        except OSError:  # it has left
            accepted.close()
        finally:
            self.coming -= 1

    async def end(self) -> None:
        """Take those who wait in the backlog, then no more."""
        self._ended = True
        self.paused = False
        self._close()
        try:  # at once, and not those who come meanwhile: an end that waits for a pause may never come
            coming = self._take_all()
        finally:
            self.sock.close()
        if coming:
            await asyncio.wait(coming)

    def _take_all(self) -> list[asyncio.Task[None]]:
        coming: list[asyncio.Task[None]] = []
        for _ in range(self._place.descriptors.backlog):
            try:
                accepted, _ = self.sock.accept()
            except ConnectionAbortedError:  # it has left: the next one
                continue
            except OSError:  # nobody waits, or there is no descriptor
                break
            coming.append(self._welcome(accepted))
        return coming

    def _close(self, but: int = 0) -> None:
        for server in self._servers[but:]:
            server.close()
        del self._servers[but:]
