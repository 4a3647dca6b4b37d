"""LoopConnection: a client connection that carries one request at a time and judges each answer strictly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, cast

from tests.support import http1
from tests.support.http1 import BadMessage, Head
from tests.support.report import Sample

MARK = re.compile(rb"ol-[0-9a-f]{8}-\d+")
Tag = Callable[[Head, bytes], str]


class Run(Protocol):
    """What a connection tells the run that it belongs to."""

    extra: int
    require_mark: bool
    tag: Tag | None

    def now(self) -> float:
        """Return seconds since the run began."""
        ...

    def finish(self, sample: Sample, cause: str) -> None:
        """A request is over; `cause` is empty when its answer is whole and its own."""
        ...

    def release(self, connection: LoopConnection) -> None:
        """The connection can carry the next request."""
        ...

    def gone(self, connection: LoopConnection) -> None:
        """The connection is closed."""
        ...


class LoopConnection(asyncio.Protocol):
    """One client connection: at most one request on it at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.transport: asyncio.Transport | None = None
        self.sample: Sample | None = None
        self.mark = b""
        self.used = False
        self._clear()

    def _clear(self) -> None:
        self.buffer = bytearray()
        self.raw = bytearray()
        self.head: Head | None = None
        self.body = bytearray()
        self.left: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def send(self, sample: Sample, mark: bytes, data: bytes) -> None:
        assert self.transport is not None
        self.sample, self.mark, sample.reused = sample, mark, self.used
        self.used = True
        sample.sent = self.run.now()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.sample is None:
            self.run.extra += 1
            self.drop()
            return
        self.buffer += data
        try:
            while self.sample is not None and self._advance():
                pass
        except BadMessage as fault:
            self._end(f"invalid answer: {fault}")

    def _advance(self) -> bool:
        """Take one step through the answer; False when more bytes are needed."""
        if self.head is None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = http1.response_head(bytes(self.buffer[: end + 4]))
            del self.buffer[: end + 4]
            status = int(head.start[0])
            if status < 200:
                return True
            self.head = head
            assert self.sample is not None
            if self.sample.method == "HEAD" or status in (204, 304):
                self.left = 0
            else:
                self.left = http1.body_length(head)
            return True
        if self.left is None:
            return self._chunk()
        if self.left < 0:
            self.body += self.buffer
            self.buffer.clear()
            return False
        take = self.buffer[: self.left]
        self.body += take
        del self.buffer[: len(take)]
        self.left -= len(take)
        if self.left:
            return False
        self._end("")
        return True

    def _chunk(self) -> bool:
        end = self.buffer.find(b"\r\n")
        if end < 0:
            return False
        size = http1.chunk_size(bytes(self.buffer[:end]))
        if size == 0:
            done = self.buffer.find(b"\r\n\r\n", end)
            if done < 0:
                return False
            del self.buffer[: done + 4]
            self._end("")
            return True
        if len(self.buffer) < end + 2 + size + 2:
            return False
        if self.buffer[end + 2 + size : end + 4 + size] != b"\r\n":
            raise BadMessage("no CRLF after a chunk")
        self.body += self.buffer[end + 2 : end + 2 + size]
        del self.buffer[: end + 4 + size]
        return True

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        kind = "reset" if exc else "closed"
        self.run.gone(self)
        if self.sample is None:
            return
        if self.head is None:
            stale = "idle connection " if self.sample.reused and not self.buffer else ""
            self._end(f"{stale}{kind} before the answer")
        elif self.left is not None and self.left < 0 and exc is None:
            self._end("")
        else:
            self._end(f"{kind} inside the answer")

    def _end(self, cause: str) -> None:
        sample, head, body = self.sample, self.head, bytes(self.body)
        assert sample is not None
        self.sample = None
        if head is not None:
            sample.status = int(head.start[0])
            sample.request_id = (head.get("x-request-id") or b"").decode("latin-1")
            sample.reason = (head.get("proxy-status") or b"").decode("latin-1")
            marks = set(MARK.findall(head.raw)) | set(MARK.findall(body))
            if not cause and marks - {self.mark}:
                cause = "mismatched"
            if not cause and self.run.require_mark and not marks and sample.status < 300 and sample.method != "HEAD":
                cause = "unmarked"
            if self.run.tag is not None:
                sample.tag = self.run.tag(head, body)
        closing = cause or head is None or b"close" in b",".join(head.all("connection")).lower() or head.minor == 0
        leftover = bool(self.buffer)
        self._clear()
        self.run.finish(sample, cause)
        if leftover:
            self.run.extra += 1
        if closing or leftover or self.transport is None or self.transport.is_closing():
            self.drop()
        else:
            self.run.release(self)

    def give_up(self, cause: str) -> None:
        if self.sample is not None:
            self._end(cause)
        self.drop()

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()
