"""ClientProtocol: one client connection, from request to request, answered in order.

    client -> data_received -> head (line and block) -> exchange.begin -> body -> exchange.request_body, request_end
                                                       exchange.done  -> the next request, or the end

A connection is in one state at a time:

    IDLE     before a request: nothing, or a part of a head, is here
    BODY     a request's body is coming
    WAIT     the request is complete, its response is not; what comes now is the next request and waits
    DISCARD  we answered by ourselves; the rest of a small body is read and thrown away
    LINGER   we are done and have said so; what still comes is thrown away, so that the kernel does not reset the answer
    TUNNEL   switched: the bytes are no longer ours
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from balancer.data import record
from balancer.data.access_log import quote
from balancer.data.deadlines import NEVER
from balancer.data.http import intake, replies
from balancer.data.http.exchange import Exchange
from balancer.data.http.fields import Bad
from balancer.data.http.framing import LARGE
from balancer.data.http.request_block import Block
from balancer.data.http.request_body import MAX_DISCARD, RequestBody
from balancer.data.http.request_line import Line
from balancer.model.reason import Reason
from balancer.net import connect

if TYPE_CHECKING:
    from balancer.data.http.memory import RequestMemory
    from balancer.data.listener import LiveListener
    from balancer.data.peers import Trust

MAX_PIPELINED = 64 * 1024  # bytes of further requests that wait while one is served
MAX_LINGER = 256 * 1024
LINGER = 2.0  # seconds
LAST_WORD = 1.0  # seconds that a connection which is to end rests first, so that a request just sent is answered
RESTED = 1.0  # seconds without a request, after which a connection may go where there are too many

IDLE, BODY, WAIT, DISCARD, LINGERING, TUNNEL, CLOSED = range(7)


class ClientProtocol:
    """One client connection: an `asyncio.Protocol` by its methods (see `net.connect.dial`)."""

    # Why reading is held back: a set of reasons, not a switch.
    CONNECTING = 1
    UPSTREAM_FULL = 2
    PIPELINED = 4
    FULL = 8
    ASIDE = 16

    __deletable__ = ("exchange",)  # for mypyc

    __slots__ = (
        "_block",
        "_body",
        "_buffer",
        "_discarded",
        "_ended",
        "_full_since",
        "_head_started",
        "_held",
        "_held_since",
        "_leaves",
        "_line_seen",
        "_most",
        "_taken",
        "deadline",
        "exchange",
        "full",
        "keep_alive",
        "listener",
        "memory",
        "peer",
        "persistent",
        "requests",
        "rests_since",
        "serving",
        "shown",
        "state",
        "suffix",
        "transport",
        "trusted",
    )

    def __init__(self, listener: LiveListener) -> None:
        self.listener = listener
        self.transport: asyncio.Transport
        self.exchange: Exchange
        self.state = IDLE
        self.deadline = NEVER
        self.full = False  # its write buffer is over the mark
        self.persistent = True  # may serve another request after this one
        self.requests = 0
        self.rests_since = 0.0  # when it was last ready for another request
        self._block: Block | None = None  # the plain block that came last
        self._body: RequestBody | None = None  # what still comes of the request in hand
        self._buffer = b""
        self._held = 0
        self._held_since = 0.0
        self._discarded = 0
        self._full_since = 0.0
        self._taken = 0  # of `connect.taken`, when it was last looked whether the client reads
        self._ended = False  # the client has sent its FIN
        self._leaves = False  # has had its last answer, which did not say so: it ends by its deadline
        self._line_seen = False
        self.serving = False  # a request is with the exchange, and not yet counted out
        self._head_started = 0.0

    # Life of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Read on once all has left: of a piece that has left but for a little the whole is held.
        self.transport.set_write_buffer_limits(high=64 * 1024, low=0)
        listener = self.listener
        self.peer = peer = str((transport.get_extra_info("peername") or ("",))[0])
        known = listener.peers.get(peer) or listener.meet(peer)
        self.trusted, self.memory, self.suffix, self.shown = known
        self.exchange = Exchange(self, listener.place)
        self.deadline = time.monotonic() + listener.first_byte
        self.keep_alive = listener.keep_alive
        self._most = listener.most_requests
        if not listener.joined(self):
            self._refuse(Reason.IP_CONNECTION_LIMIT, f"limits.connections_per_client from {peer}", None)

    def connection_lost(self, error: Exception | None) -> None:
        state, self.state = self.state, CLOSED
        self.listener.left(self)
        if self.serving and state is not TUNNEL:
            self.serving = False
            self.exchange.client_gone()
        if not self.serving:
            del self.exchange  # they hold one another: freed at once, not when the cycle collector comes by

    def eof_received(self) -> bool:
        self._ended = True
        return self._half_closed()

    def _has_head(self) -> bool:
        """Return whether the head of another request has come; empty lines are none."""
        return b"\r\n\r\n" in self._buffer.lstrip(b"\r\n")

    def _half_closed(self) -> bool:
        """Return whether a client that has sent its FIN still has something to get, and give it its time."""
        patience = self.listener.spec.timeouts.half_close
        if patience and (self.state == WAIT or (self.state == IDLE and self._has_head())):
            self.deadline = time.monotonic() + patience
            return True
        # A body of which more is here than one turn may take: `_take_up` looks again, its deadline goes on.
        return patience > 0.0 and self.state in (BODY, DISCARD) and self._body is not None and self._body.waiting

    def _look_at_end(self) -> None:
        """End the connection of a client that has sent its FIN, if nothing is left to be done for it."""
        if self._ended and not self._half_closed():
            self.transport.close()

    def use(self, memory: RequestMemory, *, trusted: bool) -> None:
        """Read what comes next by another snapshot."""
        self.memory, self.trusted, self._block = memory, trusted, None
        self.keep_alive = self.listener.keep_alive  # from the next rest on
        self._most = self.listener.most_requests

    # Bytes

    def data_received(self, data: bytes) -> None:
        try:
            if self.state == IDLE:
                if not self._buffer:
                    # hot: exactly one known head without a body, the common case
                    memory = self.memory
                    block = self._block
                    line = None
                    if block is not None and data.endswith(block.raw):
                        # The block that came last: what stands before is a known line, or this was not it (-0.2 µs).
                        line = memory.lines.new.get(data[: -len(block.raw)])
                    else:
                        at = data.find(b"\r\n")
                        block = memory.blocks.new.get(data[at:])
                        if block is not None and block.plain:
                            self._block = block
                            line = memory.lines.new.get(data[:at])
                    if block is not None and line is not None and line.plain:
                        self.state = WAIT
                        self.deadline = NEVER
                        self.serving = True
                        self.requests = requests = self.requests + 1
                        if requests >= self._most:
                            self.persistent = False
                        self.exchange.begin_plain(line, block, time.monotonic())
                        return
                self._read_head(data)
            elif self.state == WAIT:
                self._wait_with(data)
            elif self.state == BODY:
                self._read_body(data)
            elif self.state == DISCARD:
                self._discard(data)
            elif self.state == LINGERING:
                self._discarded += len(data)
                if self._discarded > MAX_LINGER:
                    self.transport.abort()
        except Exception:
            self._bug()

    def _bug(self) -> None:
        if self.serving:
            self.exchange.bug()
        else:
            self.listener.log_bug(self.peer)
            self._refuse(Reason.INTERNAL_ERROR, "", None)

    def _wait_with(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MAX_PIPELINED:
            self.hold(self.PIPELINED)

    def _read_head(self, data: bytes) -> None:
        """Read a head that is new, in pieces, or followed by more."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        blanks = 0
        while data.startswith(b"\r\n"):
            blanks += 1
            data = data[2:]
            if blanks > 2:
                self._refuse(Reason.BAD_REQUEST, "more than two empty lines before a request", None)
                return
        if not data or data == b"\r":  # an empty line begins no request, nor does the first half of one
            self._buffer = b"\r\n" * blanks + data
            return
        line = block = None
        try:
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:
                self._await_rest(data)
                self._buffer = b"\r\n" * blanks + data
                return
            at = data.find(b"\r\n")
            if at > intake.MAX_LINE:
                raise Bad(Reason.URI_TOO_LONG, f"a request line of {at} bytes")
            line = self.memory.line(data[:at])
            if end > self.listener.spec.limits.head:
                raise Bad(Reason.HEADER_TOO_LARGE, f"a head of {end} bytes")
            block = self.memory.block(data[at:end])
            if not (line.plain and block.plain):
                block = intake.meet(line, block, data[at:end], self.listener.spec, self.memory)
        except Bad as bad:
            self._refuse(bad.reason, bad.detail, line, block, is_head=data.startswith(b"HEAD "))
            return
        # Of a long body that is here with its head nothing is copied.
        much = LARGE <= len(data) - end <= block.length
        self._start(line, block, memoryview(data)[end:] if much else data[end:])

    def _await_rest(self, data: bytes) -> None:
        """Only a part of a head is here, `data`: refuse what no further byte can mend, and give the rest its time."""
        if not self._head_started:
            self._head_started = time.monotonic()
            self.deadline = self._head_started + (self.listener.spec.timeouts.request_header or NEVER)
            self._line_seen = False
        if intake.unfinished(data, self.listener.spec.limits.head, line_seen=self._line_seen):
            self._line_seen = True

    def _start(self, line: Line, block: Block, rest: bytes | memoryview) -> None:
        self.requests += 1
        if self.requests >= self._most:
            self.persistent = False
        self.serving = True
        self._head_started = 0.0
        if block.length:
            self.state = BODY
            self._body = body = RequestBody(
                block.length, self.listener.spec, expecting=block.expects and line.minor == 1
            )
            self._body_due(body.begin(time.monotonic()))
        else:
            self.state = WAIT
            self.deadline = NEVER
            if line.plain and block.plain and not rest:
                self.exchange.begin_plain(line, block, time.monotonic())
                return
            self._wait_with(bytes(rest))  # the next requests: the exchange may be over before `begin` returns
            rest = b""
        exchange = self.exchange
        exchange.begin(line, block, time.monotonic(), more=bool(rest))
        if rest:
            if self.state == BODY:
                self._read_body(rest)
            elif self.state != CLOSED:
                self.data_received(bytes(rest))
            exchange.flush()

    def _body_due(self, deadline: float) -> None:
        if not self.full:  # else the deadline is that of writing
            self.deadline = deadline

    def _read_body(self, data: bytes | memoryview) -> None:
        """Pass on a piece of a request's body; what comes after it is the next request."""
        body = self._body
        assert body is not None
        try:
            payload, rest = body.feed(data)
        except Bad as bad:
            self.exchange.request_failed(bad.reason, bad.detail)
            return
        serial = self.requests
        if payload:
            self.exchange.request_body(payload, last=body.done)
        if self.requests != serial or self.state != BODY:
            return
        if body.done:
            self._body = None
            self.state = WAIT
            self.deadline = NEVER
            self.exchange.request_end(ended=bool(payload))
            if rest and self.state == WAIT:
                self._wait_with(rest)
            elif rest and self.state == IDLE:
                self._buffer += rest
                self._soon()
        else:
            self._body_due(body.want(time.monotonic()))
            self._give_way()

    def _give_way(self) -> None:
        """Let others have their turn if more tiny chunks are here than one turn may take."""
        body = self._body
        if body is not None and body.waiting:
            self.hold(self.ASIDE)
            self.listener.place.loop.call_soon(self._take_up, body)

    def _take_up(self, body: RequestBody) -> None:
        """Go on with what was put aside, if the body that it belongs to is still read."""
        if self._reads(body) and body.waiting and self.state in (BODY, DISCARD):
            self.data_received(b"")
            if not self._reads(body) or not body.waiting:
                self.release(self.ASIDE)
                self._look_at_end()

    def _reads(self, body: RequestBody) -> bool:
        # Asked before and after a call that may end it: mypyc would hold what the first comparison says of its type.
        return self._body is body

    def _discard(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        here = body.unread + len(data)
        try:
            _, rest = body.feed(data)
        except Bad:
            self._linger()
            return
        self._discarded += here - body.unread - len(rest)  # not what is behind it: that may be the next requests
        if body.done:
            self._body = None
            self._buffer = rest
            self.next_request(time.monotonic())
        elif self._discarded > MAX_DISCARD:
            self._linger()
        else:
            self._give_way()

    # What the exchange wants

    def forwarded(self, block: Block) -> bytes:
        """Return the X-Forwarded-* lines for one request, as its peer was trusted when its head was read."""
        trust = self.exchange.trust
        return trust.forwarded(self.peer, block) if trust is not None else self.suffix

    def shown_behind(self, block: Block) -> str:
        """Return what the access log shows of a client behind a peer that was trusted when the head was read."""
        return self._shown_by(self.exchange.trust, block)

    def _shown_by(self, trust: Trust | None, block: Block) -> str:
        name = trust.client_of(self.peer, block) if trust is not None else self.peer
        return f'{self.listener.shown}"client":{quote(name)},'

    def stop_expecting(self) -> bool:
        """A 100 came from the target; return whether the client waits for one."""
        body = self._body
        if body is None or not body.expecting:
            return False
        body.expecting = False
        self._body_due(body.want(time.monotonic()))
        return True

    def can_discard(self) -> bool:
        """Return whether what is left of the request's body is little enough to read and throw away."""
        return self.state != BODY or self._body is None or self._body.may_be_discarded

    def done(self, *, keep: bool, aborted: bool = False) -> None:
        """The exchange is over: go on with the next request, or end."""
        self.serving = False
        if self.state in (CLOSED, TUNNEL):
            return
        if aborted:
            self.state = CLOSED
            connect.reset(self.transport)
        elif keep and self.state == BODY:
            self.state = DISCARD
            self._discarded = 0
            self._held = 0
            self.transport.resume_reading()
            if not self.full:
                self.deadline = time.monotonic() + LINGER
            self._give_way()
        elif keep:
            self.next_request(time.monotonic())
        elif self.state == BODY or self._buffer:
            self._linger()
        else:
            self.state = CLOSED
            self.transport.close()

    def next_request(self, now: float) -> None:
        """Be ready for another request; what has come of it already is read from the loop, not from here.

        Also where the connection is to end: the last answer did not say so, and the client may have sent more by now.
        """
        self.serving = False
        if self._ended and not self._has_head():
            self.state = CLOSED
            self.transport.close()
            return
        self.state = IDLE
        if not self.persistent:
            self._leaves = True
            self.keep_alive = min(self.keep_alive, LAST_WORD)
        if self.full:  # nothing more is begun for a client that does not read; its deadline is that of writing
            self.hold(self.FULL)
            return
        self.rests_since = now
        self.deadline = now + self.keep_alive
        if self._held:
            self._held = 0
            self.transport.resume_reading()
        if self._buffer:
            self._soon()

    def _soon(self) -> None:
        self.listener.place.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.state == IDLE and self._buffer and not self.full:
            data, self._buffer = self._buffer, b""
            self._head_started = 0.0
            self.data_received(data)
            self._look_at_end()

    def leave_to_tunnel(self) -> bytes:
        """A tunnel takes the transport over; return what the client has sent already."""
        self.state = TUNNEL
        self.listener.place.deadlines.watched.discard(self)
        if self._held:
            self._held = 0
            self.transport.resume_reading()
        early, self._buffer = self._buffer, b""
        return early

    def has_ended(self) -> bool:
        """Return whether the client has sent its FIN."""
        return self._ended

    def leave_unanswered(self) -> None:
        """A client that has sent its FIN is waited for no longer: it may be gone."""
        self.serving = False
        self.state = CLOSED
        self.exchange.client_gone()
        self.transport.abort()

    def tunnel_over(self) -> None:
        """The tunnel is gone, and the connection with it."""
        self.state = CLOSED
        self.serving = False
        self.listener.left(self)

    # Ends

    def _refuse(
        self, reason: Reason, detail: str, line: Line | None, block: Block | None = None, *, is_head: bool = False
    ) -> None:
        """Answer a head that cannot be served, and end the connection; `line` and `block` where they could be read."""
        now = time.monotonic()
        place = self.listener.place
        known_id = block.request_id if block is not None else b""
        request_id = (known_id or place.next_id_line()[14:-4]).decode()
        headers = (("Allow", replies.ALLOW),) if reason.status == 405 else ()
        status, data = replies.failure(
            reason,
            request_id=request_id,
            as_json=block is None or replies.wants_json(replies.accept_of(block.out)),
            is_head=is_head,
            close=True,
            headers=headers,
        )
        self.transport.write(data)
        record.refused(
            place,
            self.listener,
            self._shown_by(self.listener.trust, block)
            if self.trusted and block is not None and block.forwarded_for
            else self.shown,
            request_id=request_id,
            status=status,
            reason=reason,
            detail=detail,
            duration=now - self._head_started if self._head_started else 0.0,
            method=line.shown_method if line is not None else "-",
            host=block.raw_host.decode("latin-1") if block is not None else "",
            path=line.target.partition(b"?")[0].decode("latin-1") if line is not None else "-",
        )
        self._linger()

    def _linger(self) -> None:
        """End so that the client can still read what it was sent: say FIN, and throw away what comes for a moment."""
        self.state = LINGERING
        self._buffer = b""
        self._discarded = 0
        if not self.full:
            self.deadline = time.monotonic() + LINGER
        if self._held:
            self._held = 0
            self.transport.resume_reading()
        if self._ended:
            self.transport.close()
        elif self.transport.can_write_eof():
            self.transport.write_eof()

    def shut_down(self, reason: Reason) -> None:
        """The time to finish is over."""
        if self.serving and self.state != TUNNEL:
            if self.exchange.head_sent:
                self.exchange.abort(reason, "")
            else:
                self.persistent = False
                self.exchange.keep = False
                self.exchange.fail(reason)
        elif self.state != CLOSED:
            self.state = CLOSED
            self.transport.abort()

    @property
    def rests(self) -> bool:
        """Whether it has been served and asks for nothing now."""
        return self.state == IDLE and self.requests > 0 and not self._buffer and not self.full

    def close_idle(self) -> None:
        """End the connection if no request is under way, else after it."""
        self.persistent = False
        if self.state == IDLE and not self._leaves and not self._buffer.strip(b"\r\n"):
            self._end_rest()

    def close_resting(self, now: float) -> None:
        """End the connection if it has rested for a while since its last request; what does not rest goes on."""
        if self.rests and now - self.rests_since >= RESTED:
            self._end_rest()

    def _end_rest(self) -> None:
        """Close a connection that rests; but one whose next request is here, and only not read yet, gets its answer.

        Closing with bytes unread would send RST, and a worker that runs late has many of those.
        """
        if not self._ended and connect.heard(self.transport):  # of one that has ended the kernel tells that for ever
            self.persistent = False
            self.deadline = time.monotonic() + LINGER
        else:
            self.state = CLOSED
            connect.say_end(self.transport)
            self.transport.close()

    def expired(self, now: float) -> None:
        """Called by the coarse clock once the deadline is over."""
        self.deadline = NEVER
        if self.full:
            self._too_slow(now)
        elif self.state == IDLE and self._head_started:
            self._refuse(Reason.CLIENT_HEADER_TIMEOUT, "", None)
        elif self.state == IDLE:
            self._end_rest()
        elif self.state == BODY:
            self._body_late(now)
        elif self.state == WAIT and self._ended:
            self.leave_unanswered()
        elif self.state == DISCARD:
            self._linger()
        elif self.state == LINGERING and self.transport.get_write_buffer_size():
            self.transport.close()  # once the rest has left; the kernel ends it where nobody takes it
        elif self.state == LINGERING:
            self.transport.abort()

    def _body_late(self, now: float) -> None:
        """The body's deadline is over."""
        if self.stop_expecting():  # the target said nothing; the client has waited for long enough
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        body = self._body
        assert body is not None
        try:
            self.deadline = body.judge(now, reading=not self._held)
        except Bad as bad:
            self.exchange.request_failed(bad.reason, bad.detail)

    # Back-pressure

    def hold(self, why: int) -> None:
        """Read no more until `why` is released."""
        if not self._held:
            self.transport.pause_reading()
            self._held_since = time.monotonic()
        self._held |= why

    def release(self, why: int) -> None:
        """`why` is over; read again if nothing else holds."""
        if self._held & why:
            self._held &= ~why
            if not self._held and self.state != CLOSED:
                if self._body is not None:
                    self._body.held(time.monotonic() - self._held_since)
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.full = True
        self._taken = connect.taken(self.transport)
        self._full_since = now = time.monotonic()
        self.deadline = now + (self.listener.spec.timeouts.write_idle or NEVER)
        if self.serving:
            self.exchange.client_full()

    def resume_writing(self) -> None:
        self.full = False
        now = time.monotonic()
        self.deadline = NEVER
        if self.state == BODY and self._body is not None:
            self.deadline = self._body.want(now)
        elif self.state in (DISCARD, LINGERING):
            self.deadline = now + LINGER
        elif self._ended:
            self._half_closed()
        if self.serving:
            self.exchange.client_drained()
        elif self.state == IDLE:
            self.next_request(now)

    @property
    def is_busy(self) -> bool:
        """Whether bytes may wait here: not on a connection that rests."""
        return self.state != IDLE or self.full or bool(self._buffer)

    def waiting(self) -> tuple[float, int]:
        """Return since when bytes wait because somebody does not take them (monotonic), and how many wait in all.

        A piece of a body of which a part has left is held whole until all of it has.
        """
        waits = self.transport.get_write_buffer_size()
        size = len(self._buffer) + (max(waits, self.exchange.piece) if waits else 0)
        if self.serving:
            size += self.exchange.waiting()
        since = self._full_since if self.full else self._held_since if self._held else NEVER
        return since, size

    def give_up(self) -> None:
        """Too many bytes wait in this worker, and these have waited for longest."""
        if self.state == TUNNEL:
            if self.exchange.tunnel is not None:
                self.exchange.tunnel.end(Reason.CLIENT_TOO_SLOW)
        elif self.serving and self.full:
            self.exchange.abort(Reason.CLIENT_TOO_SLOW, "too many bytes waited for clients that do not read")
        elif self.serving:
            self.exchange.request_failed(Reason.OVERLOADED, "too many bytes of bodies waited for targets")
        else:
            connect.reset(self.transport)

    def _too_slow(self, now: float) -> None:
        """The write buffer was full for the whole of write_idle: go on if the client took a byte, else end."""
        taken = connect.taken(self.transport)
        if taken > self._taken:
            self._taken = taken
            self.deadline = now + (self.listener.spec.timeouts.write_idle or NEVER)
        elif self.serving:
            self.exchange.abort(Reason.CLIENT_TOO_SLOW, "the client stopped reading")
        else:
            connect.reset(self.transport)
