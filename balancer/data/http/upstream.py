"""UpstreamProtocol: one connection to a target, from one request to the next.

    exchange -> transport.write(head, body) -> target        target -> data_received -> exchange.response_*

It reads heads and frames bodies; what a response means for the request is the exchange's. A connection is idle (no
exchange), waiting for a head, or in a body. Bytes while idle, or after a complete response, belong to nobody: the
connection is closed and the bytes are never handed on (response-queue poisoning).
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, cast

from balancer.data.deadlines import NEVER
from balancer.data.http import switching
from balancer.data.http.fields import CHUNKED, UNTIL_CLOSE, Bad
from balancer.data.http.framing import LARGE, ChunkReader
from balancer.data.http.response_head import MAX_RESPONSE_HEAD, ResponseHead
from balancer.model.reason import Reason
from balancer.net import connect

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange
    from balancer.data.target import LiveTarget

MAX_AGE = 600.0  # seconds a connection is used, ±10 %: load follows DNS and new targets
MAX_INTERIM = 16  # 1xx responses before the final one
_HEAD, _BODY, _CHUNKS, _UNTIL_CLOSE, _COMPLETE = range(5)


class UpstreamProtocol:
    """One connection to a target: an `asyncio.Protocol` by its methods (see `net.connect.dial`)."""

    __slots__ = (
        "_aside",
        "_buffer",
        "_chunks",
        "_interim",
        "_keep",
        "_left",
        "_patient",
        "_state",
        "_taken",
        "closed",
        "deadline",
        "exchange",
        "idle_limit",
        "idle_since",
        "paused",
        "requests",
        "retires",
        "suspect",
        "target",
        "took",
        "transport",
    )

    def __init__(self, target: LiveTarget) -> None:
        self.target = target
        self.transport: asyncio.Transport
        self.exchange: Exchange | None = None
        self.deadline = NEVER
        self.retires = 0.0
        self.idle_since = 0.0
        self.idle_limit = NEVER  # what the target's Keep-Alive header allows
        self.requests = 0
        self.closed = False
        self.paused = False  # its write buffer is full
        self.took = False  # some of what waited since then
        self.suspect = False  # the response in hand spoke of a body that it may not have
        self._state = _HEAD
        self._taken = 0  # of `connect.taken`, when it was last looked whether the target reads
        self._buffer = b""
        self._left = 0
        self._interim = 0
        self._keep = True  # the response in hand leaves the connection usable
        self._chunks: ChunkReader | None = None
        self._patient = False  # the kernel waits for as long as the peer has no room
        self._aside = False  # chunks that are here wait for another turn

    # Life of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Read on once all has left: of a piece that has left but for a little the whole is held.
        self.transport.set_write_buffer_limits(high=64 * 1024, low=0)
        self.retires = time.monotonic() + MAX_AGE * random.uniform(0.9, 1.1)
        self.target.connections.add(self)
        self.target.place.deadlines.watched.add(self)

    def begin(self, exchange: Exchange, deadline: float = NEVER) -> None:
        """Serve `exchange` from now on; it writes its request itself."""
        self.exchange = exchange
        self.deadline = deadline
        self.requests += 1
        self._state = _HEAD
        self._interim = 0

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._forget()
        exchange = self.exchange
        try:
            if error is not None and exchange is not None and not exchange.block.upgrade:
                self._hear_the_rest()
            self._lost(error)
        except Exception:
            if exchange is None:
                raise
            exchange.bug()

    def _lost(self, error: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            if self in self.target.idle:
                self.target.idle.remove(self)
                self.target.learn(time.monotonic() - self.idle_since)
            return
        if self._state == _UNTIL_CLOSE and error is None:
            exchange.response_end(keep=False)
        elif self._state == _HEAD:
            exchange.lost(error, began=bool(self._buffer))
        else:
            exchange.abort(Reason.RESPONSE_TRUNCATED, "the target closed in the middle of the body")

    def _hear_the_rest(self) -> None:
        """A write failed: take what the target had said before, such as a 413 that it sent and closed on."""
        self.retires = 0.0
        rest = connect.unread(self.transport)
        if rest:
            self.data_received(rest)
        while self._aside and self.exchange is not None:
            self._take_up(self.exchange)

    def eof_received(self) -> bool:
        # An idle connection that the target closed must not be taken by the next request: out of the pool at once.
        if self.exchange is None and self in self.target.idle:
            self.target.idle.remove(self)
            self.target.learn(time.monotonic() - self.idle_since)
        elif self.transport.get_write_buffer_size():  # a close would wait for what the target does not take any more
            self.transport.abort()
        return False

    def _forget(self) -> None:
        self.target.connections.discard(self)
        self.target.place.deadlines.watched.discard(self)

    def close(self) -> None:
        """Close after what is written; the exchange, if any, is no longer told anything."""
        self.exchange = None
        self.closed = True
        self._forget()
        self.transport.close()

    def abort(self) -> None:
        """End at once, dropping what is not sent; the exchange, if any, is no longer told anything."""
        self.exchange = None
        self.closed = True
        self._forget()
        self.transport.abort()

    def reset(self) -> None:
        """End with RST: the target must not take a cut body for a whole one."""
        self.exchange = None
        self.closed = True
        self._forget()
        connect.reset(self.transport)

    def leave_to_tunnel(self) -> None:
        """A tunnel takes the transport over; this object only stands for it among the target's connections."""
        self.target.place.deadlines.watched.discard(self)

    def tunnel_over(self) -> None:
        """The transport is gone."""
        self.closed = True
        self.exchange = None
        self._forget()

    # Back-pressure

    def pause_writing(self) -> None:
        self.paused = True
        self.took = False
        self._taken = connect.taken(self.transport)
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        self.paused = False
        if self.exchange is not None:
            self.exchange.upstream_drained()

    def takes(self) -> bool:
        """Return whether the target took a byte since this was last asked, or since the write buffer became full."""
        before, self._taken = self._taken, connect.taken(self.transport)
        more = self._taken > before
        self.took = self.took or more
        return more

    def look_at_window(self) -> None:
        """Let a target that lives and does not read have its own deadlines; called for requests that take long.

        The kernel's limit for unacknowledged bytes is for a target that is gone, but counts a closed window as well.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is None or self.closed or sock.fileno() < 0:
            return
        patient = connect.has_no_room(sock)
        if patient is not self._patient:
            self._patient = patient
            connect.may_leave_unacknowledged(sock, 0 if patient else connect.UNACKNOWLEDGED_UPSTREAM)

    def read_on(self) -> None:
        """The client takes more: read again, unless what was read waits for its turn."""
        if not self._aside:
            self.transport.resume_reading()

    # The response

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._unsolicited("bytes on an idle connection")
            return
        try:
            if self._state == _HEAD:
                if not self._buffer:
                    # hot: nothing to decide, and the whole body in the same read: mostly after the head that came last
                    # from this target (-0.3 µs: neither a search nor a hash), else after one that is known
                    target = self.target
                    if data.startswith(target.last_head) and exchange.plain and not self._interim:
                        body = data[len(target.last_head) :]
                        if len(body) == target.last_response.length:
                            exchange.whole_response(target.last_response, body)
                            return
                    end = data.find(b"\r\n\r\n") + 4
                    head = exchange.route.responses.heads.new.get(data[:end])
                    if (
                        head is not None
                        and head.plain
                        and len(data) - end == head.length
                        and exchange.plain
                        and not self._interim
                    ):
                        target.last_head, target.last_response = data[:end], head
                        exchange.whole_response(head, data[end:])
                        return
                self._read_head(exchange, data)
            else:
                self._read_body(exchange, data)
        except Bad as bad:
            exchange.bad_response(bad)
        except Exception:
            exchange.bug()

    def _read_head(self, exchange: Exchange, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            self._keep_unfinished(data)
            return
        head = data if end == len(data) else data[:end]
        if end > MAX_RESPONSE_HEAD:
            raise Bad(Reason.RESPONSE_HEADER_TOO_LARGE, f"{end} bytes")
        found = exchange.route.responses.head(head)
        if found.plain and len(data) - end == found.length and exchange.plain and not self._interim:
            exchange.whole_response(found, data[end:])
            return
        if LARGE <= len(data) - end <= found.length and not exchange.line.is_head and not found.bodiless:
            self._head(exchange, found, memoryview(data)[end:])  # nothing is copied
        else:
            self._head(exchange, found, data[end:])

    def _keep_unfinished(self, data: bytes) -> None:
        if len(data) > MAX_RESPONSE_HEAD:
            raise Bad(Reason.RESPONSE_HEADER_TOO_LARGE, "over 64 KiB without an end")
        if not b"HTTP/1.".startswith(data[:7]):
            raise Bad(Reason.BAD_RESPONSE, "the answer does not begin with HTTP/1.")
        if data.count(b"\n") != data.count(b"\r\n"):
            raise Bad(Reason.BAD_RESPONSE, "a line that does not end in CRLF")
        self._buffer = data

    def _head(self, exchange: Exchange, head: ResponseHead, rest: bytes | memoryview) -> None:
        if head.status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise Bad(Reason.BAD_RESPONSE, "more than 16 interim responses")
            if head.status == 101:
                switching.switched(exchange, head, bytes(rest))
                return
            exchange.interim(head)
            if rest and self.exchange is exchange:
                self._read_head(exchange, bytes(rest))
            return
        if head.asks_drain and exchange.group is not None:
            exchange.group.asks_drain(self.target)
        if head.idle_hint:
            self.idle_limit = max(0.5, head.idle_hint - 1.0)
        length = 0 if head.bodiless or exchange.line.is_head else head.length
        self._left = length
        self._keep = head.keep
        self.suspect = not length and head.length != 0 and (exchange.line.is_head or head.length != UNTIL_CLOSE)
        if length == CHUNKED:
            self._state = _CHUNKS
            self._chunks = ChunkReader(Reason.BAD_RESPONSE)
        elif length == UNTIL_CLOSE:
            self._state = _UNTIL_CLOSE
        else:
            self._state = _BODY if length else _COMPLETE
        if self._state == _COMPLETE:
            if exchange.response_head(head, length):
                self._finish(exchange, bytes(rest))
        elif exchange.response_head(head, length, more=bool(rest)) and rest:  # else the exchange went elsewhere
            self._read_body(exchange, rest)
            if self._serves(exchange):
                exchange.flush()

    def _read_body(self, exchange: Exchange, data: bytes | memoryview) -> None:
        if self._state == _BODY:
            left = self._left - len(data)
            if left > 0:
                self._left = left
                exchange.response_body([data])
                return
            exchange.response_body([data if not left else data[:left]])
            self._finish(exchange, bytes(data[left:]) if left else b"")
        elif self._state == _CHUNKS and self._chunks is not None:
            payload, rest = self._chunks.feed(bytes(data))
            if payload:
                exchange.response_body(payload, last=self._chunks.done)
            if self._chunks.done:
                self._finish(exchange, rest)
            elif self._chunks.waiting and self.exchange is exchange:
                self._aside = True
                self.transport.pause_reading()
                self.target.place.loop.call_soon(self._take_up, exchange)
        elif self._state == _UNTIL_CLOSE:
            exchange.response_body([data])
        else:
            self._unsolicited("bytes after a complete response")

    def _take_up(self, exchange: Exchange) -> None:
        """Go on with the chunks that were put aside so that others had their turn."""
        if not self._aside or not self._serves(exchange):
            return
        self._aside = False
        self.data_received(b"")
        if not self._aside and self._serves(exchange) and not exchange.client.full:
            self.transport.resume_reading()

    def _serves(self, exchange: Exchange) -> bool:
        # Asked before and after a call that may end it: mypyc would hold what the first comparison says of its type.
        return self.exchange is exchange

    def _finish(self, exchange: Exchange, rest: bytes) -> None:
        if self.exchange is not exchange:
            return
        self._state = _COMPLETE
        if rest:
            exchange.unsolicited()
        exchange.response_end(keep=self._keep and not rest)

    def _unsolicited(self, detail: str) -> None:
        self.target.unsolicited(detail)
        if self in self.target.idle:
            self.target.idle.remove(self)
        self.abort()

    # Deadlines

    def expired(self, now: float) -> None:
        """Called by the coarse clock once the deadline is over."""
        self.deadline = NEVER
        if self.exchange is not None:
            self.exchange.upstream_expired(now)
        elif self in self.target.idle:
            self.target.idle.remove(self)
            self.close()
