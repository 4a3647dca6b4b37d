"""Heads of requests and responses: read in full and strictly, and written anew from what was read.

A request head is read in two halves that do not depend on each other: the request line (`Line`) and the block of header
lines (`Block`), so that a thousand paths and two hundred clients are twelve hundred things to remember, not two hundred
thousand (`memory.py`). What depends on both halves is decided where they meet (`client.py`). A response head is one
piece (`ResponseHead`).

Rules
1. What can be read in two ways is refused: `Bad` names the reason. Refusing is rare, so it may be an exception.
2. No byte of a received head reaches the other side unread; names keep their case, lines their order.
3. Lines end in CRLF and nothing else; bytes above 0x7F in values are passed untouched and never decoded.
4. What depends on the connection or the moment (addresses, ids, the clock) is no part of a half.

Source: RFC 9112, RFC 9110; the framing tables of the load balancing notes (2.1-2.3).
"""

from __future__ import annotations

import copy
import re
from typing import Any

from balancer.data.access_log import path_text, quote
from balancer.model.reason import Reason
from balancer.routing import paths

MAX_TARGET = 8 * 1024
MAX_LINE = 16 * 1024
MAX_FIELDS = 100
MAX_RESPONSE_HEAD = 64 * 1024
MAX_RESPONSE_FIELDS = 200
MAX_LENGTH = 2**63 - 1
MAX_HOPS = 10
CHUNKED = -1  # as a length
UNTIL_CLOSE = -2  # as a length of a response

METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK "
    b"UNLINK SOURCE QUERY".split()
)
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_IS_TOKEN = re.compile(_TOKEN)
_VERSION = re.compile(rb"[A-Za-z]+/[0-9]+(\.[0-9]+)?")
_TARGET = re.compile(rb"(?:[\x21\x22\x24\x26-\x5b\x5d-\x7e]|%[0-9A-Fa-f]{2})+")  # no '#', no backslash, no stray '%'
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_CODINGS = re.compile(_TOKEN + rb"(?: *, *" + _TOKEN + rb")*")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_MAX_FORWARDS = re.compile(rb"(^|\r\n)max-forwards:[^\r]*", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,; ])timeout=([0-9]{1,6})", re.IGNORECASE)

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# A Connection header may not take these away: hop-by-hop abuse strips identity (2.2).
PROTECTED = frozenset(
    (
        b"host",
        b"content-length",
        b"content-type",
        b"cookie",
        b"authorization",
        b"x-real-ip",
        b"forwarded",
        b"x-request-id",
        b"cache-control",
    )
)
_CLIENT_SAYS = frozenset((b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"))
_MERGED = frozenset((b"content-length", b"transfer-encoding", b"host", b"connection", b"forwarded", b"x-real-ip"))
_X_FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"))


class Bad(Exception):
    """A head or body that is refused: a reason, and a detail for the log."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.word, detail)
        self.reason = reason
        self.detail = detail


class Line:
    """A request line: `out` is its new form; `routes` remembers where the router sent it, by `Block.route_key`."""

    __slots__ = (
        "authority",
        "idempotent",
        "is_head",
        "method",
        "minor",
        "out",
        "path",
        "plain",
        "query",
        "routes",
        "shown_method",
        "shown_path",
        "target",
    )

    def __init__(
        self, method: bytes, target: bytes, path: str, query: bytes, minor: int, authority: bytes | None
    ) -> None:
        self.method = method
        self.target = target  # as forwarded
        self.path = path  # as matched, without query
        self.query = query.decode("latin-1")
        self.minor = minor
        self.authority = authority  # of an absolute-form target
        self.out = b"%b %b HTTP/1.1\r\n" % (method, target)
        self.is_head = method == b"HEAD"
        self.idempotent = method in IDEMPOTENT
        # True: nothing of this line needs a look beyond the route.
        self.plain = minor == 1 and authority is None and method not in (b"CONNECT", b"TRACE", b"OPTIONS")
        self.routes: dict[object, Any] = {}
        self.shown_method = method.decode()
        # As they stand in the access log: made once, as JSON.
        self.shown_path = path_text(target.partition(b"?")[0].decode("latin-1"))


class Block:
    """The header lines of a request: `out` is their new form, without what we add for the connection."""

    __slots__ = (
        "expects",
        "forwarded_for",
        "hops",
        "host",
        "keep",
        "length",
        "max_forwards",
        "out",
        "plain",
        "raw_host",
        "request_id",
        "route_key",
        "seen",
        "shown_host",
        "upgrade",
        "values",
    )

    def __init__(self) -> None:
        self.out = b""
        self.host: str | None = None  # as matched; None: no Host line
        self.raw_host = b""
        self.shown_host = '""'  # as JSON
        self.length = 0  # bytes, or CHUNKED
        self.keep: bool | None = None  # what Connection asks for
        self.expects = False
        self.upgrade = b""  # the token, if Connection names Upgrade
        self.forwarded_for: tuple[bytes, ...] = ()
        self.seen: frozenset[bytes] = frozenset()  # which X-Forwarded-* a trusted peer sent
        self.request_id = b""
        self.hops = 0
        self.max_forwards: int | None = None
        self.values: dict[str, str] = {}  # of the fields that rules look at
        self.route_key: object = None
        self.plain = False  # True: no body, no upgrade, nothing to decide per request

    def without_upgrade(self) -> Block:
        """Return this block as that of an ordinary request: an upgrade that is not offered is not refused."""
        other = copy.copy(self)
        other.upgrade = b""
        other.plain = _is_plain(other)
        return other

    def one_hop_less(self) -> Block:
        """Return this block with its Max-Forwards counted down. Source: RFC 9110, 7.6.2."""
        other = copy.copy(self)
        other.out = _MAX_FORWARDS.sub(b"\\1Max-Forwards: %d" % ((self.max_forwards or 1) - 1), self.out)
        return other


def read_line(line: bytes) -> Line:
    """Return what a request line (without CRLF) means; raises Bad."""
    parts = line.split(b" ")
    method, version = parts[0], parts[-1]
    if line[:1] == b"\x16":
        raise Bad(Reason.TLS_ON_PLAIN_PORT, "the first byte is that of a TLS handshake")
    if b"\r" in line or b"\n" in line:
        raise Bad(Reason.BAD_REQUEST, "a control character in the request line")
    if not _IS_TOKEN.fullmatch(method):
        raise Bad(Reason.BAD_REQUEST, "the request line does not begin with a method")
    words = [part for part in parts if part]
    if len(words) < 3 and not (len(words) == 2 and _VERSION.fullmatch(version)):
        # No version at all is HTTP/0.9.
        if len(words) == 2 and method in METHODS:
            raise Bad(Reason.UNSUPPORTED_VERSION, "no version in the request line")
        raise Bad(Reason.BAD_REQUEST, "the request line has no method, target and version")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if _VERSION.fullmatch(version):
            raise Bad(Reason.UNSUPPORTED_VERSION, f"version {version[:20].decode('latin-1')}")
        if b"HTTP/" in line:
            raise Bad(Reason.BAD_REQUEST, "the request line does not end in a version")
        raise Bad(Reason.UNSUPPORTED_VERSION, "no version in the request line")
    if len(words) == 2:
        raise Bad(Reason.BAD_REQUEST, "the request line has no target")
    if method not in METHODS:
        raise Bad(Reason.UNSUPPORTED_METHOD, f"method {method[:40].decode('latin-1')}")
    if len(words) > 3:
        raise Bad(Reason.BAD_TARGET, "white space in the request target")
    return _read_target(method, words[1], 1 if version == b"HTTP/1.1" else 0)


def _read_target(method: bytes, target: bytes, minor: int) -> Line:
    if len(target) > MAX_TARGET:
        raise Bad(Reason.URI_TOO_LONG, f"{len(target)} bytes")
    if method == b"CONNECT":
        raise Bad(Reason.METHOD_NOT_ALLOWED, "CONNECT: this is no forward proxy")
    if not _TARGET.fullmatch(target):
        raise Bad(Reason.BAD_TARGET, "a character that a request target may not hold")
    if target == b"*":
        if method != b"OPTIONS":
            raise Bad(Reason.BAD_TARGET, "* is for OPTIONS only")
        return Line(method, target, "*", b"", minor, None)
    authority = None
    if not target.startswith(b"/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise Bad(Reason.BAD_TARGET, "neither an absolute path nor an http URL")
        authority = match[1]
        if b"@" in authority or paths.host_key(authority) is None:
            raise Bad(Reason.BAD_TARGET, "the authority of the URL is not a host")
        target = (match[2] or b"/") + (match[3] or b"")
    path, mark, query = target.partition(b"?")
    normal = paths.normalise(path)
    if normal is None:
        raise Bad(Reason.BAD_TARGET, "the path leaves the root or hides a control character")
    return Line(method, normal.forward + mark + query, normal.match, query, minor, authority)


class Lines:
    """Header lines that were seen before: line → (name in lower case, value). Bounded; a full table starts anew."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int = 4096) -> None:
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        self._limit = limit

    def read(self, line: bytes) -> tuple[bytes, bytes]:
        """Return (lower-case name, value) of a header line; raises Bad."""
        known = self._known.get(line)
        if known is not None:
            return known
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Bad(Reason.BAD_HEADER, _what_is_wrong(line))
        field = (match[1].lower(), match[2])
        if self._limit and len(line) <= 512:
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[line] = field
        return field


def _what_is_wrong(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "a folded header line"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "a header line without a colon"
    if not _IS_TOKEN.fullmatch(name):
        return "a header name that is no token"
    return "a control character in a header value"


def split(block: bytes, max_fields: int, too_large: Reason) -> list[bytes]:
    """Return the header lines of a block that begins with CRLF and ends in CRLF CRLF; raises Bad."""
    if block == b"\r\n\r\n":
        return []
    lines = block[2:-4].split(b"\r\n")
    if len(lines) > max_fields:
        raise Bad(too_large, f"{len(lines)} header fields")
    if max(map(len, lines)) > MAX_LINE:
        raise Bad(too_large, "a header line over 16 KiB")
    return lines


def read_block(block: bytes, lines: Lines, *, trusted: bool, wanted: frozenset[str]) -> Block:
    """Return what the header lines of a request mean; raises Bad.

    `block`: from the CRLF that ends the request line to the empty line, both included. `trusted`: the peer is one whose
    X-Forwarded-* are believed. `wanted`: the fields, in lower case, that rules look at.
    """
    read = Block()
    hosts: list[bytes] = []
    codings: list[bytes] = []
    lengths: list[bytes] = []
    connection: list[bytes] = []
    kept: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    upgrade = b""
    for line in split(block, MAX_FIELDS, Reason.HEADER_TOO_LARGE):
        name, value = lines.read(line)
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(line.partition(b":")[2])
        elif name == b"connection":
            connection += [token.strip(b" \t").lower() for token in value.split(b",")]
        elif name == b"upgrade":
            upgrade = value.lower()
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Bad(Reason.EXPECTATION_FAILED, "an expectation other than 100-continue")
            read.expects = True
        elif name in HOP_BY_HOP or name == b"early-data":
            pass
        elif name == b"x-request-id":
            if trusted and _REQUEST_ID.fullmatch(value):
                read.request_id = value
        elif name == b"x-balancer-hops":
            read.hops = int(value) if value.isdigit() and len(value) < 6 else 0
        elif name == b"x-forwarded-for":
            if trusted:
                read.forwarded_for += tuple(entry.strip(b" \t") for entry in value.split(b",") if entry.strip(b" \t"))
        elif name.startswith(b"x-forwarded-") or name in _CLIENT_SAYS:
            if trusted and name in _X_FORWARDED:
                seen.add(name)
                kept.append((name, line))
            elif trusted and name != b"x-real-ip":
                kept.append((name, line))
        elif b"_" in name and _is_disguised(name):
            pass
        else:
            if name == b"max-forwards":
                read.max_forwards = int(value) if value.isdigit() and len(value) < 6 else None
            kept.append((name, line))
            if wanted and (text := name.decode()) in wanted:
                shown = value.decode("latin-1")
                read.values[text] = f"{read.values[text]}, {shown}" if text in read.values else shown
    _join(read, hosts, lengths, codings, connection, upgrade, kept, seen)
    if wanted:
        read.route_key = (read.host, *(read.values.get(name) for name in sorted(wanted)))
    else:
        read.route_key = read.host
    return read


def _join(
    read: Block,
    hosts: list[bytes],
    lengths: list[bytes],
    codings: list[bytes],
    connection: list[bytes],
    upgrade: bytes,
    kept: list[tuple[bytes, bytes]],
    seen: set[bytes],
) -> None:
    """Decide what several lines together mean, and write the block anew."""
    if len(hosts) > 1:
        raise Bad(Reason.BAD_HOST, "more than one Host line")
    out: list[bytes] = []
    if hosts:
        read.host = paths.host_key(hosts[0])
        if read.host is None:
            raise Bad(Reason.BAD_HOST, "the Host line does not hold a host")
        read.raw_host = hosts[0]
        read.shown_host = quote(hosts[0].decode("latin-1"))
        out.append(b"Host: " + hosts[0])
        if b"x-forwarded-host" not in seen:
            out.append(b"X-Forwarded-Host: " + hosts[0])
    read.length = read_length(lengths, codings)
    if len(connection) > 16:
        raise Bad(Reason.BAD_HEADER, "more than 16 tokens in Connection")
    named = {token for token in connection if token not in PROTECTED and not token.startswith(b"x-forwarded-")}
    out += [line for name, line in kept if name not in named]
    if lengths:
        out.append(b"Content-Length: %d" % read.length)
    elif read.length == CHUNKED:
        out.append(b"Transfer-Encoding: chunked")
    if b"close" in connection:
        read.keep = False
    elif b"keep-alive" in connection:
        read.keep = True
    if upgrade and b"upgrade" in connection:
        read.upgrade = upgrade
    if len(read.forwarded_for) > 30 or sum(map(len, read.forwarded_for)) > 4096:
        raise Bad(Reason.BAD_HEADER, "more than 30 entries or 4 KiB in X-Forwarded-For")
    if read.hops >= MAX_HOPS:
        raise Bad(Reason.LOOP_DETECTED, f"X-Balancer-Hops is {read.hops}")
    out.append(b"X-Balancer-Hops: %d\r\n" % (read.hops + 1))
    read.out = b"\r\n".join(out)
    read.seen = frozenset(seen)
    read.plain = _is_plain(read)


def _is_plain(block: Block) -> bool:
    return (
        block.length == 0
        and block.host is not None
        and block.keep is not False
        and not (block.upgrade or block.expects or block.forwarded_for or block.seen or block.request_id)
    )


def _is_disguised(name: bytes) -> bool:
    """Return True for a name that a CGI-like upstream would merge with a field that we guard."""
    plain = name.replace(b"_", b"-")
    return plain in _MERGED or plain.startswith(b"x-forwarded-")


def read_length(lengths: list[bytes], codings: list[bytes]) -> int:
    """Return the length of a body: bytes, or CHUNKED; 0 when nothing is said. Raises Bad. Source: RFC 9112, 6."""
    if codings:
        if lengths:
            raise Bad(Reason.FRAMING_CONFLICT, "Transfer-Encoding and Content-Length together")
        if len(codings) > 1:
            raise Bad(Reason.FRAMING_CONFLICT, "more than one Transfer-Encoding line")
        coding = codings[0].strip(b" ").lower()
        if coding == b"chunked":
            return CHUNKED
        words = [word.strip(b" ") for word in coding.split(b",")]
        if _CODINGS.fullmatch(coding) is None or words.count(b"chunked") > 1:
            raise Bad(Reason.FRAMING_CONFLICT, "a malformed Transfer-Encoding")
        raise Bad(Reason.UNSUPPORTED_CODING, f"Transfer-Encoding {coding[:40].decode('latin-1')}")
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise Bad(Reason.FRAMING_CONFLICT, "more than one Content-Length")
    text = lengths[0]
    if not text.isdigit() or len(text) > 19 or (length := int(text)) > MAX_LENGTH:
        raise Bad(Reason.FRAMING_CONFLICT, "a Content-Length that is not a plain number")
    return length


class ResponseHead:
    """A response head under no request: `out` is its new form for an HTTP/1.1 client, without the last empty line.

    `length`: bytes, CHUNKED, or UNTIL_CLOSE; what HEAD or a status without a body makes of it is the caller's.
    """

    __slots__ = ("bodiless", "idle_hint", "keep", "length", "out", "plain", "status", "upgrade")

    def __init__(self, status: int, out: bytes, length: int, keep: bool, upgrade: bytes, idle_hint: float) -> None:
        self.status = status
        self.out = out
        self.length = length
        self.keep = keep  # the connection may be used again
        self.upgrade = upgrade
        self.idle_hint = idle_hint  # seconds from Keep-Alive: timeout=n; 0: not said
        self.bodiless = status < 200 or status in (204, 304)
        self.plain = status >= 200 and not self.bodiless and length >= 0 and keep and not idle_hint


def read_response(head: bytes, lines: Lines) -> ResponseHead:
    """Return what a response head (status line to empty line, both included) means; raises Bad."""
    end = head.find(b"\r\n")
    match = _STATUS_LINE.fullmatch(head[:end])
    if match is None:
        raise Bad(Reason.BAD_RESPONSE, "a malformed status line")
    minor, status = int(match[1]), int(match[2])
    out = [b"HTTP/1.1 %d %b" % (status, match[3] or b"")]
    codings: list[bytes] = []
    lengths: list[bytes] = []
    connection: list[bytes] = []
    kept: list[tuple[bytes, bytes]] = []
    upgrade = b""
    idle_hint = 0.0
    try:
        for line in split(head[end:], MAX_RESPONSE_FIELDS, Reason.RESPONSE_HEADER_TOO_LARGE):
            name, value = lines.read(line)
            if name == b"content-length":
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
            elif name not in HOP_BY_HOP and name != b"x-request-id":
                kept.append((name, line))
        if codings and minor == 0:
            raise Bad(Reason.BAD_RESPONSE, "Transfer-Encoding in an HTTP/1.0 response")
        length = read_length(lengths, codings) if codings or lengths else UNTIL_CLOSE
    except Bad as bad:
        if bad.reason is Reason.RESPONSE_HEADER_TOO_LARGE:
            raise
        raise Bad(Reason.BAD_RESPONSE, bad.detail) from None
    named = {token for token in connection if token and token not in PROTECTED}
    out += [line for name, line in kept if name not in named]
    if lengths and status >= 200 and status != 204:
        out.append(b"Content-Length: %d" % length)
    keep = b"close" not in connection and (minor == 1 or b"keep-alive" in connection)
    out.append(b"")
    return ResponseHead(status, b"\r\n".join(out), length, keep, upgrade, idle_hint)
