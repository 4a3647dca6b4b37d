"""Requests and responses from a grammar, and what breaks them: strategies for the property tests of the wire."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from tests.support import http1

TOKEN = st.text("abcdefgXYZ019-", min_size=1, max_size=8).map(str.encode)
VALUE = st.one_of(
    TOKEN,
    st.sampled_from(
        [b"", b"a b", b"a\tb", b"text/html, */*;q=0.1", b'"quoted, text"', b"caf\xc3\xa9", b"\xff\x80", b"x" * 300]
    ),
)
SPACE = st.sampled_from([b"", b" ", b"\t", b"  "])
TARGET = st.sampled_from(
    [
        b"/",
        b"/a",
        b"/a/b?x=1",
        b"/a/./b/../c",
        b"/%7e%41%2f",
        b"//a",
        b"/?q",
        b"/" + b"p" * 200,
        b"http://a.test/x",
        b"*",
    ]
)
METHOD = st.sampled_from(
    [b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"]
)
HOST = st.sampled_from([b"a.test", b"A.Test:8080", b"[::1]", b"10.0.0.1"])

# Header lines that mean something to a proxy: some of them only in the right company.
SPECIAL = st.sampled_from(
    [
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: x-a, x-b",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"Content-Length: 05",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: ,chunked",
        b"transfer-encoding:\tchunked",
        b"TE: trailers",
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Forwarded-Proto: https",
        b"X-Request-ID: 12345678",
        b"X-Balancer-Hops: 4",
        b"X_Forwarded_For: 1",
        b"Cookie: a=b",
        b"Accept: text/plain",
        b"Max-Forwards: 3",
        b"x-a: 1",
        b"Host: b.test",
        b"X : y",
        b" folded",
        b"X: a\x01b",
        b"Sec-WebSocket-Key: x",
        b"x-beta: 1",
        b"Proxy-Connection: x",
        b"Trailer: y",
        b"Date: now",
    ]
)


@st.composite
def field_lines(draw: st.DrawFn) -> bytes:
    """Return a header line that every parser takes, in one of its spellings."""
    return b"x-" + draw(TOKEN) + b":" + draw(SPACE) + draw(VALUE) + draw(SPACE)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Return a request head, valid or not: known methods and versions, fields that may contradict each other."""
    lines = draw(st.lists(st.one_of(field_lines(), SPECIAL), max_size=5))
    if draw(st.integers(0, 9)):
        lines.insert(draw(st.integers(0, len(lines))), b"Host: " + draw(HOST))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0"]))
    start = draw(METHOD) + b" " + draw(TARGET) + b" " + version
    return b"\r\n".join([start, *lines, b"", b""])


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """Return a message of which one to three bytes were changed, taken out or put in."""
    message = bytearray(draw(messages))
    odd = st.one_of(st.sampled_from(b"\r\n\t :;,\x00\x0b\x7f\xa0\xff0a-+"), st.integers(0, 255))
    for _ in range(draw(st.integers(1, 3))):
        at, value = draw(st.integers(0, len(message) - 1)), draw(odd)
        match draw(st.integers(0, 2)):
            case 0:
                message[at] = value
            case 1:
                message.insert(at, value)
            case _ if len(message) > 1:
                del message[at]
    return bytes(message)


def body(kind: str, payload: bytes, size: int = 7) -> tuple[bytes, bytes]:
    """Return (framing line, body as sent): `none`, `length` or `chunked`, the latter in chunks of `size`."""
    if kind == "none":
        return b"", b""
    if kind == "length":
        return b"Content-Length: %d\r\n" % len(payload), payload
    return b"Transfer-Encoding: chunked\r\n", http1.chunked(
        *(payload[i : i + size] for i in range(0, len(payload), size))
    )


PAYLOAD = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"x" * 5000, b"\r\n\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
)
KIND = st.sampled_from(["none", "length", "chunked"])
SIZE = st.sampled_from([1, 2, 7, 4096])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a whole, valid request."""
    framing, sent = body(draw(KIND), draw(PAYLOAD), draw(SIZE))
    lines = draw(st.lists(field_lines(), max_size=3))
    start = (
        draw(METHOD.filter(lambda method: method != b"OPTIONS")) + b" " + draw(TARGET.filter(lambda t: t[:1] == b"/"))
    )
    fields = b"".join(line + b"\r\n" for line in lines)
    return start + b" HTTP/1.1\r\nHost: a.test\r\n" + fields + framing + b"\r\n" + sent


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Return a whole, valid response to a GET that leaves its connection open, with interim ones before it."""
    interim = draw(
        st.sampled_from([b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
    )
    status = draw(
        st.sampled_from([b"200 OK", b"201 Created", b"404 Not Found", b"500 ", b"204 No Content", b"304 Not Modified"])
    )
    lines = b"".join(line + b"\r\n" for line in draw(st.lists(field_lines(), max_size=3)))
    if status[:3] in (b"204", b"304"):
        return interim + b"HTTP/1.1 " + status + b"\r\n" + lines + b"\r\n"
    framing, sent = body(draw(st.sampled_from(["length", "chunked"])), draw(PAYLOAD), draw(SIZE))
    return interim + b"HTTP/1.1 " + status + b"\r\n" + lines + framing + b"\r\n" + sent


CUTS = st.lists(st.integers(0, 6000), max_size=6)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return `data` in pieces, cut where `cuts` say (anywhere modulo its length)."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]
