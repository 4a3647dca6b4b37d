"""RequestBody: the body of one request while it comes: what is left of it, and until when more of it must be here.

It knows no socket and no clock: bytes and times come in, payload and deadlines go out. A client's fault is a Bad.

    begin -> until when it may be silent      feed -> payload, and what comes after the body
    judge -> the same, once a deadline is over: is it silent, is it too slow

Seconds are monotonic. Time in which we ourselves did not read does not count against the client (`held`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.data.deadlines import NEVER
from balancer.data.http.fields import CHUNKED, Bad
from balancer.data.http.framing import ChunkReader, Pieces, length
from balancer.data.http.pace import GRACE, STEP, Pace
from balancer.model.reason import Reason

if TYPE_CHECKING:
    from balancer.model.snapshot import Listener

MAX_DISCARD = 64 * 1024  # bytes of a body that are read and thrown away to keep a connection
_UNLIMITED = 1 << 62


class RequestBody:
    """A body of a known length, or in chunks."""

    __slots__ = (
        "_began",
        "_held_for",
        "_idle_until",
        "_judged_at",
        "_limit",
        "_pace",
        "_received",
        "_spec",
        "chunks",
        "done",
        "expecting",
        "left",
    )

    def __init__(self, length: int, spec: Listener, *, expecting: bool) -> None:
        """`length` in bytes or CHUNKED; `expecting`: the client waits for a 100 before it sends anything."""
        self._spec = spec
        self._limit = spec.limits.body or _UNLIMITED
        self._received = 0
        self._began = -1.0  # no byte of it is wanted yet
        self._held_for = 0.0  # seconds in which we did not read
        self._idle_until = self._judged_at = NEVER  # when it is silent for too long, when its pace is looked at
        self._pace: Pace | None = None
        self.expecting = expecting
        self.chunks = ChunkReader(Reason.BAD_CHUNK) if length == CHUNKED else None
        self.left = length  # bytes, if it is not in chunks
        self.done = False

    @property
    def waiting(self) -> bool:
        """Whether more tiny chunks are here than one turn may take: `feed(b"")` goes on."""
        return self.chunks is not None and self.chunks.waiting

    @property
    def unread(self) -> int:
        """Bytes that are here and not looked at yet: of this body, or behind it."""
        return 0 if self.chunks is None else self.chunks.unread

    @property
    def may_be_discarded(self) -> bool:
        """Whether what is left is little enough to read and throw away."""
        return not self.expecting and (self.chunks is not None or self.left <= MAX_DISCARD)

    def feed(self, data: bytes | memoryview) -> tuple[Pieces, bytes]:
        """Return (payload, what came after the body); raises Bad. The second is empty until `done`.

        A view is passed on as it is where the length is known; in chunks it is copied first.
        """
        self.expecting = False
        chunks = self.chunks
        if chunks is None:
            left = self.left
            size = len(data)
            if size < left:
                self.left = left - size
                self._received += size
                return [data] if data else [], b""
            self.left = 0
            self.done = True
            self._received += left
            return ([data], b"") if size == left else ([data[:left]], bytes(data[left:]))
        payload, rest = chunks.feed(bytes(data))
        self.done = chunks.done
        self._received += length(payload)
        if self._received > self._limit:
            raise Bad(Reason.BODY_TOO_LARGE, f"limits.body is {self._spec.limits.body}")
        return payload, rest

    def held(self, seconds: float) -> None:
        """We did not read for so long."""
        self._held_for += seconds

    def begin(self, now: float) -> float:
        """Return the first deadline: of the client that waits for a 100, else as `want`."""
        return now + (self._spec.timeouts.expect_continue or NEVER) if self.expecting else self.want(now)

    def want(self, now: float) -> float:
        """More of it is wanted from now on: return the deadline."""
        if self._began < 0.0:
            self._began = now
            self._held_for = 0.0
            self._judged_at = now + GRACE if self._spec.limits.min_body_rate else NEVER
        self._idle_until = until = now + (self._spec.timeouts.request_body_idle or NEVER)
        return until if until < self._judged_at else self._judged_at

    def judge(self, now: float, *, reading: bool) -> float:
        """A deadline is over: return the next one; raises Bad if the body is silent, or slower than it may be."""
        if not reading:
            self._judged_at = now + STEP if self._judged_at <= now else self._judged_at
            return self.want(now)
        if now >= self._idle_until:
            raise Bad(Reason.CLIENT_BODY_TIMEOUT, "")
        rate = self._spec.limits.min_body_rate
        pace = self._pace = self._pace or Pace(rate)
        seconds = now - self._began - self._held_for
        if seconds >= GRACE and pace.is_too_slow(seconds, self._received):
            detail = f"{self._received} bytes of the body in {seconds:.0f} s, limits.min_body_rate is {rate}"
            raise Bad(Reason.CLIENT_TOO_SLOW, detail)
        self._judged_at = now + max(STEP, GRACE - seconds)
        return min(self._idle_until, self._judged_at)
