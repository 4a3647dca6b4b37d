"""What heads meant when they were read in full, under exactly their bytes.

A head is a pure function of its bytes and of the snapshot, so what it means may be kept. The tables hang on the
snapshot: a reload drops them. They hold cookies and credentials as keys: never log, dump or count by them.

Rules
1. The key is the exact bytes of a whole half, never a hash alone, never with bytes of a body.
2. Every table is bounded by entries, and heads over 2 KiB are not kept.
3. A miss does all the work and all the checks; a hit skips none that depends on the connection or the moment.
4. The request line and the header block are judged apart; what depends on both is decided by the caller, each time.

Each table has two generations (a full new one becomes the old; a hit in the old is carried over) and takes a key in
only when it was seen before, so that heads that never repeat cost one write of a byte and push nothing out.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import httptools

from balancer.data.http.fields import Bad, Lines
from balancer.data.http.request_block import Block, read_block
from balancer.data.http.request_line import Line, read_line
from balancer.data.http.response_head import ResponseHead, read_response
from balancer.model.reason import Reason

MAX_KEPT = 2048  # bytes of a head
_MARKS = 1 << 16

_T = TypeVar("_T")


class Table(Generic[_T]):
    """A bounded memory. `new` is read directly by the hot path; `find` also looks among the old ones."""

    __slots__ = ("_limit", "_marks", "new", "old")

    def __init__(self, limit: int) -> None:
        """`limit`: entries a generation; 0 keeps nothing."""
        self.new: dict[bytes, _T] = {}
        self.old: dict[bytes, _T] = {}
        self._limit = limit
        self._marks = bytearray(_MARKS)

    def find(self, key: bytes) -> _T | None:
        """Return what is kept under `key`, or None."""
        found = self.new.get(key)
        if found is None and (found := self.old.get(key)) is not None:
            self._put(key, found)
        return found

    def keep(self, key: bytes, value: _T) -> bool:
        """Keep `value` if `key` was seen before and is short enough; return whether it is kept."""
        if not self._limit or len(key) > MAX_KEPT:
            return False
        mixed = hash(key)
        at, mark = mixed & (_MARKS - 1), (mixed >> 16) & 0xFF or 1
        if self._marks[at] != mark:
            self._marks[at] = mark
            return False
        self._put(key, value)
        return True

    def clear(self) -> None:
        """Forget what is kept; not what was seen."""
        self.new, self.old = {}, {}

    def _put(self, key: bytes, value: _T) -> None:
        if len(self.new) >= self._limit:
            self.old = self.new
            self.new = {}
        self.new[key] = value


class RequestMemory:
    """Lines and blocks of requests, for one listener, one snapshot and one class of peers (trusted or not)."""

    __slots__ = ("_header_lines", "_noted", "_trusted", "_wanted", "blocks", "lines")

    def __init__(
        self, *, trusted: bool, wanted: frozenset[str], noted: frozenset[str] = frozenset(), remember: bool = True
    ) -> None:
        """`wanted`: fields that rules look at, `noted`: others whose value is asked for.

        `remember` False reads every head in full, with the same verdicts.
        """
        self.lines: Table[Line] = Table(2048 if remember else 0)
        self.blocks: Table[Block] = Table(2048 if remember else 0)
        self._header_lines = Lines(4096 if remember else 0)
        self._trusted = trusted
        self._wanted = wanted
        self._noted = noted

    def line(self, data: bytes) -> Line:
        """Return what a request line (without CRLF) means; raises Bad."""
        found = self.lines.find(data)
        if found is None:
            found = read_line(data)
            if self.lines.keep(data, found):
                found.routes = {}
        return found

    def block(self, data: bytes) -> Block:
        """Return what a header block (CRLF … CRLF CRLF) means; raises Bad."""
        found = self.blocks.find(data)
        if found is None:
            found = read_block(data, self._header_lines, trusted=self._trusted, wanted=self._wanted, noted=self._noted)
            named = data.lower()
            if named.find(b"content-length") >= 0 or named.find(b"transfer-encoding") >= 0:  # `in` takes 0.2 µs more
                _second_opinion(data)
            self.blocks.keep(data, found)
        return found


class ResponseMemory:
    """Response heads, for one snapshot."""

    __slots__ = ("_header_lines", "heads")

    def __init__(self, *, remember: bool = True) -> None:
        self.heads: Table[ResponseHead] = Table(1024 if remember else 0)
        self._header_lines = Lines(4096 if remember else 0)

    def head(self, data: bytes) -> ResponseHead:
        """Return what a response head means; raises Bad."""
        found = self.heads.find(data)
        if found is None:
            found = read_response(data, self._header_lines)
            self.heads.keep(data, found)
        return found


class _Listening:
    """What httptools wants to call; we only want to know whether it objects."""


def _second_opinion(block: bytes) -> None:
    """Raise Bad if llhttp, an independent parser, refuses a block that we accepted: insurance where framing is read.

    Only for blocks in which the words that frame a body stand anywhere (-5 µs for the others): without them there is no
    body that two parsers could see differently, and what we pass on of the lines is less than llhttp would.
    """
    try:
        httptools.HttpRequestParser(_Listening()).feed_data(b"GET / HTTP/1.1" + block)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise Bad(Reason.BAD_REQUEST, str(error)[:200]) from None
