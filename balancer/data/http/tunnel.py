"""After a 101: the bytes of client and target, passed on as they come, until both sides are done.

    client -> Side.data_received -> peer.transport.write -> target      (and back: same class)

Back-pressure: a full side stops the other's reading. Half-close travels through. RST is answered with RST.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from balancer.data.deadlines import NEVER, Deadlines
from balancer.model.reason import Reason
from balancer.net import connect


class Side(asyncio.Protocol):
    """One end of a tunnel."""

    __slots__ = ("bytes", "ended", "lost", "peer", "transport", "tunnel")

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self.tunnel = tunnel
        self.transport = transport
        self.peer: Side = self
        self.ended = False  # sent its FIN
        self.lost = False
        self.bytes = 0  # that came from this side

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        self.tunnel.alive()
        if not self.peer.lost:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if not self.peer.lost and not self.peer.ended and self.peer.transport.can_write_eof():
            self.peer.transport.write_eof()
            self.tunnel.half_closed()
            return True  # the other way stays open
        self.peer.transport.close()
        return False

    def pause_writing(self) -> None:
        if not self.peer.lost:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer.lost:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.peer.lost:
            if error is not None:
                connect.reset(self.peer.transport)
            else:
                self.peer.transport.close()
        else:
            self.tunnel.over()


class Tunnel:
    """The pair, with its idle limit. `done(reason, bytes_in, bytes_out)` is called once, when both sides are gone."""

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        deadlines: Deadlines,
        idle: float,
        half_close: float,
        done: Callable[[Reason | None, int, int], None],
    ) -> None:
        self.client = Side(self, client)
        self.upstream = Side(self, upstream)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.deadline = NEVER
        self._deadlines = deadlines
        self._idle = idle or NEVER
        self._half_close = half_close
        self._done = done
        self._reason: Reason | None = None
        client.set_protocol(self.client)
        upstream.set_protocol(self.upstream)
        deadlines.watched.add(self)
        self.alive()

    def alive(self) -> None:
        """Something passed through."""
        self.deadline = time.monotonic() + self._idle

    def half_closed(self) -> None:
        """One side is done: the other has its time to be done too."""
        self._idle = min(self._idle, self._half_close)
        self.alive()

    def expired(self, now: float) -> None:
        """Both directions were silent for too long."""
        self.end(Reason.IDLE_TIMEOUT)

    def end(self, reason: Reason) -> None:
        """Close both sides."""
        self._reason = self._reason or reason
        self.deadline = NEVER
        for side in (self.client, self.upstream):
            if not side.lost:
                side.transport.abort()

    def over(self) -> None:
        """Both sides are gone."""
        self._deadlines.watched.discard(self)
        self._done(self._reason, self.client.bytes, self.upstream.bytes)
