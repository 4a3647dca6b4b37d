"""The second half of a request head: the block of its header lines, read strictly and written anew.

What depends on the connection or the moment (addresses, ids, the clock) is no part of it. Source: the load balancing
notes, 2.1 to 2.3.
"""

from __future__ import annotations

import copy
import re
from itertools import filterfalse

from balancer.data.access_log import quote
from balancer.data.http.fields import (
    CHUNKED,
    CODING,
    CONNECTION,
    EXPECT,
    FORWARDED_FOR,
    HOP,
    HOPS,
    HOST,
    KEEPS,
    LENGTH,
    MAX_FORWARDS,
    PLAIN,
    PROTECTED,
    REQUEST_ID,
    SAYS,
    UPGRADE,
    Bad,
    Lines,
    read_length,
    split,
)
from balancer.model.reason import Reason
from balancer.routing import paths

MAX_FIELDS = 100
MAX_HOPS = 10

_PROTO = "x-forwarded-proto"
_X_FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"))
_MAX_FORWARDS = re.compile(rb"(^|\r\n)max-forwards:[^\r]*", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")
_NOTHING: frozenset[bytes] = frozenset()


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
        "raw",
        "raw_host",
        "request_id",
        "route_key",
        "route_size",
        "seen",
        "shown_host",
        "upgrade",
        "values",
    )

    def __init__(self) -> None:
        self.out = b""
        self.raw = b""  # the bytes it was read from
        self.host: str | None = None  # as matched; None: no Host line
        self.raw_host = b""
        self.shown_host = '""'  # as JSON
        self.length = 0  # bytes, or CHUNKED
        self.keep: bool | None = None  # what Connection asks for
        self.expects = False
        self.upgrade = b""  # the token, if Connection names Upgrade
        self.forwarded_for: tuple[bytes, ...] = ()
        self.seen: frozenset[bytes] = _NOTHING  # which X-Forwarded-* a trusted peer sent
        self.request_id = b""
        self.hops = 0
        self.max_forwards: int | None = None
        self.values: dict[str, str] = {}  # of the fields that rules and limits look at
        self.route_key: object = None
        self.route_size = 0  # characters of it
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


def read_block(
    block: bytes, lines: Lines, *, trusted: bool, wanted: frozenset[str], noted: frozenset[str] = frozenset()
) -> Block:
    """Return what the header lines of a request mean; raises Bad.

    `block`: from the CRLF that ends the request line to the empty line, both included. `trusted`: the peer is one whose
    X-Forwarded-* are believed. `wanted`: the fields, in lower case, that rules look at; `noted`: others that are looked
    at once the way is known.
    """
    parts = split(block, MAX_FIELDS, Reason.HEADER_TOO_LARGE)
    if not wanted and not noted:
        usual = _read_usual(block, parts, lines)
        if usual is not None:
            return usual
    read = Block()
    read.raw = block
    hosts: list[bytes] = []
    codings: list[bytes] = []
    lengths: list[bytes] = []
    connection: list[bytes] = []
    kept: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    upgrade = b""
    known = lines.known
    looked_at = wanted | noted if noted else wanted
    for line in parts:
        name, value, kind = known.get(line) or lines.read(line)
        if kind <= MAX_FORWARDS:
            if kind == MAX_FORWARDS:
                read.max_forwards = int(value) if value.isdigit() and len(value) < 6 else None
            kept.append((name, line))
            if looked_at and (text := name.decode()) in looked_at:
                _note(read, text, value)
        elif kind == HOST:
            hosts.append(value)
        elif kind == LENGTH:
            lengths.append(value)
        elif kind == CODING:
            codings.append(line.partition(b":")[2])
        elif kind == CONNECTION:
            connection += [token.strip(b" \t").lower() for token in value.split(b",")]
        elif kind == UPGRADE:
            upgrade = value.lower()
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise Bad(Reason.EXPECTATION_FAILED, "an expectation other than 100-continue")
            read.expects = True
        elif kind == REQUEST_ID:
            if trusted and _REQUEST_ID.fullmatch(value):
                read.request_id = value
        elif kind == HOPS:
            read.hops = int(value) if value.isdigit() and len(value) < 6 else 0
        elif kind == FORWARDED_FOR:
            if trusted:
                read.forwarded_for += tuple(entry.strip(b" \t") for entry in value.split(b",") if entry.strip(b" \t"))
        elif kind == SAYS and trusted and name != b"x-real-ip":
            kept.append((name, line))
            if name in _X_FORWARDED:
                seen.add(name)
            if (text := name.decode()) in looked_at:
                _note(read, text, value)
    _join(read, lines, hosts, lengths, codings, connection, upgrade, kept, seen)
    if wanted:
        if _PROTO in wanted:  # as the target is told it
            read.values.setdefault(_PROTO, "http")
        read.route_key = (read.host, *(read.values.get(name) for name in sorted(wanted)))
    else:
        read.route_key = read.host
    read.route_size = len(read.host or "") + sum(map(len, read.values.values()))
    return read


