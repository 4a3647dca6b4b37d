"""The first half of a request head: its request line, read strictly and written anew.

It does not depend on the header block (`request_block`), so that a thousand paths and two hundred clients are twelve
hundred things to remember (`memory`), not two hundred thousand. What depends on both is decided where they meet.
"""

from __future__ import annotations

import re
from typing import Any

from balancer.data.access_log import path_text
from balancer.data.http.fields import IS_TOKEN, Bad
from balancer.model.reason import Reason
from balancer.routing import paths

MAX_TARGET = 8 * 1024
METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK "
    b"UNLINK SOURCE QUERY".split()
)
# Source: RFC 9110 §9.2.2; CONNECT is refused before anybody asks.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
# → as text, is it HEAD, idempotent, plain
_METHODS = {
    method: (
        method.decode(),
        method == b"HEAD",
        method in IDEMPOTENT,
        method not in (b"HEAD", b"CONNECT", b"TRACE", b"OPTIONS"),
    )
    for method in METHODS
}

_VERSION = re.compile(rb"[A-Za-z]+/[0-9]+(\.[0-9]+)?")
_TARGET = re.compile(rb"(?:[\x21\x22\x24\x26-\x5b\x5d-\x7e]|%[0-9A-Fa-f]{2})+")  # no '#', no backslash, no stray '%'
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)


NO_ROUTES: dict[object, Any] = {}  # of a line that is not kept: nothing is remembered with it


class Line:
    """A request line: `out` is its new form; `routes` remembers where the router sent it, by `Block.route_key`."""

    __slots__ = (
        "_shown_path",
        "authority",
        "idempotent",
        "is_head",
        "method",
        "minor",
        "out",
        "path",
        "plain",
        "routes",
        "shown_method",
        "target",
        "told",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        path: str,
        minor: int,
        authority: bytes | None,
        told: bytes,
        out: bytes,
    ) -> None:
        self.method = method
        self.target = target  # as forwarded
        self.path = path  # as matched, without query
        self.minor = minor
        self.authority = authority  # of an absolute-form target
        self.out = out
        # plain: nothing of this line needs a look beyond the route.
        self.shown_method, self.is_head, self.idempotent, plain = _METHODS[method]
        self.plain = plain and minor == 1 and authority is None
        self.routes = NO_ROUTES
        self.told = told  # method and path as they stand in a record
        self._shown_path = ""

    @property
    def query(self) -> str:
        """The query as matched, without its `?`."""
        return self.target.partition(b"?")[2].decode("latin-1")

    @property
    def shown_path(self) -> str:
        """The path as it stands in the access log, as JSON: made once, when first asked for."""
        if not self._shown_path:
            self._shown_path = path_text(self.target.partition(b"?")[0].decode("latin-1"))
        return self._shown_path


# The lines that nearly all requests have, in one step (-3 µs): what fits means what the long way would have found (its
# path is its own normal form); what does not fit is read in full.
_COMMON_LINE = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE|HEAD) "
    rb"((?:/(?![/.])[!\"$&-.0->@-\[\]-~]*)+)"
    rb"(\?[!\"$&-\[\]-~]*(?:%[0-9A-Fa-f]{2}[!\"$&-\[\]-~]*)*)? HTTP/1\.1"
)


def read_line(line: bytes) -> Line:
    """Return what a request line (without CRLF) means; raises Bad."""
    common = _COMMON_LINE.fullmatch(line)
    if common is not None and len(line) < MAX_TARGET:
        method, end = common[1], common.end(2)
        begin = len(method) + 1
        return Line(method, line[begin:-9], line[begin:end].decode("ascii"), 1, None, line[:end], line + b"\r\n")
    return read_any_line(line)


def read_any_line(line: bytes) -> Line:
    """Return what a request line means, step by step; raises Bad."""
    parts = line.split(b" ")
    method, version = parts[0], parts[-1]
    if line[:1] == b"\x16":
        raise Bad(Reason.TLS_ON_PLAIN_PORT, "the first byte is that of a TLS handshake")
    if b"\r" in line or b"\n" in line:
        raise Bad(Reason.BAD_REQUEST, "a control character in the request line")
    if not IS_TOKEN.fullmatch(method):
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
        return _anew(method, target, "*", minor, None)
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
    return _anew(method, normal.forward + mark + query, normal.match, minor, authority)


def _anew(method: bytes, target: bytes, path: str, minor: int, authority: bytes | None) -> Line:
    told = method + b" " + target.partition(b"?")[0]
    return Line(method, target, path, minor, authority, told, b"%b %b HTTP/1.1\r\n" % (method, target))
