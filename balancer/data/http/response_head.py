"""A response head, read strictly and written anew; it stands for itself, whatever request it answers."""

from __future__ import annotations

import re
from itertools import filterfalse

from balancer.data.http.fields import (
    CONNECTION,
    HOP_BY_HOP,
    KEEPS,
    LENGTH,
    PLAIN,
    PROTECTED,
    UNTIL_CLOSE,
    Bad,
    Lines,
    read_length,
    split,
)
from balancer.model.reason import Reason

MAX_RESPONSE_HEAD = 64 * 1024
MAX_RESPONSE_FIELDS = 200

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,; ])timeout=([0-9]{1,6})", re.IGNORECASE)


class ResponseHead:
    """A response head under no request: `out` is its new form for an HTTP/1.1 client, without the last empty line.

    `length`: bytes, CHUNKED, or UNTIL_CLOSE; what HEAD or a status without a body makes of it is the caller's.
    """

    __slots__ = ("asks_drain", "bodiless", "idle_hint", "keep", "length", "out", "plain", "status", "upgrade")

    def __init__(
        self,
        status: int,
        out: bytes,
        length: int,
        keep: bool,
        upgrade: bytes,
        idle_hint: float,
        asks_drain: bool = False,
    ) -> None:
        self.status = status
        self.out = out
        self.length = length
        self.keep = keep  # the connection may be used again
        self.upgrade = upgrade
        self.idle_hint = idle_hint  # seconds from Keep-Alive: timeout=n; 0: not said
        self.bodiless = status < 200 or status in (204, 304)
        self.asks_drain = asks_drain  # X-Balancer-Drain: 1, said to us and to no client
        self.plain = status >= 200 and not self.bodiless and length >= 0 and keep and not idle_hint and not asks_drain


NO_RESPONSE = ResponseHead(0, b"", UNTIL_CLOSE, False, b"", 0.0)  # of no length that a body can have


def _read_status(line: bytes, lines: Lines) -> tuple[int, int, bytes]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise Bad(Reason.BAD_RESPONSE, "a malformed status line")
    status = int(match[2])
    read = (int(match[1]), status, b"HTTP/1.1 %d %b" % (status, match[3] or b""))
    lines.keep_status(line, read)
    return read


def read_response(head: bytes, lines: Lines) -> ResponseHead:
    """Return what a response head (status line to empty line, both included) means; raises Bad."""
    end = head.find(b"\r\n")
    minor, status, first = lines.statuses.get(head[:end]) or _read_status(head[:end], lines)
    try:
        parts = split(head[end:], MAX_RESPONSE_FIELDS, Reason.RESPONSE_HEADER_TOO_LARGE)
        usual = _read_usual(status, first, parts, lines) if minor else None
        return usual if usual is not None else _read_any(minor, status, first, parts, lines)
    except Bad as bad:
        if bad.reason is Reason.RESPONSE_HEADER_TOO_LARGE:
            raise
        raise Bad(Reason.BAD_RESPONSE, bad.detail) from None


def _read_usual(status: int, first: bytes, parts: list[bytes], lines: Lines) -> ResponseHead | None:
    """Return what a head means that has one Content-Length and else only lines that are passed on or dropped as they
    are; None for any other. It says what the long way would (-3 µs). May raise Bad."""
    known = lines.known
    keep = None
    length = -1
    gone = []
    for line in filterfalse(lines.plain.__contains__, parts):
        _, value, kind = known.get(line) or lines.read(line)
        if kind == PLAIN:
            continue
        gone.append(line)
        if kind == LENGTH and length < 0 and value.isdigit() and len(value) < 16:
            length = int(value)
        elif kind == CONNECTION and keep is None:
            keep = KEEPS.get(value)
            if keep is None:
                return None
        else:
            return None
    if length < 0 or status < 200 or status == 204:
        return None
    for line in gone:
        parts.remove(line)
    out = b"\r\n".join((first, *parts, b"Content-Length: %d\r\n" % length))
    return ResponseHead(status, out, length, keep is not False, b"", 0.0)


def _read_any(minor: int, status: int, first: bytes, parts: list[bytes], lines: Lines) -> ResponseHead:
    out = [first]
    codings: list[bytes] = []
    lengths: list[bytes] = []
    connection: list[bytes] = []
    kept: list[tuple[bytes, bytes]] = []
    upgrade = b""
    idle_hint = 0.0
    asks_drain = False
    known = lines.known
    for line in parts:
        name, value, kind = known.get(line) or lines.read(line)
        if kind == PLAIN:
            kept.append((name, line))
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(line.partition(b":")[2])
        elif name == b"connection":
            connection += [token.strip(b" \t").lower() for token in value.split(b",")]
        elif name == b"keep-alive":
            hint = _KEEP_ALIVE_TIMEOUT.search(value)
            idle_hint = float(hint[1]) if hint else 0.0
        elif name == b"upgrade":
            upgrade = value.lower()
        elif name == b"x-balancer-drain":
            asks_drain = asks_drain or value == b"1"
        elif name not in HOP_BY_HOP and name != b"x-request-id":
            kept.append((name, line))
    if codings and minor == 0:
        raise Bad(Reason.BAD_RESPONSE, "Transfer-Encoding in an HTTP/1.0 response")
    length = read_length(lengths, codings) if codings or lengths else UNTIL_CLOSE
    if connection and connection != [b"keep-alive"]:
        named = {token for token in connection if token and token not in PROTECTED}
        out += [line for name, line in kept if name not in named]
    else:
        out += [line for _, line in kept]
    if lengths and status >= 200 and status != 204:
        out.append(b"Content-Length: %d" % length)
    keep = b"close" not in connection and (minor == 1 or b"keep-alive" in connection)
    if status == 204 and (codings or length > 0):
        keep = False  # it may mean what it says, and send a body that would be taken for the next response
    out.append(b"")
    return ResponseHead(status, b"\r\n".join(out), length, keep, upgrade, idle_hint, asks_drain)
