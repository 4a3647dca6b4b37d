"""The response cases: one line each, what an upstream sends and what the client and the pool must make of it.

`delivered`: passed on in one unambiguous form. `failed`: an answer of the balancer's own. `cut`: begun, then the client
connection is reset, never a clean end. Source: load balancing notes 2.1 (upstream side) and 2.2; testing notes 5.2, 6.2.
"""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One response; `end`: what the upstream does then (`serve` on the same connection, `fin`, `rst`)."""

    name: str
    data: bytes
    outcome: str  # delivered | failed | cut, several with " | "
    verdicts: tuple[str, ...] = ()
    method: str = "GET"
    end: str = "serve"
    status: int = 200
    body: bytes = b"hello"
    framing: str | None = None
    has: tuple[bytes, ...] = ()
    lacks: tuple[str, ...] = ()
    interim: tuple[int, ...] = ()
    reused: bool | None = None  # None: not asked
    unsolicited: bool = False  # counted as unsolicited_response
    apart: tuple[bytes, ...] = ()  # sent after the head has been read, piece by piece


CASES: list[Case] = []


def delivered(name: str, data: bytes, **more: object) -> None:
    """Add a response that is passed on."""
    CASES.append(Case(name, data, "delivered", **more))  # type: ignore[arg-type]


def failed(name: str, data: bytes, verdicts: str = "502 bad_response", **more: object) -> None:
    """Add a response that becomes an answer of the balancer's own."""
    CASES.append(Case(name, data, "failed", tuple(verdicts.split(" | ")), **more))  # type: ignore[arg-type]


def cut(name: str, data: bytes, *apart: bytes, **more: object) -> None:
    """Add a response that is begun and cannot be finished."""
    CASES.append(Case(name, data, "cut", apart=apart, **more))  # type: ignore[arg-type]


