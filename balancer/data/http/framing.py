"""Chunked bodies: read strictly, piece by piece, and written anew, so that extensions and trailers vanish.

    chunk = size-in-hex [; extension] CRLF  data  CRLF          last: 0 CRLF  trailers  CRLF

Source: RFC 9112, 7.1; limits of the load balancing notes (2.1).
"""

from __future__ import annotations

import asyncio
import re

from balancer.data.http.fields import Bad
from balancer.model.reason import Reason

MAX_EXTENSION = 256
MAX_EXTENSIONS = 16 * 1024
MAX_TRAILERS = 8 * 1024
MAX_TRAILER_FIELDS = 32
MAX_PIECES = 16  # of a payload: more of them are cheaper to copy than to write one by one
LARGE = 4096  # bytes: a smaller piece is cheaper copied than kept as a view, and holds nothing else in memory
LAST_CHUNK = b"0\r\n\r\n"
MAX_CHUNKS = 1024  # read in one go: what is left of a read full of tiny chunks waits until others had their turn

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:" + _EXTENSION + rb")*)")
_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;|\r?\Z)")
_SPACED = re.compile(rb"[0-9A-Fa-f]+[ \t]")
_TRAILER = re.compile(_TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")
_NEVER_IN_TRAILER = (b"content-length:", b"transfer-encoding:")

# The usual size lines of small chunks: looked up, where a pattern and a conversion take four times as long.
_SMALL = {form % size: size for size in range(1, 256) for form in (b"%x", b"%X")}

Pieces = list[bytes | memoryview]  # of a payload, none empty; a large one may be a view of what was read

_IN_SIZE, _IN_DATA, _AFTER_DATA, _IN_TRAILERS, _DONE = range(5)


class ChunkReader:
    """The state between two reads of a chunked body."""

    __slots__ = ("_buffer", "_extensions", "_fields", "_left", "_state", "_too_large", "_trailers", "fault", "waiting")

    def __init__(self, fault: Reason) -> None:
        """`fault` is the reason for a malformed chunk: BAD_CHUNK of a client, BAD_RESPONSE of a target."""
        self.fault = fault
        self._too_large = Reason.HEADER_TOO_LARGE if fault is Reason.BAD_CHUNK else Reason.RESPONSE_HEADER_TOO_LARGE
        self._state = _IN_SIZE
        self._left = 0
        self._buffer = b""
        self._extensions = 0
        self._trailers = 0
        self._fields = 0
        self.waiting = False  # more chunks are here than one turn may take: `feed(b"")` goes on

    @property
    def done(self) -> bool:
        """True once the last chunk and its trailers are read."""
        return self._state == _DONE

    @property
    def unread(self) -> int:
        """Bytes that were fed and not read yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> tuple[Pieces, bytes]:
        """Return (payload, what came after the body); raises Bad. The second is empty until `done`.

        At most MAX_CHUNKS are read; if `waiting` is true afterwards, call again with nothing, in another turn.
        """
        if self._state == _IN_DATA and len(data) <= self._left:  # in the middle of a large chunk: nothing to copy
            self._left -= len(data)
            if not self._left:
                self._state = _AFTER_DATA
            return [data] if data else [], b""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: Pieces = []
        at, end = 0, len(data)
        left = MAX_CHUNKS
        while at < end and self._state != _DONE:
            if self._state == _IN_SIZE:
                while left:  # hot, for small chunks: whole ones, with nothing but a size
                    stop = data.find(b"\r\n", at, at + 4)
                    size = _SMALL.get(data[at:stop], 0) if stop > 0 else 0
                    if not size or data[stop + size + 2 : stop + size + 4] != b"\r\n":
                        break
                    pieces.append(data[stop + 2 : stop + size + 2])
                    at = stop + size + 4
                    left -= 1
                if not left or at == end:
                    break
                left -= 1
            if self._state == _IN_DATA:
                size = min(self._left, end - at)
                pieces.append(data[at : at + size] if size < LARGE else memoryview(data)[at : at + size])
                at += size
                self._left -= size
                if not self._left:
                    self._state = _AFTER_DATA
            elif self._state == _AFTER_DATA:
                if not data.startswith(b"\r\n", at):
                    if end - at == 1 and data[at] == 0x0D:
                        break
                    raise Bad(self.fault, "no CRLF after the data of a chunk")
                at += 2
                self._state = _IN_SIZE
            else:
                stop = data.find(b"\r\n", at)
                if stop < 0:
                    self._check_unfinished(data, at)
                    break
                if self._state == _IN_SIZE:
                    self._read_size(data[at:stop])
                else:
                    self._read_trailer(data[at:stop])
                at = stop + 2
        self.waiting = not left and at < end and self._state != _DONE
        if len(pieces) > MAX_PIECES:
            pieces = [b"".join(pieces)]
        if self._state == _DONE:
            return pieces, data[at:]
        self._buffer = data[at:]
        return pieces, b""

    def _check_unfinished(self, data: bytes, at: int) -> None:
        """Refuse early what no further byte can mend, so that nothing waits for it."""
        rest = data[at:]
        if self._state == _IN_TRAILERS:
            self._check_trailer(rest)
            return
        if len(rest) > MAX_EXTENSION + 20:
            raise Bad(self.fault, "a chunk line that does not end")
        if b"\n" in rest or b"\r" in rest[:-1]:
            raise Bad(self.fault, "a line in a chunked body that does not end in CRLF")
        if not _BEGUN.match(rest):
            raise Bad(self.fault, "a chunk size that is not a hexadecimal number")

    def _read_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None or _SPACED.match(line):
            raise Bad(self.fault, "a chunk size that is not a hexadecimal number")
        extension = len(match[2])
        self._extensions += extension
        if extension > MAX_EXTENSION or self._extensions > MAX_EXTENSIONS:
            raise Bad(self.fault, "chunk extensions are too long")
        self._left = int(match[1], 16)
        self._state = _IN_DATA if self._left else _IN_TRAILERS

    def _check_trailer(self, rest: bytes) -> None:
        """Judge what is here of a trailer's line and its CR; what a byte shows comes before what a later one shows."""
        begun = rest[:MAX_TRAILERS]
        if b"\n" in begun or b"\r" in begun[:-1]:
            raise Bad(self.fault, "a line in a chunked body that does not end in CRLF")
        if len(rest) > MAX_TRAILERS:
            raise Bad(self._too_large, "a trailer that does not end")

    def _read_trailer(self, line: bytes) -> None:
        self._check_trailer(line + b"\r")
        if not line:
            self._state = _DONE
            return
        self._trailers += len(line) + 2
        self._fields += 1
        if self._trailers > MAX_TRAILERS or self._fields > MAX_TRAILER_FIELDS:
            raise Bad(self._too_large, "trailers over 8 KiB or 32 fields")
        if not _TRAILER.fullmatch(line) or line.lower().startswith(_NEVER_IN_TRAILER):
            raise Bad(self.fault, "a malformed trailer")


def length(pieces: Pieces) -> int:
    """Return how many bytes they are together."""
    return len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))


def chunk(pieces: Pieces, size: int, *, last: bool = False) -> Pieces:
    """Return `pieces` of `size` bytes (not 0: an empty chunk would end the body) as one chunk: nothing is copied.

    `last`: the body ends with it.
    """
    return [b"%x\r\n" % size, *pieces, b"\r\n0\r\n\r\n" if last else b"\r\n"]


def write(transport: asyncio.Transport, head: bytes, pieces: Pieces, size: int) -> None:
    """Write `head`, which may be empty, and pieces of `size` bytes behind it: in one write, small ones as one piece."""
    if head:
        pieces = [head, *pieces]
    if len(pieces) == 1:
        transport.write(pieces[0])
    elif size < LARGE:
        transport.write(b"".join(pieces))
    else:
        transport.writelines(pieces)
