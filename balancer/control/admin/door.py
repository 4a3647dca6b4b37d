"""door: who is let in to the admin server, how many at once, and for how long without doing anything.

A head must be complete within `QUIET` seconds, and an answer be taken within `SLOWEST`. When one more comes than may be
inside, the one that has been quiet for longest goes: clients that only hold connections keep nobody out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from balancer.control.admin import problems

MOST = 100  # connections; fewer where a process may have few descriptors: probes need them too
QUIET = 10.0  # seconds for a head, and between two requests of a connection
SLOWEST = 30.0  # seconds in which an answer must have left
LINGER = 1.0  # seconds for the rest of a body that nobody wants
LOOK = 1.0  # seconds between two looks at slow readers
LOG = logging.getLogger("balancer.admin")

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def most_connections(descriptors: int) -> int:
    """Return how many connections are let in where the process may have that many descriptors."""
    return max(8, min(MOST, descriptors // 8))


class Connection(web.RequestHandler):
    """One connection of a client; whatever goes wrong with it is a problem, in JSON."""

    __slots__ = ("busy", "door", "quiet_since", "unread_since")

    def __init__(self, door: Door, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=QUIET,
            lingering_time=LINGER,
            auto_decompress=False,
            logger=LOG,
            access_log=None,  # type: ignore[arg-type]
        )
        self.door = door
        self.busy = False
        self.quiet_since = loop.time()
        self.unread_since: float | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self.door.left(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        """End it at once, whatever waits to be sent."""
        if self.transport is not None:
            self.transport.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):  # of aiohttp itself, from before the handlers: an Expect, for one
            resp = problems.answer(resp.status, resp.reason, dict(HEADERS))
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.busy = False
            self.quiet_since = self.door.time()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if exc is not None and not isinstance(exc, HttpProcessingError):
            LOG.error("the admin server failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        detail = "this is not a request that can be read" if status < 500 else "a fault of the balancer itself"
        answer = problems.answer(status, detail, dict(HEADERS))
        answer.force_close()
        return answer


class Refusal(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Door:
    """Makes the protocol of each connection that is accepted."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self.time = loop.time
        self._server = server
        self._loop = loop
        self._most = most
        self._inside: set[Connection] = set()
        self._look = loop.call_later(LOOK, self._look_at_readers)

    def __call__(self) -> asyncio.Protocol:
        if len(self._inside) >= self._most:
            quiet = min((one for one in self._inside if not one.busy), key=_since, default=None)
            if quiet is None:
                return Refusal()
            self._inside.discard(quiet)
            quiet.abort()
        connection = Connection(self, self._server, self._loop)
        self._inside.add(connection)
        return connection

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self._inside.discard(connection)

    def close(self) -> None:
        """Look no more."""
        self._look.cancel()

    def _look_at_readers(self) -> None:
        """End connections whose clients do not take their answers."""
        now = self.time()
        for one in list(self._inside):
            transport = one.transport
            if transport is None or not transport.get_write_buffer_size():
                one.unread_since = None
            elif one.unread_since is None:
                one.unread_since = now
            elif now - one.unread_since > SLOWEST:
                one.abort()
        self._look = self._loop.call_later(LOOK, self._look_at_readers)


def _since(connection: Connection) -> float:
    return connection.quiet_since
