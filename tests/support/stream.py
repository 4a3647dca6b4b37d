"""Stream: one end of a TCP connection in a test's hands; every call has a deadline and says how the other end left."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

from tests.support import http1
from tests.support.http1 import BadMessage, Headers
from tests.support.kernel import peer_has_read

End = Literal["open", "fin", "reset"]
KEEP = 4 * 1024 * 1024


class Cut(ConnectionError):
    """The other end closed (`fin`) or reset the connection before the message was whole."""

    def __init__(self, end: End, got: bytes) -> None:
        super().__init__(f"the connection ended with {end} after {got[-200:]!r}")
        self.end, self.got = end, got


@dataclass(slots=True)
class Body:
    """A body as it came: at most `KEEP` bytes of it in `data`, all of it in `sha256` and `size`."""

    data: bytes = b""
    size: int = 0
    sha256: str = ""
    complete: bool = False
    chunks: list[int] = field(default_factory=list)
    extensions: list[bytes] = field(default_factory=list)
    trailers: Headers = ()


class _Intake:
    """Collects a body."""

    def __init__(self) -> None:
        self.body = Body()
        self.kept = bytearray()
        self.hash = hashlib.sha256()

    def take(self, data: bytes) -> None:
        self.body.size += len(data)
        self.hash.update(data)
        if len(self.kept) < KEEP:
            self.kept += data

    def done(self, complete: bool) -> Body:
        self.body.data, self.body.sha256, self.body.complete = bytes(self.kept), self.hash.hexdigest(), complete
        return self.body


class Stream:
    """A socket with a buffer. `timeout` bounds each call, in seconds; `log` keeps the first 4 MiB received."""

    def __init__(self, sock: socket.socket, timeout: float = 5.0) -> None:
        self.sock, self.timeout = sock, timeout
        self.buffer = bytearray()
        self.log = bytearray()
        self.end: End = "open"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- sending

    def send(self, *pieces: bytes) -> None:
        """Send the pieces one after the other, a call of send() each; raises OSError when the peer is gone."""
        self.sock.settimeout(self.timeout)
        for piece in pieces:
            self.sock.sendall(piece)

    def send_apart(self, pieces: Iterable[bytes]) -> bool:
        """Send each piece once the peer has read the one before; False when the peer left in the middle."""
        for piece in pieces:
            try:
                self.send(piece)
                if not peer_has_read(self.sock, self.timeout):
                    return False
            except (BrokenPipeError, ConnectionResetError, OSError):
                return False
        return True

    def half_close(self) -> None:
        """Send FIN and keep reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close; the kernel sends FIN, or RST when bytes are unread."""
        self.sock.close()

    # -- receiving

    def fill(self, end: float) -> bool:
        """Read once, waiting until `end` on the monotonic clock; False when the peer closed or reset."""
        if self.end != "open":
            return False
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing more in time; so far {bytes(self.buffer[-300:])!r}")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(262144)
        except TimeoutError:
            raise TimeoutError(f"nothing more in time; so far {bytes(self.buffer[-300:])!r}") from None
        except (ConnectionResetError, BrokenPipeError):
            self.end = "reset"
            return False
        if not data:
            self.end = "fin"
            return False
        self.buffer += data
        if len(self.log) < KEEP:
            self.log += data
        return True

    def _end(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def take(self, count: int) -> bytes:
        """Take bytes that are in the buffer."""
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def read_until(self, delimiter: bytes, timeout: float | None = None, limit: int = 1 << 20) -> bytes:
        """Return the bytes up to and with `delimiter`; raises Cut when the connection ends before."""
        end, start = self._end(timeout), 0
        while (at := self.buffer.find(delimiter, max(0, start - len(delimiter)))) < 0:
            start = len(self.buffer)
            if start > limit:
                raise BadMessage(f"no {delimiter!r} within {limit} bytes")
            if not self.fill(end):
                raise Cut(self.end, bytes(self.buffer))
        return self.take(at + len(delimiter))

    def read_exactly(self, count: int, timeout: float | None = None) -> bytes:
        """Return the next `count` bytes; raises Cut when the connection ends before."""
        end = self._end(timeout)
        while len(self.buffer) < count:
            if not self.fill(end):
                raise Cut(self.end, bytes(self.buffer))
        return self.take(count)

    def read_to_end(self, timeout: float | None = None) -> bytes:
        """Return everything up to FIN or RST; `end` then says which."""
        end = self._end(timeout)
        while self.fill(end):
            pass
        return self.take(len(self.buffer))

    def read_body(self, length: int | None, timeout: float | None = None) -> Body:
        """Read a body of `length` bytes (None: chunked, -1: up to FIN). Never raises Cut: see `Body.complete`.

        The deadline is for each stretch without progress, so that a large body may take its time.
        """
        intake = _Intake()
        if length is None:
            return self._chunks(intake, timeout)
        left = length
        while left:
            if not self.buffer and not self.fill(self._end(timeout)):
                return intake.done(length < 0 and self.end == "fin")
            piece = self.take(left if left > 0 else len(self.buffer))
            intake.take(piece)
            if left > 0:
                left -= len(piece)
        return intake.done(True)

    def _chunks(self, intake: _Intake, timeout: float | None) -> Body:
        try:
            while True:
                line = self.read_until(b"\r\n", timeout, 32768)[:-2]
                size = http1.chunk_size(line)
                intake.body.extensions += [extension] if (extension := http1.chunk_extension(line)) else []
                if size == 0:
                    break
                intake.body.chunks.append(size)
                while size:
                    if not self.buffer and not self.fill(self._end(timeout)):
                        return intake.done(False)
                    piece = self.take(size)
                    intake.take(piece)
                    size -= len(piece)
                if self.read_exactly(2, timeout) != b"\r\n":
                    raise BadMessage("no CRLF after a chunk")
            if (first := self.read_exactly(2, timeout)) != b"\r\n":
                intake.body.trailers = http1.trailer_fields(first + self.read_until(b"\r\n\r\n", timeout))
        except Cut:
            return intake.done(False)
        return intake.done(True)