def _note(read: Block, name: str, value: bytes) -> None:
    """Keep the value of a field for who looks at it; several lines are one list."""
    shown = value.decode("latin-1")
    read.values[name] = f"{read.values[name]}, {shown}" if name in read.values else shown


def _read_usual(block: bytes, parts: list[bytes], lines: Lines) -> Block | None:
    """Return what a block means that has one Host line, one that is known, and else only lines that are passed on or
    dropped as they are; None for any other. It says what the long way would (-4 µs). May raise Bad."""
    known = lines.known
    host = keep = None
    gone = []
    for line in filterfalse(lines.plain.__contains__, parts):
        _, value, kind = known.get(line) or lines.read(line)
        if kind == PLAIN:
            continue
        gone.append(line)
        if kind == HOST and host is None:
            host = lines.hosts.get(value)
            raw_host = value
            if host is None:
                return None
        elif kind == CONNECTION and keep is None:
            keep = KEEPS.get(value)
            if keep is None:
                return None
        elif kind < HOP:
            return None
    if host is None:
        return None
    read = Block()
    read.raw = block
    read.raw_host = raw_host
    read.host, read.shown_host, first = host
    for line in gone:
        parts.remove(line)
    read.out = b"\r\n".join((first, *parts, b"X-Balancer-Hops: 1\r\n"))
    read.keep = keep
    read.route_key = read.host
    read.plain = True
    return read


def _join(
    read: Block,
    lines: Lines,
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
        raw = read.raw_host = hosts[0]
        found = lines.hosts.get(raw)
        if found is None:
            key = paths.host_key(raw)
            if key is None:
                raise Bad(Reason.BAD_HOST, "the Host line does not hold a host")
            found = (key, quote(raw.decode("latin-1")), b"Host: %b\r\nX-Forwarded-Host: %b" % (raw, raw))
            lines.keep_host(raw, found)
        read.host, read.shown_host, both = found
        out.append(both if b"x-forwarded-host" not in seen else b"Host: " + raw)
    if lengths or codings:
        read.length = read_length(lengths, codings)
    if connection:
        if len(connection) > 16:
            raise Bad(Reason.BAD_HEADER, "more than 16 tokens in Connection")
        named = {token for token in connection if token not in PROTECTED and not token.startswith(b"x-forwarded-")}
        out += [line for name, line in kept if name not in named]
        if b"close" in connection:
            read.keep = False
        elif b"keep-alive" in connection:
            read.keep = True
    else:
        out += [line for _, line in kept]
    if lengths:
        out.append(b"Content-Length: %d" % read.length)
    elif read.length == CHUNKED:
        out.append(b"Transfer-Encoding: chunked")
    if upgrade and b"upgrade" in connection:
        read.upgrade = upgrade
    chain = read.forwarded_for
    if chain and (len(chain) > 30 or sum(map(len, chain)) > 4096):
        raise Bad(Reason.BAD_HEADER, "more than 30 entries or 4 KiB in X-Forwarded-For")
    if read.hops >= MAX_HOPS:
        raise Bad(Reason.LOOP_DETECTED, f"X-Balancer-Hops is {read.hops}")
    out.append(b"X-Balancer-Hops: %d\r\n" % (read.hops + 1))
    read.out = b"\r\n".join(out)
    if seen:
        read.seen = frozenset(seen)
    read.plain = _is_plain(read)


def _is_plain(block: Block) -> bool:
    return (
        block.length == 0
        and block.host is not None
        and not (block.upgrade or block.expects or block.forwarded_for or block.seen or block.request_id)
    )
