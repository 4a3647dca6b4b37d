"""Exchange: one request of a client, from its head to its record, over as many tries as it takes.

    client.begin -> route -> group.pick -> target.idle_connection or connect -> send
    upstream     -> response_head -> response_body … -> response_end -> record -> client.done
    going wrong  -> lost / connect_failed / upstream_expired / bad_response -> again elsewhere, or fail / abort

One object per client connection, used for one request after the other; `serial` moves with every try, so that what
comes back late (a connect, a place in a queue) can tell that nobody waits for it any more.

Rules
1. A request is sent a second time only if it provably was not taken, or is idempotent and its body is still here.
2. Once a byte of the final response is with the client there is no other try: what breaks then is an abort.
3. A reason is set where the failure is seen, once. Every request ends exactly once: in `close`, or on the short way in
   `whole_response`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from balancer.data import record
from balancer.data.deadlines import NEVER
from balancer.data.http import answers, framing, replies, tries
from balancer.data.http.fields import CHUNKED, UNTIL_CLOSE, Bad
from balancer.data.http.framing import LAST_CHUNK, Pieces, chunk
from balancer.data.http.request_block import Block
from balancer.data.http.request_line import Line
from balancer.data.http.response_head import ResponseHead
from balancer.data.place import ID_ENDS, Place, log
from balancer.data.recent import ended
from balancer.data.target import MAX_IDLE, MAX_REQUESTS
from balancer.model.reason import REASON_CODES, Reason
from balancer.net import connect, failures

if TYPE_CHECKING:
    from balancer.board.records import Try
    from balancer.data.group import LiveGroup
    from balancer.data.http.client import ClientProtocol
    from balancer.data.http.tunnel import Tunnel
    from balancer.data.http.upstream import UpstreamProtocol
    from balancer.data.peers import Trust
    from balancer.data.routes import Route
    from balancer.data.target import LiveTarget

_T = TypeVar("_T")
SURELY_SENT = 4 * 1024  # bytes of a body that a target's kernel takes whether or not the target reads
_RAW, _CHUNK, _CLOSE = range(3)  # how the response body is framed for the client: as it came, or ended by the close


class Exchange:
    """One request at a time; see the module's picture for the order of the methods."""

    __slots__ = (
        "_framing",
        "_holding",
        "_kept",
        "_more",
        "_replay",
        "block",
        "bytes_in",
        "bytes_out",
        "client",
        "connect_time",
        "deadline",
        "detail",
        "first_byte",
        "free",
        "fresh",
        "from_upstream",
        "group",
        "head_sent",
        "hope_until",
        "id_line",
        "in_queue",
        "keep",
        "line",
        "open_slot",
        "passed",
        "past",
        "piece",
        "place",
        "plain",
        "queued",
        "queued_at",
        "raced",
        "reason",
        "request_done",
        "retries",
        "retrying",
        "reused",
        "route",
        "sent_at",
        "serial",
        "started",
        "status",
        "target",
        "tried",
        "trust",
        "tunnel",
        "upstream",
        "upstream_status",
        "written",
    )

    def __init__(self, client: ClientProtocol, place: Place) -> None:
        self.client = client
        self.place = place
        self.serial = 0
        self.deadline = NEVER
        self.line: Line
        self.block: Block
        self.route: Route
        self.group: LiveGroup | None = None
        self.target: LiveTarget | None = None
        self.upstream: UpstreamProtocol | None = None
        self.tunnel: Tunnel | None = None
        self._holding = False  # counted in its target's work in hand
        self._more = False  # what comes behind the request's head is here already
        self._kept = b""  # a head that waits for what came with it: both go in one write
        self.piece = 0  # bytes of the response's body that came together, at most
        self.in_queue = False  # waits in its group's queue
        self.fresh = False
        self.reason: Reason | None = None
        self.retrying: LiveGroup | None = None  # whose budget it uses
        self.sent_at = 0.0
        self.passed: tuple[int, ...] = ()  # targets at max_connections that were passed over
        self.trust: Trust | None = None  # whose X-Forwarded-* it has, where its block is not plain; None: only ours
        self.open_slot = 0  # where it stands in the table of open requests

    @property
    def request_id(self) -> str:
        return self.id_line[14:-4].decode()

    # The request

    def begin_plain(self, line: Line, block: Block, now: float) -> None:
        """Serve a plain request without a body: the steps of `begin`, `place_at` and `_send` in one.

        hot: half of the Python time of a request is spent on the way to its target; this way takes 2 µs less. What is
        not as usual (no idle connection, nobody to pick, a limit for the whole request) goes the long way.
        """
        client = self.client
        listener = client.listener
        route = line.routes.get(block.route_key)
        if route is None:
            route = listener.find_route(line, block)
        group = route.group
        if group is None or group.careful:
            self.begin(line, block, now)
            return
        if not self.fresh:
            self._reset()
        if block.keep is False or not client.persistent:
            self.keep = self.fresh = False
        place = self.place
        row = place.row
        self.line = line
        self.block = block
        self.started = now
        self.route = route
        self.group = group
        low = (place.count + 1) & 0xFFF
        if low and place.id_start:  # place.next_id_line, written out
            place.count += 1
            self.id_line = id_line = place.id_start + ID_ENDS[low]
        else:
            self.id_line = id_line = place.next_id_line()
        listener.active = active = listener.active + 1
        row[listener.active_cell] = active
        policy = group.single  # group.pick, written out
        slot = policy.pick(()) if policy is not None else None
        target = group.targets[slot] if slot is not None else None
        if target is None or (target.active + target.others >= target.near and group.is_closed(target)):
            full, target = target, group.pick()
            if full is not None or group.passed:
                self.fresh = False
                self.passed = group.passed if full is None else tuple({full.place_on_board, *group.passed})
            if target is None:
                self._no_target()
                return
        idle = target.idle
        if not idle or idle[-1].deadline <= now or not line.idempotent:
            self.place_at(target)
            return
        self.target = target
        self._holding = True
        target.active = active = target.active + 1
        row[target.active_cell] = active
        self.upstream = connection = idle.pop()
        connection.begin(self, now + group.head_limit)
        connection.transport.write(line.out + block.out + client.suffix + id_line)

    def _reset(self) -> None:
        """Be as a plain request begins; `fresh` says that nothing has changed since."""
        self.fresh = True
        self.request_done = self.keep = self.plain = True
        self.reason = None
        self.detail = ""
        self.status = self.upstream_status = 0
        self.from_upstream = self.head_sent = False
        self.first_byte = -1.0
        self.connect_time = 0.0
        self.bytes_in = self.bytes_out = self.retries = 0
        self.piece = 0
        self.tried: list[LiveTarget] = []
        self.hope_until = 0.0  # until when it waits for a target to appear; 0: it has not had to
        self.free = 0  # tries outside max_retries: work that was moved, not multiplied
        self.raced = False
        self.past: list[Try] | None = None  # tries that are over
        self.passed = ()
        self.queued = self.queued_at = 0.0  # seconds in a queue; since when, while it waits there
        self.written = self.reused = True
        self._replay: bytearray | None = None  # all that came of the request's body, in one piece however small it came
        self._framing = _RAW

    def begin(self, line: Line, block: Block, now: float, *, more: bool = False) -> None:
        """Serve a request whose head is read; body and end follow by `request_body` and `request_end`.

        `more`: some of the body is here, and follows at once; then `flush`.
        """
        place, client = self.place, self.client
        self._reset()
        self.fresh = self.written = self.reused = False
        self._more = more
        self.line, self.block, self.started = line, block, now
        listener = client.listener
        self.trust = listener.trust if client.trusted else None
        listener.active += 1
        place.row[listener.active_cell] = listener.active
        own = place.next_id_line()
        self.id_line = b"X-Request-ID: %b\r\n\r\n" % block.request_id if block.request_id else own
        self.request_done = block.length == 0
        self._replay = None if self.request_done else bytearray()
        self.keep = client.persistent and ((line.minor == 1 and block.keep is not False) or block.keep is True)
        self.plain = self.request_done and line.minor == 1 and not line.is_head and not block.upgrade

        if block.max_forwards == 0 and line.method == b"OPTIONS":
            self.route, self.group = client.listener.nowhere, None
            answers.reply(self, 204, "", b"", (("Allow", replies.ALLOW),))
            return
        if place.overload.share and place.overload.turns_away():
            self.route, self.group = client.listener.nowhere, None
            self.fail(Reason.OVERLOADED, f"the loop runs {place.overload.lag * 1000:.0f} ms late")
            return
        route = line.routes.get(block.route_key)
        if route is None:
            route = client.listener.find_route(line, block)
        self.forward(route)

    def forward(self, route: Route) -> None:
        """Go where a route leads: the second half of `begin`; later for a request that had to be let in first."""
        place, now = self.place, self.started
        self.route = route
        group = route.group
        if group is None and route.spread is not None:
            self.route = route = route.choose()
            group = route.group
        self.group = group
        if group is None:
            route.answer(self)
            return
        if group.total_limit:
            self.deadline = now + group.total_limit
            place.deadlines.watched.add(self)
        target = group.pick()
        self.passed = group.passed
        if target is None:
            self._no_target()
        else:
            self.place_at(target)

    def _no_target(self) -> None:
        """The pick found nobody; where it passed over full ones (`group.passed`), there is somebody to wait for."""
        group = self.group
        assert group is not None
        if group.spec.wait_for_target and not group.passed:
            self.wait_for_target()
        elif not group.targets:
            self.fail(Reason.NO_TARGETS)
        elif not group.passed:
            self.fail(Reason.NO_HEALTHY_TARGET)
        else:
            self.fresh = False
            self.wait_in_queue(time.monotonic())

    def wait_for_target(self) -> None:
        """No target is available, and the group has patience: wait in the queue until one is."""
        group = self.group
        assert group is not None
        self.fresh = False
        now = time.monotonic()
        if not self.hope_until:
            self.hope_until = now + group.spec.wait_for_target
        self.wait_in_queue(now, self.hope_until)

    def wait_in_queue(self, now: float, until: float = 0.0) -> None:
        """Wait for a target; `until`: monotonic, not said: as long as the queue lets one."""
        group = self.group
        assert group is not None
        self.queued_at = now
        self.is_nowhere(now)
        refused = group.enqueue(self, until)
        if refused is not None:
            self.queued_at = 0.0
            self.fail(refused)

    def is_nowhere(self, now: float) -> None:
        """No try is under way, and another follows."""
        self.target = None
        if self.open_slot:
            self.place.recent.reopen(self, now)

    def place_at(self, target: LiveTarget) -> None:
        """Try at `target`, on an idle connection or a new one."""
        self.fresh = False
        if self.in_queue:
            self._dequeue()
        target.take()
        self._holding = True
        self.target = target
        now = time.monotonic()
        self.sent_at = now
        if self.queued_at:
            self.queued, self.queued_at = self.queued + now - self.queued_at, 0.0
        if self.open_slot:
            self.place.recent.reopen(self, now)
        connection = target.idle_connection(careful=not (self.line.idempotent and self.request_done), now=now)
        if connection is None:
            self.reused = False
            target.connect(self)
        else:
            self.reused = True
            self._send(connection, now)

    def _dequeue(self) -> None:
        self.in_queue = False
        if self.group is not None:
            self.group.queue.left()

    def connected(self, connection: UpstreamProtocol) -> None:
        """A connection for this try is there."""
        now = time.monotonic()
        self.connect_time += now - self.sent_at
        self.reused = connection.requests > 0
        self._send(connection, now)

    def _send(self, connection: UpstreamProtocol, now: float) -> None:
        self.upstream = connection
        connection.begin(self, self._try_until())
        client, block = self.client, self.block
        client.release(client.CONNECTING | client.UPSTREAM_FULL)  # a full one was the connection before this
        head = self.line.out + block.out + client.suffix + self.id_line if block.plain else self._special_head()
        self.written = True
        if self._replay:
            replay = bytes(self._replay)
            head += replay if block.length != CHUNKED else b"".join(chunk([replay], len(replay)))
        if self.request_done:
            if block.length == CHUNKED:
                head += LAST_CHUNK
            self._await_head(connection, now)
        if self._more:
            self._kept = head
        else:
            connection.transport.write(head)
        if not self.request_done:
            self._bound_replay()

    def _special_head(self) -> bytes:
        """Return the request's head where more than the usual has to be said."""
        block, client = self.block, self.client
        extra = b""
        if block.host is None and self.target is not None:
            extra += b"Host: %b\r\n" % self.target.spec.address.encode()
        if block.upgrade:
            extra += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % block.upgrade
        if block.expects and self.line.minor == 1:
            extra += b"Expect: 100-continue\r\n"
        return self.line.out + block.out + extra + client.forwarded(block) + self.id_line

    def _try_until(self) -> float:
        """Return when the present try's time is over, by `per_try`: from its first step to the response's head."""
        per_try = self.group.spec.retry.per_try if self.group is not None else 0.0
        return max(self.sent_at, self.started) + per_try if per_try else NEVER  # sent_at: not set on the short way

    def _await_head(self, connection: UpstreamProtocol, now: float) -> None:
        """We have the whole request, or a 1xx came: until when the next head may come, once the request has left us."""
        if connection.paused:
            self._await_room(connection, now)
            return
        limit = self.group.spec.timeouts.response_header if self.group is not None else 0.0
        connection.deadline = min(now + (limit or NEVER), self._try_until())

    def _await_room(self, connection: UpstreamProtocol, now: float) -> None:
        """More of the request waits than may: until when the target must take some of it."""
        limit = self.group.spec.timeouts.request_write_idle if self.group is not None else 0.0
        connection.deadline = min(now + (limit or NEVER), self._try_until())

    def flush(self) -> None:
        """What came with a head is read: the head goes now, if it has not gone with it."""
        self._more = False
        head, self._kept = self._kept, b""
        if head and self.head_sent:
            self.client.transport.write(head)
        elif head and self.upstream is not None:
            self.upstream.transport.write(head)

    def request_body(self, pieces: Pieces, *, last: bool = False) -> None:
        """Take what came of the request's body (not nothing); `last`: it ends here."""
        size = framing.length(pieces)
        self.bytes_in += size
        connection, replay = self.upstream, self._replay
        if connection is None:  # on its way: what comes meanwhile is sent once there is one
            if replay is not None:
                replay += b"".join(pieces)
                if len(replay) > self._replay_limit():
                    self.client.hold(self.client.CONNECTING)
            return
        if replay is not None:
            if len(replay) + size > self._replay_limit():
                self._replay = None  # from here on the request cannot be repeated
            else:
                replay += b"".join(pieces)
        head, self._kept = self._kept, b""
        if self.block.length == CHUNKED:
            pieces = chunk(pieces, size, last=last)
        framing.write(connection.transport, head, pieces, size)

    def _replay_limit(self) -> int:
        return self.group.spec.retry.replay_buffer if self.group is not None else 0

    def _bound_replay(self) -> None:
        if self._replay is not None and len(self._replay) > self._replay_limit():
            self._replay = None  # from here on the request cannot be repeated

    def request_end(self, *, ended: bool) -> None:
        """The request's body is complete; `ended`: its last piece was said to be that."""
        self.request_done = True
        # A body that may still be on its way when the response comes: its connection is looked at then.
        self.plain = (
            self.line.minor == 1 and not self.line.is_head and not self.head_sent and self.bytes_in <= SURELY_SENT
        )
        connection = self.upstream
        if connection is not None:
            if self.block.length == CHUNKED and not ended:
                head, self._kept = self._kept, b""
                connection.transport.write(head + LAST_CHUNK)
            if not self.head_sent:
                self._await_head(connection, time.monotonic())

    # The response

    def whole_response(self, head: ResponseHead, body: bytes) -> None:
        """A plain response that came in one piece, to a plain request: the short way. hot."""
        status = head.status
        group = self.group
        target = self.target
        connection = self.upstream
        client = self.client
        assert group is not None and target is not None and connection is not None
        if status >= 429 and tries.by_status(self, head):
            return
        self.upstream = connection.exchange = None  # first: a client that is full must not stop a connection that rests
        last = not self.keep or not client.persistent
        client.transport.write(head.out + (b"Connection: close\r\n" + self.id_line if last else self.id_line) + body)
        try:
            now = time.monotonic()
            self.serial += 1
            self._holding = False
            target.active = active = target.active - 1
            self.place.row[target.active_cell] = active
            if target.troubled or status >= 500:
                group.responded(target, status)
            idle = target.idle  # target.give, written out
            if (
                target.waiting
                or not target.pooling
                or connection.retires < now
                or connection.requests >= MAX_REQUESTS
                or len(idle) >= MAX_IDLE
                or self.place.draining
            ):
                target.give(connection, now)
            else:
                rest = target.rest
                connection.idle_since = now
                connection.deadline = now + (rest if rest < connection.idle_limit else connection.idle_limit)
                idle.append(connection)
            if group.waiting:
                group.wake()
            record.whole(self, now - self.started, status, len(body))
        except Exception:
            self._answered(connection, status, len(body))
            raise
        if not self.fresh:  # it went the long way, where these may have been set
            self._replay = None
            if self.retrying is not None:
                self.stop_retrying()
            if self.deadline is not NEVER:
                self.unwatch()
        self.target = None
        if last:
            client.done(keep=False)
        else:
            client.next_request(now)

    def _answered(self, connection: UpstreamProtocol, status: int, size: int) -> None:
        """Something of ours broke after the answer was written: what follows must not bring the client a second one."""
        self.head_sent = self.from_upstream = True
        self.status = self.upstream_status = status
        self.bytes_out = size
        target = self.target
        if connection.exchange is None and (target is None or connection not in target.idle):
            connection.abort()

    def interim(self, head: ResponseHead) -> None:
        """A 1xx came: relay it to whom it may concern, and wait on for the final response."""
        connection = self.upstream
        if connection is not None and self.request_done:
            self._await_head(connection, time.monotonic())
        if head.status == 100:
            if self.client.stop_expecting():
                self.client.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif self.line.minor == 1:
            self.client.transport.write(head.out + b"\r\n")

    def response_head(self, head: ResponseHead, length: int, *, more: bool = False) -> bool:
        """The final head came, a body of `length` follows. Return False if the request went elsewhere.

        `more`: some of the body is here, and follows at once; then `flush`.
        """
        connection, target, group = self.upstream, self.target, self.group
        assert connection is not None and target is not None and group is not None
        if head.status >= 429 and tries.by_status(self, head):
            return False
        now = time.monotonic()
        self.status = self.upstream_status = head.status
        self.from_upstream = True
        self.first_byte = now - self.started
        if target.troubled or head.status >= 500:
            group.responded(target, head.status)
        extra = b""
        if length in (CHUNKED, UNTIL_CLOSE):
            if self.line.minor == 1:
                self._framing = _CHUNK
                extra = b"Transfer-Encoding: chunked\r\n"
            else:
                self.keep = False  # an HTTP/1.0 client reads until the end of the connection:
                self._framing = _CLOSE  # before the body is whole, that must be no end that it could mistake
                connect.end_by_reset(self.client.transport, yes=True)
        if not self.request_done:
            self.keep = (
                False  # both sides go on at once; if the response ends first, the rest of the body is not wanted
            )
        if self.place.draining or not self.client.persistent:
            self.keep = False
        if not self.keep:
            extra += b"Connection: close\r\n"
        elif self.line.minor == 0:
            extra += b"Connection: keep-alive\r\n"
        self.head_sent = True
        self.client.stop_expecting()  # no 100 may follow the final head
        self.stop_retrying()
        self._kept = head.out + extra + self.id_line
        if not more:
            self.flush()
        connection.deadline = now + (group.spec.timeouts.response_idle or NEVER)
        return True

    def response_body(self, pieces: Pieces, *, last: bool = False) -> None:
        """Pass on what came of the response's body (not nothing); `last`: it ends here, as its framing says."""
        connection, group = self.upstream, self.group
        assert connection is not None and group is not None
        size = framing.length(pieces)
        self.bytes_out += size
        if size > self.piece:
            self.piece = size
        head, self._kept = self._kept, b""
        if self._framing == _CHUNK:
            pieces = chunk(pieces, size, last=last)
            if last:
                self._framing = _RAW  # nothing more is to be said of its end
        framing.write(self.client.transport, head, pieces, size)
        connection.deadline = time.monotonic() + (group.spec.timeouts.response_idle or NEVER)

    def response_end(self, *, keep: bool) -> None:
        """The response is complete; `keep`: its connection may serve another."""
        if self._framing == _CHUNK:
            self._kept += LAST_CHUNK
        self.flush()
        if self._framing == _CLOSE:
            connect.end_by_reset(self.client.transport, yes=False)
        self.leave(keep=keep and self.request_done and self._is_sent())
        self.close()

    def _is_sent(self) -> bool:
        """Return whether nothing of the request still waits for the target: the next one would wait behind it.

        A target may answer before it has taken the body. Source: load balancing notes, 2.2.
        """
        connection = self.upstream
        if connection is None:
            return True
        if self.bytes_in <= SURELY_SENT:
            return not connection.transport.get_write_buffer_size()
        return connect.all_taken(connection.transport)

    # Back-pressure: a full side stops the other's reading

    def upstream_full(self) -> None:
        """The target does not take the request's body as fast as it comes."""
        self.client.hold(self.client.UPSTREAM_FULL)
        if self.upstream is not None and not self.head_sent:
            self._await_room(self.upstream, time.monotonic())

    def upstream_drained(self) -> None:
        """It does again."""
        if self.upstream is not None and not self.head_sent:
            if self.request_done:
                self._await_head(self.upstream, time.monotonic())
            else:
                self.upstream.deadline = self._try_until()
        self.client.release(self.client.UPSTREAM_FULL)

    def client_full(self) -> None:
        """The client does not take the response as fast as it comes."""
        if self.upstream is not None:
            self.upstream.transport.pause_reading()

    def client_drained(self) -> None:
        """It does again."""
        if self.upstream is not None:
            self.upstream.read_on()
            if self.head_sent and self.group is not None:
                self.upstream.deadline = time.monotonic() + (self.group.spec.timeouts.response_idle or NEVER)

    # Going wrong

    def connect_failed(self, error: BaseException) -> None:
        """No connection for this try could be made."""
        self.connect_time += time.monotonic() - self.sent_at
        reason = failures.connecting(error)
        kind = "" if reason is Reason.NO_LOCAL_RESOURCES else "connect"
        tries.failed(self, reason, str(error), kind)

    def lost(self, error: Exception | None, *, began: bool) -> None:
        """The connection ended before the final head; `began`: some of the response was here."""
        silent = isinstance(error, TimeoutError)  # nobody acknowledged what was sent: no race, the target is away
        if self.reused and not began and not self.raced and not silent:
            if self.line.idempotent and self.replayable():
                tries.race_lost(self)
            else:
                tries.failed(self, Reason.UPSTREAM_CLOSED, "a pooled connection closed as the request was sent", "")
            return
        tries.failed(self, failures.waiting(error), str(error or ""), "gateway")

    def rescue(self, *, again: bool = False) -> bool:
        """The target turned unhealthy or was ejected: move a request that still waits there, if it may be moved.

        Return False if there is nowhere to, for nobody. `again`: it could not be moved when the target was lost.
        """
        return self.head_sent or self.tunnel is not None or tries.rescue(self, again=again)

    def upstream_expired(self, now: float) -> None:
        """A deadline of the upstream side is over."""
        connection = self.upstream
        if connection is None:
            return
        if not self.head_sent:
            if connection.paused and connection.takes() and now < self._try_until():
                self._await_room(connection, now)
            elif connection.paused and (now < self._try_until() or not connection.took):
                tries.failed(self, Reason.UPSTREAM_WRITE_TIMEOUT, "", "gateway")
            elif connection.paused:
                tries.failed(self, Reason.RESPONSE_TIMEOUT, "per_try was over before the request was sent", "gateway")
            elif not self.request_done:  # it is the client that takes its time
                tries.failed(self, Reason.RESPONSE_TIMEOUT, "per_try was over before the request's body was here", "")
            else:
                tries.failed(self, Reason.RESPONSE_TIMEOUT, "", "gateway")
        elif not self.client.full:  # else it is us who do not read; the client has its own deadline
            self.abort(Reason.RESPONSE_IDLE_TIMEOUT, "")

    def expired(self, now: float) -> None:
        """The time for the whole request is over; called by the coarse clock."""
        self.guarded(self.fail, Reason.REQUEST_TIMEOUT)

    def bad_response(self, bad: Bad) -> None:
        """The response breaks the rules of HTTP."""
        if self.head_sent:
            self.abort(Reason.RESPONSE_TRUNCATED, bad.detail)
        else:
            tries.failed(self, bad.reason, bad.detail, "gateway")

    def unsolicited(self) -> None:
        """Bytes came after a complete response: they are nobody's."""
        if self.target is not None:
            self.target.unsolicited("bytes after a complete response")

    def target_removed(self) -> None:
        """The target is gone and its drain time is over."""
        if self.tunnel is not None:
            self.tunnel.end(Reason.TARGET_REMOVED)
        elif self.head_sent:
            self.abort(Reason.TARGET_REMOVED, "")
        else:
            tries.failed(self, Reason.TARGET_REMOVED, "", "")

    def waiting(self) -> int:
        """Return the bytes that wait here for a target, and in a tunnel those for the client."""
        size = len(self._replay) if self._replay is not None else 0
        return size + (self.upstream.transport.get_write_buffer_size() if self.upstream is not None else 0)

    def replayable(self) -> bool:
        """Return whether all that came of the request's body is still here."""
        return self.block.length == 0 or self._replay is not None

    def try_over(self, reason: Reason) -> None:
        """The present try ended with that reason, and another follows."""
        if self.target is not None:
            over = ended(self, REASON_CODES[reason] + 1, time.monotonic())
            self.past = [*(self.past or ()), over]

    def count_retry(self, reason: Reason) -> None:
        """Count a try beyond the first."""
        if self.group is not None:
            self.group.count_retry(reason)

    def stop_retrying(self) -> None:
        if self.retrying is not None:
            self.retrying.retrying -= 1
            self.retrying = None

    def fail(self, reason: Reason, detail: str = "", *, status: int = 0, headers: replies.Headers = ()) -> None:
        """Answer with a failure of that reason; `detail` is for the log."""
        if self.head_sent:
            self.abort(reason, detail)
            return
        last = self.target
        self.leave(keep=False)
        self.target = last
        self.reason = reason
        self.detail = detail
        answers.failure(self, reason, status, headers)

    def abort(self, reason: Reason, detail: str) -> None:
        """The response has begun and cannot be finished: end so that the client cannot take it for complete."""
        self.reason = self.reason or reason
        self.detail = self.detail or detail
        if not self.head_sent:
            self.status = self.reason.status or Reason.INTERNAL_ERROR.status
        else:
            self.flush()
        self.leave(keep=False)
        self.keep = False
        self.close(aborted=True)

    def request_failed(self, reason: Reason, detail: str, status: int = 0) -> None:
        """The client's body breaks the rules, or stopped coming: its fault, so no other try."""
        if self.upstream is not None:
            self.upstream.reset()  # the target must not take what it has for a whole request
            self.upstream = None
        self.keep = False
        self.fail(reason, detail, status=status)

    def client_gone(self) -> None:
        """The client left: whatever is under way for it ends."""
        if self.tunnel is not None:
            return
        self.reason = Reason.CLIENT_CLOSED
        if not self.head_sent:
            self.status = Reason.CLIENT_CLOSED.status
            self.from_upstream = False
        last = self.target
        self.leave(keep=False)
        self.target = last
        self.keep = False
        self.close(aborted=True)

    def guarded(self, step: Callable[[_T], None], value: _T) -> None:
        """Take a step from outside a protocol's callback: an exception is this request's, not the task's."""
        try:
            step(value)
        except Exception:
            self.bug()

    def bug(self) -> None:
        """An exception of our own: the traceback goes to the log with the request's id, never to the client."""
        log.exception("internal error request_id=%s", self.request_id)
        if not self.client.serving:  # it was over and counted, and what followed went wrong
            self.client.transport.abort()
            return
        try:
            self.fail(Reason.INTERNAL_ERROR)
        except Exception:
            log.exception("internal error request_id=%s", self.request_id)
            if self.client.serving:
                self.abort(Reason.INTERNAL_ERROR, "")

    # The end

    def leave(self, *, keep: bool) -> None:
        """End the present try: give its connection back, or end it."""
        self.serial += 1
        self._kept = b""
        if self.in_queue:
            self._dequeue()
        connection, self.upstream = self.upstream, None
        target = self.target
        if connection is not None:
            connection.exchange = None
        if connection is not None and not connection.closed:
            if keep and target is not None:
                connection.transport.resume_reading()
                if connection.suspect:
                    target.give_later(connection)
                else:
                    target.give(connection, time.monotonic())
            elif self.request_done:
                connection.abort()
            else:
                connection.reset()
        self.written = False
        if target is not None and self._holding:
            self._holding = False
            target.release()
            if self.group is not None and self.group.waiting:
                self.group.wake()

    def close(self, *, aborted: bool = False) -> None:
        if self.retrying is not None:
            self.stop_retrying()
        now = time.monotonic()
        self.fresh = False
        self.unwatch()
        try:
            record.close(self, now)
        except Exception:  # the request is over all the same
            log.exception("internal error request_id=%s", self.request_id)
        self.target = None
        self._replay = None  # an idle connection holds nothing
        self.client.done(keep=self.keep, aborted=aborted)

    def unwatch(self) -> None:
        """The limit for the whole request no longer runs."""
        self.deadline = NEVER
        self.place.deadlines.watched.discard(self)