def head(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return a head with the mark of the request in it."""
    return b"\r\n".join([line, b"X-Echo-Id: {mark}", *fields, b"", b""])


SIZED = head(b"Content-Length: 5") + b"hello"
CHUNKED = b"Transfer-Encoding: chunked"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"

# -- delivered

delivered("sized", SIZED, framing="length", reused=True)
delivered("sized zero", head(b"Content-Length: 0"), body=b"", reused=True)
delivered("sized, length with zeros", head(b"Content-Length: 0005") + b"hello", has=(b"content-length: 5",))
delivered("sized, space after the length", head(b"Content-Length: 5 ") + b"hello", has=(b"content-length: 5",))
delivered("chunked", head(CHUNKED) + HELLO, framing="chunked", reused=True)
delivered("chunked in odd case", head(b"tRANSFER-encoding: CHUNKED") + HELLO, framing="chunked", reused=True)
delivered("chunked, many chunks", head(CHUNKED) + b"1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n", framing="chunked", reused=True)
delivered("chunked and empty", head(CHUNKED) + b"0\r\n\r\n", body=b"", framing="chunked", reused=True)
delivered("chunked, extensions vanish", head(CHUNKED) + b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n', framing="chunked", reused=True)
delivered("chunked, trailers vanish", head(CHUNKED, b"Trailer: X-T") + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", framing="chunked", lacks=("x-t", "trailer"))
delivered("chunked, trailer Content-Length", head(CHUNKED) + b"5\r\nhello\r\n0\r\nX-Content-Length: 9\r\n\r\n", framing="chunked")
delivered("until close", head() + b"hello", end="fin", reused=False)
delivered("until close, empty", head(), body=b"", end="fin", reused=False)
delivered("http/1.0 sized", head(b"Content-Length: 5", line=b"HTTP/1.0 200 OK") + b"hello", reused=False)
delivered("http/1.0 until close", head(line=b"HTTP/1.0 200 OK") + b"hello", end="fin", reused=False)
delivered("http/1.0 keep-alive", head(b"Content-Length: 5", b"Connection: keep-alive", line=b"HTTP/1.0 200 OK") + b"hello", lacks=("keep-alive",))
delivered("connection close", head(b"Content-Length: 5", b"Connection: close") + b"hello", reused=False)
delivered("connection close in odd case, in a list", head(b"Content-Length: 5", b"connection: foo, Close") + b"hello", reused=False)
delivered("hop-by-hop fields", head(b"Content-Length: 5", b"Connection: X-A, keep-alive", b"X-A: 1", b"X-B: 2", b"Keep-Alive: timeout=60", b"Proxy-Authenticate: Basic") + b"hello", has=(b"x-b: 2",), lacks=("x-a", "keep-alive", "proxy-authenticate"))
delivered("upgrade field without 101", head(b"Content-Length: 5", b"Upgrade: h2c", b"Connection: Upgrade") + b"hello", lacks=("upgrade",))
delivered("cookies in order", head(b"Content-Length: 5", b"Set-Cookie: a=1", b"Set-Cookie: b=2") + b"hello", has=(b"set-cookie: a=1", b"set-cookie: b=2"))
delivered("obs-text", head(b"Content-Length: 5", b"X-A: \xe4\xff") + b"hello", has=(b"x-a: \xe4\xff",))
delivered("Server and Date are passed on", head(b"Content-Length: 5", b"Server: them", b"Date: Mon, 01 Jan 2024 00:00:00 GMT") + b"hello", has=(b"server: them", b"date: Mon, 01 Jan 2024 00:00:00 GMT"))
delivered("phrase missing", head(b"Content-Length: 5", line=b"HTTP/1.1 200 ") + b"hello")
delivered("phrase with obs-text", head(b"Content-Length: 5", line=b"HTTP/1.1 200 \xe4\xff b") + b"hello")
for code in (201, 206, 226, 299, 301, 400, 404, 418, 451, 499, 500, 503, 599):
    delivered(f"status {code}", head(b"Content-Length: 5", line=b"HTTP/1.1 %d X" % code) + b"hello", status=code, reused=True)
delivered("204", head(line=b"HTTP/1.1 204 No Content"), status=204, body=b"", framing="none", reused=True)
delivered("204 with a length of 0", head(b"Content-Length: 0", line=b"HTTP/1.1 204 No Content"), status=204, body=b"", framing="none")
delivered("304", head(line=b"HTTP/1.1 304 Not Modified"), status=304, body=b"", framing="none", reused=True)
# (after a response that speaks of a body it may not have, the connection waits a moment for a late one)
delivered("304 with a length", head(b"Content-Length: 5", line=b"HTTP/1.1 304 Not Modified"), status=304, body=b"", framing="none", has=(b"content-length: 5",))
delivered("205 with a body", head(b"Content-Length: 5", line=b"HTTP/1.1 205 Reset Content") + b"hello", status=205)
delivered("head with a length", head(b"Content-Length: 5"), method="HEAD", body=b"", framing="none", has=(b"content-length: 5",))
delivered("head without a length", head(), method="HEAD", body=b"", framing="none")
delivered("head with chunked", head(CHUNKED), method="HEAD", body=b"", framing="none")
delivered("head 404 with a length", head(b"Content-Length: 5", line=b"HTTP/1.1 404 No"), method="HEAD", status=404, body=b"", framing="none")
delivered("103 first", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SIZED, interim=(103,), reused=True)
delivered("102 twice first", b"HTTP/1.1 102 Processing\r\n\r\n" * 2 + SIZED, interim=(102, 102), reused=True)
delivered("16 times 103 first", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + SIZED, interim=(103,) * 16, reused=True)
delivered("100 that nobody asked for", b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, interim=(), reused=True)
delivered("head of 60 kilobytes", head(b"Content-Length: 5", *(b"X-%d: " % n + b"a" * 1000 for n in range(60))) + b"hello")
delivered("190 fields", head(b"Content-Length: 5", *(b"X-%d: 1" % n for n in range(190))) + b"hello")

# -- delivered, and the upstream connection is not used again

delivered("bytes after a sized body", SIZED + b"X", reused=False, unsolicited=True)
delivered("crlf after a sized body", SIZED + b"\r\n", reused=False, unsolicited=True)
delivered("a response after a sized body", SIZED + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", reused=False, unsolicited=True)
delivered("a response after a chunked body", head(CHUNKED) + HELLO + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", reused=False, unsolicited=True)
delivered("a response after a 204", head(line=b"HTTP/1.1 204 N") + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", status=204, body=b"", reused=False, unsolicited=True)
delivered("a body with a 204", head(line=b"HTTP/1.1 204 N") + b"hello", status=204, body=b"", reused=False, unsolicited=True)
delivered("a body with a 304", head(b"Content-Length: 5", line=b"HTTP/1.1 304 N") + b"hello", status=304, body=b"", reused=False, unsolicited=True)
delivered("a body with a head", head(b"Content-Length: 5") + b"hello", method="HEAD", body=b"", reused=False, unsolicited=True)
delivered("a chunked body with a head", head(CHUNKED) + HELLO, method="HEAD", body=b"", reused=False, unsolicited=True)

# -- failed: what is no response

for name, line in {
    "no version": b"200 OK", "status of letters": b"HTTP/1.1 abc OK", "status of four digits": b"HTTP/1.1 2000 OK",
    "status of two digits": b"HTTP/1.1 20 OK", "status 099": b"HTTP/1.1 099 OK", "status 000": b"HTTP/1.1 000 OK",
    "status 600": b"HTTP/1.1 600 OK", "status 999": b"HTTP/1.1 999 OK", "http/2.0": b"HTTP/2.0 200 OK", "http/1.2": b"HTTP/1.2 200 OK",
    "http/0.9": b"HTTP/0.9 200 OK", "lower case": b"http/1.1 200 OK", "icy": b"ICY 200 OK", "rtsp": b"RTSP/1.0 200 OK",
    "negative status": b"HTTP/1.1 -200 OK", "space first": b" HTTP/1.1 200 OK", "control in the phrase": b"HTTP/1.1 200 O\x01K",
    "nul in the phrase": b"HTTP/1.1 200 O\x00K", "tab instead of a space": b"HTTP/1.1\t200 OK",
}.items():
    failed("status line: " + name, head(b"Content-Length: 5", line=line) + b"hello")
failed("garbage", b"\x80\x81\x82\x83\r\n\r\n")
failed("http/0.9 body", b"<html>hello</html>\r\n\r\n", end="fin")
failed("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
failed("tls", b"\x15\x03\x01\x00\x02\x02\x50", end="fin")
for name, line in {
    "no colon": b"X-A", "space before the colon": b"X-A : b", "fold": b"X-A: b\r\n c", "fold with tab": b"X-A: b\r\n\tc", "empty name": b": b",
    "space in the name": b"X A: b", "bracket in the name": b"X-A[]: b", "nul": b"X-A: \x00", "control": b"X-A: \x01", "del": b"X-A: \x7f",
    "bare cr": b"X-A: b\rX-B: c", "bare lf": b"X-A: b\nX-B: c", "obs-text in the name": b"X-\xe4: b",
}.items():
    failed("field: " + name, head(b"Content-Length: 5", line) + b"hello")
failed("bare lf everywhere", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", end="fin")
for name, lines in {
    "length then chunked": (b"Content-Length: 5", CHUNKED), "chunked then length": (CHUNKED, b"Content-Length: 5"),
    "length twice equal": (b"Content-Length: 5", b"Content-Length: 5"), "length twice different": (b"Content-Length: 5", b"Content-Length: 6"),
    "length list": (b"Content-Length: 5, 9",), "length list equal": (b"Content-Length: 5, 5",), "length minus": (b"Content-Length: -5",),
    "length plus": (b"Content-Length: +5",), "length hex": (b"Content-Length: 0x5",), "length empty": (b"Content-Length: ",),
    "length word": (b"Content-Length: abc",), "length 2^63": (b"Content-Length: 9223372036854775808",),
    "length 2^64": (b"Content-Length: 18446744073709551616",), "length two numbers": (b"Content-Length: 5 6",),
    "coding gzip": (b"Transfer-Encoding: gzip",), "coding gzip, chunked": (b"Transfer-Encoding: gzip, chunked",),
    "coding chunked, gzip": (b"Transfer-Encoding: chunked, gzip",), "coding unknown": (b"Transfer-Encoding: blegh",),
    "coding identity": (b"Transfer-Encoding: identity",), "coding chunked twice": (CHUNKED, CHUNKED),
    "coding chunked twice on a line": (b"Transfer-Encoding: chunked, chunked",), "coding quoted": (b'Transfer-Encoding: "chunked"',),
    "coding comma first": (b"Transfer-Encoding: ,chunked",), "coding empty": (b"Transfer-Encoding: ",),
}.items():
    failed("framing: " + name, head(*lines) + HELLO)
failed("chunked from http/1.0", head(CHUNKED, line=b"HTTP/1.0 200 OK") + HELLO)
failed("chunked with a 204", head(b"Content-Length: 5", CHUNKED, line=b"HTTP/1.1 204 N") + HELLO)
failed("101 that nobody asked for", b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw", "502 upgrade_failed | 502 bad_response")
failed("17 times 103", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + SIZED)
failed("10000 times 103", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10000 + SIZED)
failed("head of 70 kilobytes", head(b"Content-Length: 5", *(b"X-%d: " % n + b"a" * 1000 for n in range(70))) + b"hello", "502 response_header_too_large")
failed("head without an end", b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 200_000, "502 response_header_too_large")
failed("300 fields", head(b"Content-Length: 5", *(b"X-%d: 1" % n for n in range(300))) + b"hello", "502 response_header_too_large")
failed("fin before a byte", b"", "502 upstream_closed", end="fin")
failed("rst before a byte", b"", "502 upstream_reset", end="rst")
failed("fin inside the status line", b"HTTP/1.1 20", "502 upstream_closed | 502 bad_response", end="fin")
failed("rst inside the status line", b"HTTP/1.1 20", "502 upstream_reset", end="rst")
failed("fin inside the head", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "502 upstream_closed | 502 bad_response", end="fin")
failed("rst inside the head", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "502 upstream_reset", end="rst")
failed("fin after a 103", b"HTTP/1.1 103 Early Hints\r\n\r\n", "502 upstream_closed", end="fin")

# -- cut: begun and never finished

cut("sized, fin", head(b"Content-Length: 9") + b"hello", end="fin")
cut("sized, rst", head(b"Content-Length: 9"), b"hello", end="rst")
cut("sized, fin without a byte", head(b"Content-Length: 9"), b"", end="fin", body=b"")
cut("chunked, fin inside a chunk", head(CHUNKED) + b"9\r\nhello", end="fin")
cut("chunked, fin after a chunk", head(CHUNKED) + b"5\r\nhello\r\n", end="fin")
cut("chunked, fin inside the last chunk", head(CHUNKED) + b"5\r\nhello\r\n0\r\n", end="fin")
cut("chunked, fin inside a trailer", head(CHUNKED) + b"5\r\nhello\r\n0\r\nX-T: 1", end="fin")
cut("chunked, fin before a chunk", head(CHUNKED), b"", end="fin", body=b"")
cut("chunked, rst inside a chunk", head(CHUNKED), b"9\r\nhello", end="rst")
cut("until close, rst", head(), b"hello", end="rst")
cut("chunked, bad size later", head(CHUNKED) + b"5\r\nhello\r\n", b"zz\r\n", end="stall")
cut("chunked, no crlf after a chunk", head(CHUNKED) + b"5\r\nhello", b"XX0\r\n\r\n", end="stall")
cut("chunked, lf after a size", head(CHUNKED) + b"5\r\nhello\r\n", b"1\na\r\n0\r\n\r\n", end="stall")
for name, chunk in {"hex prefix": b"0x5\r\nhello\r\n0\r\n\r\n", "minus": b"-5\r\nhello\r\n0\r\n\r\n", "17 digits": b"10000000000000005\r\nhello\r\n0\r\n\r\n", "empty": b"\r\nhello\r\n0\r\n\r\n", "space": b" 5\r\nhello\r\n0\r\n\r\n"}.items():
    CASES.append(Case("chunk size at once: " + name, head(CHUNKED) + chunk, "failed | cut", ("502 bad_response",), end="stall", body=b""))
