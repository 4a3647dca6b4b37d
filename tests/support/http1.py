"""A strict HTTP/1.1 message reader: it accepts exactly one spelling of a message and repairs nothing.

It is the test side's own opinion, independent of the parser that the balancer uses.
Source: RFC 9112 sections 2 to 7, RFC 9110 section 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Headers = tuple[tuple[bytes, bytes], ...]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")


class BadMessage(ValueError):
    """The bytes are not an HTTP/1.1 message in the one form that is accepted."""


@dataclass(frozen=True, slots=True)
class Head:
    """A start line and its fields, names as they were spelt."""

    start: tuple[bytes, ...]
    minor: int
    headers: Headers
    raw: bytes

    def all(self, name: str | bytes) -> list[bytes]:
        """Return the values of all lines of a field, in order."""
        wanted = (name.encode() if isinstance(name, str) else name).lower()
        return [value for key, value in self.headers if key.lower() == wanted]

    def get(self, name: str | bytes) -> bytes | None:
        """Return the value of a field that may stand there once; raises BadMessage if it stands there twice."""
        found = self.all(name)
        if len(found) > 1:
            raise BadMessage(f"{name!r} stands {len(found)} times")
        return found[0] if found else None


def _fields(lines: list[bytes]) -> Headers:
    headers = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BadMessage(f"not a field line: {line!r}")
        headers.append((match[1], match[2]))
    return tuple(headers)


def _lines(raw: bytes) -> list[bytes]:
    lines = raw[:-4].split(b"\r\n")
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise BadMessage(f"bare CR, bare LF or NUL: {line!r}")
    return lines


def request_head(raw: bytes) -> Head:
    """Return the head of a request from its bytes up to and with the empty line."""
    first, *rest = _lines(raw)
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise BadMessage(f"not a request line: {first!r}")
    head = Head((match[1], match[2]), int(match[3]), _fields(rest), raw)
    hosts = head.all("host")
    if len(hosts) > 1 or (head.minor == 1 and len(hosts) != 1):
        raise BadMessage(f"{len(hosts)} Host lines")
    return head


def response_head(raw: bytes) -> Head:
    """Return the head of a response from its bytes up to and with the empty line; `start` is (status, phrase)."""
    first, *rest = _lines(raw)
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise BadMessage(f"not a status line: {first!r}")
    return Head((match[2], match[3]), int(match[1]), _fields(rest), raw)


def body_length(head: Head) -> int | None:
    """Return the declared length; None is chunked, -1 is undeclared. Raises BadMessage when it is ambiguous."""
    codings, lengths = head.all("transfer-encoding"), head.all("content-length")
    if codings:
        if lengths or codings != [b"chunked"] or head.minor == 0:
            raise BadMessage(f"ambiguous framing: {codings!r} {lengths!r} HTTP/1.{head.minor}")
        return None
    if len(lengths) > 1:
        raise BadMessage(f"{len(lengths)} Content-Length lines")
    if lengths:
        if not re.fullmatch(rb"0|[1-9][0-9]{0,18}", lengths[0]) or int(lengths[0]) >= 1 << 63:
            raise BadMessage(f"not a length: {lengths[0]!r}")
        return int(lengths[0])
    return -1


def chunk_size(line: bytes) -> int:
    """Return the size that a chunk-size line (without CRLF) declares."""
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        raise BadMessage(f"not a chunk size: {line!r}")
    return int(match[1], 16)


def chunk_extension(line: bytes) -> bytes:
    """Return what follows the size on a chunk-size line."""
    match = _CHUNK_SIZE.fullmatch(line)
    return match[2] if match else b""


def trailer_fields(raw: bytes) -> Headers:
    """Return the fields of a trailer section from its bytes up to and with the empty line."""
    return _fields(_lines(raw)) if raw != b"\r\n" else ()


def chunked(*pieces: bytes) -> bytes:
    """Return the pieces as a complete chunked body, one chunk each."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
