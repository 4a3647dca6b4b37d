"""The normal form of a request's path and of its host, in which rules are matched.

1. One form is decided once: what is matched and what is forwarded mean the same path. Only escapes of unreserved
   characters are decoded, once; dot segments are resolved, those written as %2e too.
2. `//` is matched as `/` and forwarded as it is. `%2F` and `%5C` are data, never separators.
3. What could be read in two ways has no normal form: NUL and control characters, escaped or not, a `%` without two hex
   digits, `\\`, `#`, bytes outside ASCII, a path above the root.

Source: RFC 3986 sections 5.2.4 and 6.2.2.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_CLEAN = re.compile(rb"/[!\"$&->@-\[\]-~]*")
_LEGAL = re.compile(rb"/(?:[!\"$&->@-\[\]-~]|%[0-9A-Fa-f]{2})*")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_SLASHES = re.compile(rb"//+")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPED_CONTROL = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])")

_NAME = re.compile(rb"((?:[A-Za-z0-9_~-]+\.)*[A-Za-z0-9_~-]+)\.?(?::([0-9]{0,5}))?")
_BRACKETS = re.compile(rb"\[([0-9A-Fa-f:.]+)\](?::([0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class Normal:
    """A path as it is forwarded and as it is matched (single slashes, escapes in upper case)."""

    forward: bytes
    match: str


def normalise(path: bytes) -> Normal | None:
    """Return the normal form of an origin-form path without its query, None if it has none (`bad_target`).

    The empty path is `/`.
    """
    if not path:
        return Normal(b"/", "/")
    if _CLEAN.fullmatch(path) and b"/." not in path and b"//" not in path:
        return Normal(path, path.decode("ascii"))
    if not _LEGAL.fullmatch(path) or _ESCAPED_CONTROL.search(path):
        return None
    forward = _resolved(_ESCAPE.sub(_decoded, path))
    if forward is None:
        return None
    match = _SLASHES.sub(b"/", _ESCAPE.sub(lambda escape: escape[0].upper(), forward))
    return Normal(forward, match.decode("ascii"))


def host_key(host: bytes) -> str | None:
    """Return the host by which rules are matched, None if it is not one (`bad_host`).

    Lower case, without port and without one trailing dot; an IPv6 address in brackets, in its shortest form.
    """
    if len(host) > 262:  # a name of 255 and a port
        return None
    found = _NAME.fullmatch(host)
    if found:
        return found[1].decode("ascii").lower() if _is_port(found[2]) else None
    found = _BRACKETS.fullmatch(host)
    if not found or not _is_port(found[2]):
        return None
    try:
        return f"[{ipaddress.IPv6Address(found[1].decode('ascii'))}]"
    except ValueError:
        return None


def _is_port(digits: bytes | None) -> bool:
    return not digits or int(digits) <= 65535


def _decoded(escape: re.Match[bytes]) -> bytes:
    code = int(escape[0][1:], 16)
    return bytes((code,)) if code in _UNRESERVED else escape[0]


def _resolved(path: bytes) -> bytes | None:
    """Return the path without dot segments, None if it leads above the root. An empty segment is a segment."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                return None
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
