"""The request cases: one line each, what a client sends and the only outcomes that are acceptable.

`{id}` in the bytes becomes the mark of the run. A verdict is `STATUS reason`; where two readings of the rules are both
safe, ` | ` stands between them. `refused` cases reach no upstream as a whole request; `forwarded` ones arrive in one
unambiguous form. `either` ones may be refused or forwarded, but only like that.
Source: load balancing notes 2.1 to 2.4; classes: testing notes 6.1; RFC 9112, RFC 9110.
"""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Expected:
    """What the upstream must see; None and empty mean "not asked"."""

    target: bytes | None = None
    method: bytes | None = None
    body: bytes | None = None
    has: tuple[bytes, ...] = ()  # field lines `name: value`, exactly as they must arrive (names in any case)
    lacks: tuple[bytes, ...] = ()  # names, lower case


@dataclass(frozen=True, slots=True)
class Case:
    """One request; `verdicts` empty: it must be forwarded; `expected` None: it must be refused."""

    name: str
    data: bytes
    verdicts: tuple[str, ...] = ()
    expected: Expected | None = None
    in_body: bool = False  # the fault comes after the head, so an unfinished request may have reached an upstream


CASES: list[Case] = []
HOST = b"Host: a.test"
MARK = b"X-Test-Id: {id}"


def refused(name: str, data: bytes, verdicts: str, in_body: bool = False) -> None:
    """Add a case that must be refused."""
    CASES.append(Case(name, data, tuple(verdicts.split(" | ")), None, in_body))


def forwarded(name: str, data: bytes, **expected: object) -> None:
    """Add a case that must be forwarded."""
    CASES.append(Case(name, data, (), Expected(**expected)))  # type: ignore[arg-type]


def either(name: str, data: bytes, verdicts: str, in_body: bool = False, **expected: object) -> None:
    """Add a case that may be refused or forwarded."""
    CASES.append(Case(name, data, tuple(verdicts.split(" | ")), Expected(**expected), in_body))  # type: ignore[arg-type]


def head(line: bytes, *fields: bytes, host: bytes | None = HOST, end: bytes = b"\r\n\r\n") -> bytes:
    """Return a head: request line, Host, the fields as they are, and the mark."""
    lines = [line, *([host] if host is not None else []), *fields, MARK]
    return b"\r\n".join(lines) + end


def get(*fields: bytes, target: bytes = b"/", host: bytes | None = HOST) -> bytes:
    """Return a GET."""
    return head(b"GET " + target + b" HTTP/1.1", *fields, host=host)


def post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """Return a POST with exactly these fields and bytes."""
    return head(b"POST / HTTP/" + version, *fields) + body


def chunks(body: bytes) -> bytes:
    """Return a POST with these bytes as its chunked body."""
    return post(b"Transfer-Encoding: chunked", body=body)


CHUNKED = b"Transfer-Encoding: chunked"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
FRAMING = "400 framing_conflict"
CODING = "501 unsupported_coding"
HEADER = "400 bad_header"
CHUNK = "400 bad_chunk"
TARGET = "400 bad_target"
NO_HOST = "400 bad_host"
VERSION = "505 unsupported_version"
METHOD = "501 unsupported_method"
REQUEST = "400 bad_request"

# -- Content-Length and Transfer-Encoding

refused("cl then te", post(b"Content-Length: 5", CHUNKED, body=HELLO), FRAMING)
refused("te then cl", post(CHUNKED, b"Content-Length: 5", body=HELLO), FRAMING)
refused("te then cl 0", post(CHUNKED, b"Content-Length: 0", body=HELLO), FRAMING)
refused("cl and te in odd case", post(b"content-LengtH: 5", b"TransFer-Encoding: chunked", body=HELLO), FRAMING)
refused("cl twice equal", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), FRAMING)
refused("cl twice different", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), FRAMING)
refused("cl list equal", post(b"Content-Length: 5, 5", body=b"hello"), FRAMING)
refused("cl list without space", post(b"Content-Length: 5,5", body=b"hello"), FRAMING)
refused("cl list different", post(b"Content-Length: 5, 6", body=b"hello"), FRAMING)
refused("cl plus", post(b"Content-Length: +5", body=b"hello"), FRAMING)
refused("cl minus", post(b"Content-Length: -5", body=b"hello"), FRAMING)
refused("cl minus zero", post(b"Content-Length: -0"), FRAMING)
refused("cl hex", post(b"Content-Length: 0x5", body=b"hello"), FRAMING)
refused("cl underscore", post(b"Content-Length: 5_0", body=b"hello"), FRAMING)
refused("cl exponent", post(b"Content-Length: 1e1", body=b"hellohello"), FRAMING)
refused("cl two numbers", post(b"Content-Length: 5 6", body=b"hello"), FRAMING)
refused("cl empty", post(b"Content-Length: ", body=b"hello"), FRAMING)
refused("cl quoted", post(b'Content-Length: "5"', body=b"hello"), FRAMING)
refused("cl word", post(b"Content-Length: abc"), FRAMING)
refused("cl fraction", post(b"Content-Length: 5.0", body=b"hello"), FRAMING)
refused("cl with parameter", post(b"Content-Length: 5;x", body=b"hello"), FRAMING)
refused("cl 2^63", post(b"Content-Length: 9223372036854775808"), FRAMING)
refused("cl 2^64", post(b"Content-Length: 18446744073709551616"), FRAMING)
refused("cl 20 digits", post(b"Content-Length: 99999999999999999999"), FRAMING)
refused("cl 40 digits", post(b"Content-Length: " + b"9" * 40), FRAMING)
refused("cl arabic digit", post(b"Content-Length: \xd9\xa5", body=b"hello"), FRAMING)
refused("cl vertical tab", post(b"Content-Length: 5\x0b", body=b"hello"), f"{FRAMING} | {HEADER}")
refused("cl nbsp", post(b"Content-Length: 5\xa0", body=b"hello"), FRAMING)
refused("cl nul", post(b"Content-Length: 5\x00", body=b"hello"), f"{FRAMING} | {HEADER}")
refused("cl with space before the colon", post(b"Content-Length : 5", body=b"hello"), HEADER)
refused("cl in a fold", post(b"Content-Length:\r\n 5", body=b"hello"), f"{HEADER} | {FRAMING}")
refused("cl plus then good cl", post(b"Content-Length: +5", b"Content-Length: 5", body=b"hello"), FRAMING)
forwarded("cl leading zeros", post(b"Content-Length: 005", body=b"hello"), body=b"hello", has=(b"content-length: 5",))
forwarded("cl trailing space", post(b"Content-Length: 5  ", body=b"hello"), body=b"hello", has=(b"content-length: 5",))
forwarded("cl without space", post(b"Content-Length:5", body=b"hello"), body=b"hello", has=(b"content-length: 5",))
either("cl tabs around", post(b"Content-Length:\t5\t", body=b"hello"), FRAMING, body=b"hello")
forwarded("cl zero", post(b"Content-Length: 0"), body=b"", has=(b"content-length: 0",))
refused("te gzip", post(b"Transfer-Encoding: gzip", body=HELLO), CODING)
refused("te identity", post(b"Transfer-Encoding: identity", body=b"hello"), CODING)
refused("te gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=HELLO), CODING)
refused("te chunked, gzip", post(b"Transfer-Encoding: chunked, gzip", body=HELLO), CODING)
refused("te chunked, identity", post(b"Transfer-Encoding: chunked, identity", body=HELLO), CODING)
refused("te identity, chunked", post(b"Transfer-Encoding: identity, chunked", body=HELLO), CODING)
refused("te xchunked", post(b"Transfer-Encoding: xchunked", body=HELLO), CODING)
refused("te chunkedx", post(b"Transfer-Encoding: chunkedx", body=HELLO), CODING)
refused("te cow", post(b"Transfer-Encoding: cow", body=HELLO), CODING)
refused("te chunked chunked without comma", post(b"Transfer-Encoding: chunked chunked", body=HELLO), f"{FRAMING} | {CODING}")
refused("te gzip line, chunked line", post(b"Transfer-Encoding: gzip", CHUNKED, body=HELLO), f"{CODING} | {FRAMING}")
refused("te chunked line, gzip line", post(CHUNKED, b"Transfer-Encoding: gzip", body=HELLO), f"{CODING} | {FRAMING}")
refused("te chunked line, cow line", post(CHUNKED, b"Transfer-Encoding: cow", body=HELLO), f"{CODING} | {FRAMING}")
refused("te comma first", post(b"Transfer-Encoding: ,chunked", body=HELLO), FRAMING)
refused("te comma last", post(b"Transfer-Encoding: chunked,", body=HELLO), FRAMING)
refused("te quoted", post(b'Transfer-Encoding: "chunked"', body=HELLO), FRAMING)
refused("te single quoted", post(b"Transfer-Encoding: 'chunked'", body=HELLO), f"{FRAMING} | {CODING}")
refused("te with parameter", post(b"Transfer-Encoding: chunked;q=1", body=HELLO), FRAMING)
refused("te twice on one line", post(b"Transfer-Encoding: chunked, chunked", body=HELLO), FRAMING)
refused("te on two lines", post(CHUNKED, CHUNKED, body=HELLO), FRAMING)
refused("te tab after", post(b"Transfer-Encoding: chunked\t", body=HELLO), FRAMING)
refused("te vertical tab before", post(b"Transfer-Encoding: \x0bchunked", body=HELLO), f"{HEADER} | {FRAMING}")
refused("te vertical tab after", post(b"Transfer-Encoding: chunked\x0b", body=HELLO), f"{HEADER} | {FRAMING}")
refused("te nbsp before", post(b"Transfer-Encoding: \xa0chunked", body=HELLO), f"{FRAMING} | {CODING}")
refused("te nbsp after", post(b"Transfer-Encoding: chunked\xa0", body=HELLO), f"{FRAMING} | {CODING}")
refused("te ff after", post(b"Transfer-Encoding: chunked\xff", body=HELLO), f"{FRAMING} | {CODING}")
refused("te nul after", post(b"Transfer-Encoding: chunked\x00", body=HELLO), f"{HEADER} | {FRAMING}")
refused("te empty", post(b"Transfer-Encoding: ", body=HELLO), f"{FRAMING} | {CODING}")
refused("te empty and cl", post(b"Transfer-Encoding: ", b"Content-Length: 5", body=b"hello"), f"{FRAMING} | {CODING}")
refused("te space before the colon", post(b"Transfer-Encoding : chunked", body=HELLO), HEADER)
refused("te tab before the colon", post(b"Transfer-Encoding\t: chunked", body=HELLO), HEADER)
refused("te in a fold", post(b"X-A: b\r\n Transfer-Encoding: chunked", body=HELLO), HEADER)
refused("te value in a fold", post(b"Transfer-Encoding:\r\n chunked", body=HELLO), f"{HEADER} | {FRAMING}")
refused("te with a control in the name", post(b"\x00Transfer-Encoding: chunked", body=HELLO), HEADER)
refused("te behind a bare cr", post(b"X-A: b\rTransfer-Encoding: chunked", body=HELLO), HEADER)
refused("te behind a bare lf", post(b"X-A: b\nTransfer-Encoding: chunked", body=HELLO), HEADER)
refused("te in http/1.0", post(CHUNKED, body=HELLO, version=b"1.0"), FRAMING)
refused("te and cl in http/1.0", post(b"Content-Length: 5", CHUNKED, body=HELLO, version=b"1.0"), FRAMING)
refused("te gzip on a get", get(b"Transfer-Encoding: gzip"), CODING)
forwarded("te in odd case", post(b"tRANSFER-eNCODING: CHUNKED", body=HELLO), body=b"hello")
either("te tab before the value", post(b"Transfer-Encoding:\tchunked", body=HELLO), FRAMING, body=b"hello")
forwarded("te trailing spaces", post(b"Transfer-Encoding: chunked  ", body=HELLO), body=b"hello")
forwarded("no framing is no body", post(), body=b"")
forwarded("te written with underscore", post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello"), body=b"hello", lacks=(b"transfer_encoding",))
forwarded("cl written with underscore", get(b"Content_Length: 5"), body=b"", lacks=(b"content_length",))

# -- chunked bodies

for name, body in {
    "hex prefix": b"0x1\r\na\r\n0\r\n\r\n",
    "plus": b"+1\r\na\r\n0\r\n\r\n",
    "minus": b"-1\r\na\r\n0\r\n\r\n",
    "underscore": b"1_0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n",
    "space before": b" 1\r\na\r\n0\r\n\r\n",
    "space after": b"1 \r\na\r\n0\r\n\r\n",
    "tab after": b"1\t\r\na\r\n0\r\n\r\n",
    "space before the extension": b"1 ;a=b\r\na\r\n0\r\n\r\n",
    "empty": b"\r\na\r\n0\r\n\r\n",
    "not hex": b"g\r\na\r\n0\r\n\r\n",
    "17 digits": b"10000000000000000\r\na\r\n0\r\n\r\n",
    "17 digits that wrap to 1": b"10000000000000001\r\na\r\n0\r\n\r\n",
    "32 digits": b"f" * 32 + b"\r\na\r\n0\r\n\r\n",
    "lf after the size": b"1\na\r\n0\r\n\r\n",
    "cr cr lf after the size": b"1\r\r\na\r\n0\r\n\r\n",
    "bare cr after the size": b"1\ra\r\n0\r\n\r\n",
    "no crlf after the data": b"1\r\na0\r\n\r\n",
    "data longer than its size": b"1\r\nab\r\n0\r\n\r\n",
    "lf after the data": b"1\r\na\n0\r\n\r\n",
    "cr and another byte after the data": b"1\r\na\rX0\r\n\r\n",
    "bad second size": b"1\r\na\r\nzz\r\n0\r\n\r\n",
    "cr in an extension": b"1;a\rb\r\na\r\n0\r\n\r\n",
    "lf in an extension": b"1;a\nb\r\na\r\n0\r\n\r\n",
    "lf in a quoted extension": b'1;a="\n"\r\na\r\n0\r\n\r\n',
    "cr in a quoted extension": b'1;a="\r"\r\na\r\n0\r\n\r\n',
    "nul in an extension": b"1;a\x00b\r\na\r\n0\r\n\r\n",
    "an extension of 300 bytes": b"1;" + b"a" * 300 + b"\r\na\r\n0\r\n\r\n",
    "a quoted extension of 300 bytes": b'1;a="' + b"b" * 300 + b'"\r\na\r\n0\r\n\r\n',
    "extensions of 20 kilobytes": (b"1;" + b"a" * 200 + b"\r\na\r\n") * 100 + b"0\r\n\r\n",
    "lf after the last chunk": b"1\r\na\r\n0\n\r\n",
    "two last chunks as one": b"1\r\na\r\n0 0\r\n\r\n",
}.items():
    refused("chunk size: " + name, chunks(body), CHUNK, in_body=True)
refused("chunk: lf as the last line", chunks(b"1\r\na\r\n0\r\n\n"), f"{CHUNK} | {HEADER}", in_body=True)
forwarded("chunk extension is dropped", chunks(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), body=b"hello")
forwarded("chunk extension, quoted", chunks(b'5;a="b c"\r\nhello\r\n0\r\n\r\n'), body=b"hello")
either("chunk extension without a name", chunks(b"5;\r\nhello\r\n0\r\n\r\n"), CHUNK, in_body=True, body=b"hello")
forwarded("chunk size with leading zeros", chunks(b"0005\r\nhello\r\n00\r\n\r\n"), body=b"hello")
either("chunk size with 20 zeros", chunks(b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n"), CHUNK, in_body=True, body=b"hello")
forwarded("chunk sizes in both cases", chunks(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), body=b"0123456789" * 2)
forwarded("chunked and empty", chunks(b"0\r\n\r\n"), body=b"")
forwarded("chunks of one byte", chunks(b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"), body=b"hi")
forwarded("chunk data that looks like a request", chunks(b"18\r\nGET /evil HTTP/1.1\r\nX: y\r\n0\r\n\r\n"), body=b"GET /evil HTTP/1.1\r\nX: y")
forwarded("chunk data of crlf", chunks(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), body=b"\r\n\r\n")

# -- trailers

forwarded("trailer is dropped", chunks(HELLO[:-2] + b"X-Trail: 1\r\n\r\n"), body=b"hello", lacks=(b"x-trail",))
forwarded("trailer Host", chunks(HELLO[:-2] + b"Host: evil.test\r\n\r\n"), body=b"hello", has=(b"host: a.test",))
forwarded("trailer X-Forwarded-For", chunks(HELLO[:-2] + b"X-Forwarded-For: 9.9.9.9\r\n\r\n"), body=b"hello", has=(b"x-forwarded-for: 127.0.0.1",))
either("trailer Content-Length", chunks(HELLO[:-2] + b"Content-Length: 50\r\n\r\n"), f"{FRAMING} | {HEADER} | {CHUNK}", in_body=True, body=b"hello")
either("trailer Transfer-Encoding", chunks(HELLO[:-2] + CHUNKED + b"\r\n\r\n"), f"{FRAMING} | {HEADER} | {CHUNK}", in_body=True, body=b"hello")
refused("trailers of 9 kilobytes", chunks(HELLO[:-2] + b"X-T: " + b"a" * 9000 + b"\r\n\r\n"), "431 header_too_large", in_body=True)
refused("33 trailers", chunks(HELLO[:-2] + b"".join(b"X-%d: 1\r\n" % n for n in range(33)) + b"\r\n"), "431 header_too_large", in_body=True)
refused("33 trailers, a bare cr in the last", chunks(HELLO[:-2] + b"".join(b"X-%d: 1\r\n" % n for n in range(32)) + b"X-T: 1\rx\r\n\r\n"), CHUNK, in_body=True)
forwarded("32 trailers", chunks(HELLO[:-2] + b"".join(b"X-%d: 1\r\n" % n for n in range(32)) + b"\r\n"), body=b"hello", lacks=(b"x-0",))
refused("trailer without colon", chunks(HELLO[:-2] + b"nonsense\r\n\r\n"), f"{HEADER} | {CHUNK}", in_body=True)
refused("trailer with space before the colon", chunks(HELLO[:-2] + b"X : 1\r\n\r\n"), f"{HEADER} | {CHUNK}", in_body=True)
refused("trailer in a fold", chunks(HELLO[:-2] + b"X: 1\r\n 2\r\n\r\n"), f"{HEADER} | {CHUNK}", in_body=True)
refused("trailer with nul", chunks(HELLO[:-2] + b"X: \x00\r\n\r\n"), f"{HEADER} | {CHUNK}", in_body=True)

# -- fields

refused("fold with a space", get(b"X-A: b\r\n c"), HEADER)
refused("fold with a tab", get(b"X-A: b\r\n\tc"), HEADER)
refused("fold of the first line", head(b"GET / HTTP/1.1", b" X-A: b", host=None), HEADER)
refused("fold before Host", head(b"GET / HTTP/1.1", b"X-A: b\r\n Host: a.test", host=None), HEADER)
refused("fold of the last line", head(b"GET / HTTP/1.1", end=b"\r\n \r\n\r\n"), HEADER)
refused("fold that is empty", get(b"X-A: b\r\n "), HEADER)
refused("space before the colon", get(b"X-A : b"), HEADER)
refused("tab before the colon", get(b"X-A\t: b"), HEADER)
refused("no colon", get(b"X-A"), HEADER)
refused("empty name", get(b": b"), HEADER)
refused("space in a name", get(b"X A: b"), HEADER)
for char in b'()<>@,;\\"/[]?={}\x7f\x80\xe4\xff\x01\x00':
    refused(f"0x{char:02x} in a name", get(b"X-A" + bytes([char]) + b"B: b"), HEADER)
for char in b"\x00\x01\x07\x08\x0b\x0c\x0e\x1b\x1f\x7f":
    refused(f"0x{char:02x} in a value", get(b"X-A: b" + bytes([char]) + b"c"), HEADER)
refused("control at the start of a value", get(b"X-A: \x01"), HEADER)
refused("bare cr in a value", get(b"X-A: b\rc"), HEADER)
refused("bare cr as a line end", get(b"X-A: b\rX-B: c"), HEADER)
refused("bare lf as a line end", get(b"X-A: b\nX-B: c"), HEADER)
refused("bare lf after the request line", b"GET / HTTP/1.1\nHost: a.test\r\n\r\n", f"{HEADER} | {REQUEST}")
refused("bare lf everywhere", b"GET / HTTP/1.1\nHost: a.test\n\n", f"{HEADER} | {REQUEST}")
refused("bare lf at the end of the head", b"GET / HTTP/1.1\r\nHost: a.test\r\n\n", f"{HEADER} | {REQUEST}")
refused("bare cr after the request line", b"GET / HTTP/1.1\rHost: a.test\r\n\r\n", f"{HEADER} | {REQUEST}")
refused("cr cr lf", get(b"X-A: b\r"), HEADER)
refused("cr cr lf at the end of the head", head(b"GET / HTTP/1.1", end=b"\r\n\r\r\n"), f"{HEADER} | {REQUEST}")
refused("cr in front of a field", b"GET / HTTP/1.1\r\nHost: a.test\r\n\rSome: b\r\n\r\n", f"{HEADER} | {REQUEST}")
forwarded("obs-text in a value", get(b"X-A: \x80\xe4\xff"), has=(b"x-a: \x80\xe4\xff",))
forwarded("utf-8 in a value", get("X-A: grüße".encode()), has=("x-a: grüße".encode(),))
forwarded("tab in a value", get(b"X-A: b\tc"), has=(b"x-a: b\tc",))
forwarded("space around a value", get(b"X-A: \t b \t"), has=(b"x-a: b",))
forwarded("empty value", get(b"X-A:", b"X-B: "), has=(b"x-a: ", b"x-b: "))
forwarded("every token character in a name", get(b"!#$%&'*+-.^`|~09Az: b"), has=(b"!#$%&'*+-.^`|~09az: b",))
forwarded("underscore in a name", get(b"X_A: b"), has=(b"x_a: b",))
forwarded("the same field twice keeps its order", get(b"X-A: 1", b"X-B: 2", b"X-A: 3"), has=(b"x-a: 1", b"x-b: 2", b"x-a: 3"))
for field_name in (b"X_Forwarded_For", b"X_Forwarded_Proto", b"X_Real_IP", b"X-Forwarded_Host", b"X_Forwarded-Port"):
    forwarded("underscored " + field_name.decode(), get(field_name + b": 9.9.9.9"), lacks=(field_name.lower(),))

# -- limits

refused("head of 33 kilobytes", get(*(b"X-%d: " % n + b"a" * 1000 for n in range(33))), "431 header_too_large")
refused("head of 200 kilobytes", get(*(b"X-%d: " % n + b"a" * 4000 for n in range(50))), "431 header_too_large")
refused("line of 17 kilobytes", get(b"X-A: " + b"a" * 17000), "431 header_too_large")
refused("name of 17 kilobytes", get(b"X" * 17000 + b": b"), "431 header_too_large")
refused("101 fields", get(*(b"X-%d: 1" % n for n in range(99))), "431 header_too_large")
refused("1000 fields", get(*(b"X-%d: 1" % n for n in range(1000))), "431 header_too_large")
forwarded("100 fields", get(*(b"X-%d: 1" % n for n in range(98))), has=(b"x-97: 1",))
forwarded("line of 15 kilobytes", get(b"X-A: " + b"a" * 15000), has=(b"x-a: " + b"a" * 15000,))
forwarded("head of 31 kilobytes", get(*(b"X-%d: " % n + b"a" * 1000 for n in range(30))), has=(b"x-29: " + b"a" * 1000,))
refused("target of 8193 bytes", get(target=b"/" + b"a" * 8192), "414 uri_too_long")
refused("target of 15 kilobytes", get(target=b"/" + b"a" * 15000), "414 uri_too_long")
refused("target of 40 kilobytes", get(target=b"/" + b"a" * 40000), "414 uri_too_long | 431 header_too_large")
forwarded("target of 8000 bytes", get(target=b"/" + b"a" * 7999), target=b"/" + b"a" * 7999)
refused("query of 9000 bytes", get(target=b"/?" + b"a" * 9000), "414 uri_too_long")

# -- Host

refused("no Host", head(b"GET / HTTP/1.1", host=None), NO_HOST)
refused("no Host but a body length", b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", NO_HOST)
refused("Host twice equal", get(HOST), NO_HOST)
refused("Host twice different", get(b"Host: b.test"), NO_HOST)
refused("Host twice, one in odd case", get(b"hOsT: b.test"), NO_HOST)
for name, value in {
    "empty": b"", "slash": b"a/b", "userinfo": b"u@a.test", "space": b"a b", "list": b"a.test, b.test",
    "backslash": b"a\\b", "port word": b"a.test:http", "port too big": b"a.test:99999", "port minus": b"a.test:-1",
    "port twice": b"a.test:80:80", "port only": b":80", "open bracket": b"[::1", "text after bracket": b"[::1]x",
    "bracket without address": b"[]", "hash": b"a#b", "question mark": b"a?b", "scheme": b"http://a.test",
    "quote": b'"a.test"', "angle": b"<a>", "percent nul": b"a%00b", "tab": b"a\tb", "bare ipv6": b"::1",
}.items():
    refused("Host " + name, get(host=b"Host: " + value), NO_HOST)
refused("Host non-ascii", get(host=b"Host: \xe4.test"), NO_HOST)
refused("Host with nul", get(host=b"Host: a\x00b"), f"{HEADER} | {NO_HOST}")
refused("Host with space before the colon", get(host=b"Host : a.test"), HEADER)
refused("Host of 300 bytes with a slash", get(host=b"Host: " + b"a" * 300 + b"/"), NO_HOST)
either("Host with an empty port", get(host=b"Host: a.test:"), NO_HOST, has=(b"host: a.test:",))
for value in (b"a.test:80", b"A.TEST", b"a.test.", b"[::1]", b"[::1]:8080", b"127.0.0.1", b"under_score.test", b"a"):
    forwarded("Host " + value.decode(), get(host=b"Host: " + value), has=(b"host: " + value,))
forwarded("Host after a tab", get(host=b"hoSt:\ta.test"), has=(b"host: a.test",))
forwarded("http/1.0 with Host", head(b"GET / HTTP/1.0"), has=(b"host: a.test",))
forwarded("http/1.0 without Host", head(b"GET / HTTP/1.0", host=None), has=(b"host: {upstream}",))
forwarded("Host last", head(b"GET / HTTP/1.1", b"X-A: b", HOST, host=None), has=(b"host: a.test",))

# -- request line: target

for name, target in {
    "relative": b"foo", "star with get": b"*", "authority": b"a.test:80", "fragment": b"/a#b", "backslash": b"/a\\b",
    "percent alone": b"/a%", "percent with one digit": b"/a%4", "percent without hex": b"/a%zz",
    "percent nul": b"/a%00", "percent cr": b"/a%0d", "percent lf": b"/a%0Ab", "percent del": b"/%7f",
    "tab": b"/a\tb", "nul": b"/a\x00b", "control": b"/a\x01b", "del": b"/a\x7fb", "non-ascii": b"/\xe4",
    "utf-8": "/ä".encode(), "above the root": b"/..", "far above the root": b"/a/../../b",
    "above the root, encoded": b"/%2e%2e/x", "above the root, half encoded": b"/.%2E/x", "empty scheme": b"://a.test/",
    "ftp": b"ftp://a.test/", "file": b"file:///etc/passwd", "userinfo": b"http://u:p@a.test/", "question mark": b"?a",
}.items():
    refused("target " + name, get(target=target), TARGET)
refused("target with a space", get(target=b"/a b"), f"{TARGET} | {REQUEST} | {VERSION}")
refused("target with a bare cr", get(target=b"/a\rb"), f"{TARGET} | {REQUEST} | {HEADER} | {VERSION}")
refused("target absolute, no host", get(target=b"http:///x"), f"{TARGET} | {NO_HOST}")
refused("target absolute, another host", get(target=b"http://b.test/x"), f"{TARGET} | {NO_HOST}")
refused("target absolute, bad host", get(target=b"http://a b.test/x"), f"{TARGET} | {REQUEST} | {VERSION}")
refused("star with post", head(b"POST * HTTP/1.1"), TARGET)
forwarded("target absolute", get(target=b"http://a.test/x?y=1"), target=b"/x?y=1", has=(b"host: a.test",))
forwarded("target absolute, https", get(target=b"https://a.test/x"), target=b"/x", has=(b"host: a.test",))
forwarded("target absolute, no path", get(target=b"http://a.test"), target=b"/", has=(b"host: a.test",))
forwarded("target absolute, no path but a query", get(target=b"http://a.test?y=1"), target=b"/?y=1")
forwarded("options star", head(b"OPTIONS * HTTP/1.1"), target=b"*", method=b"OPTIONS")
for given, sent in {
    b"/a/../b": b"/b", b"/a/./b": b"/a/b", b"/a/%2e/b": b"/a/b", b"/a/%2E%2e/b": b"/b", b"/a/.": b"/a/", b"/a/..": b"/",
    b"/%41%7Eb": b"/A~b", b"/a%2Fb": b"/a%2Fb", b"/a%2fb": b"/a%2fb", b"/a%5Cb": b"/a%5Cb", b"//a//b": b"//a//b",
    b"/a;x=1/b": b"/a;x=1/b", b"/a?../..": b"/a?../..", b"/a?b=%2e%2e%2f": b"/a?b=%2e%2e%2f", b"/?": b"/?",
    b"/a?b?c": b"/a?b?c", b'/"<>^`{}|': b'/"<>^`{}|', b"/%C3%A4": b"/%C3%A4", b"/a%20b": b"/a%20b", b"/...": b"/...",
    b"/.a": b"/.a", b"/a:b@c": b"/a:b@c",
}.items():
    forwarded("target " + given.decode(), get(target=given), target=sent)

# -- request line: method, version, shape

for version in (b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9", b"http/1.1", b"Http/1.1"):
    refused("version " + version.decode(), head(b"GET / " + version), VERSION)
for version in (b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1", b"HTTP/1.", b"HTTP/11", b"HTTP/1.1x", b"XTTP/1.1", b"HTTP 1.1"):
    refused("version " + version.decode(), head(b"GET / " + version), f"{VERSION} | {REQUEST}")
refused("version RTSP/1.0", head(b"GET / RTSP/1.0"), VERSION)
refused("version ICE/1.0", head(b"SOURCE / ICE/1.0"), VERSION)
refused("http/0.9", b"GET /\r\n\r\n", VERSION)
refused("http/0.9 with a space", b"GET / \r\n\r\n", VERSION)
refused("method in lower case", head(b"get / HTTP/1.1"), METHOD)
refused("method unknown", head(b"FOO / HTTP/1.1"), METHOD)
refused("method of 200 bytes", head(b"A" * 200 + b" / HTTP/1.1"), METHOD)
refused("method with a bracket", head(b"GE(T / HTTP/1.1"), f"{METHOD} | {REQUEST}")
refused("method with a prefix", head(b"Extra lineGET / HTTP/1.1"), f"{METHOD} | {REQUEST}")
refused("method empty", head(b" / HTTP/1.1"), f"{METHOD} | {REQUEST}")
refused("method after a space", head(b" GET / HTTP/1.1"), f"{METHOD} | {REQUEST}")
refused("method after nul", head(b"\x00GET / HTTP/1.1"), f"{METHOD} | {REQUEST}")
refused("tab instead of a space", head(b"GET\t/ HTTP/1.1"), f"{METHOD} | {REQUEST} | {TARGET}")
refused("garbage", b"\x80\x81\x82\x83\r\n\r\n", f"{METHOD} | {REQUEST}")
refused("space after the version", head(b"GET / HTTP/1.1 "), f"{VERSION} | {REQUEST}")
refused("response instead of a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", f"{METHOD} | {REQUEST}")
refused("connect", b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", "405 method_not_allowed")
refused("connect with a path", head(b"CONNECT / HTTP/1.1"), f"405 method_not_allowed | {TARGET}")
refused("tls client hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)), "400 tls_on_plain_port")
refused("three empty lines first", b"\r\n\r\n\r\n" + get(), REQUEST)
refused("bare lf first", b"\n" + get(), f"{REQUEST} | {HEADER}")
forwarded("one empty line first", b"\r\n" + get(), target=b"/")
forwarded("two empty lines first", b"\r\n\r\n" + get(), target=b"/")
either("two spaces in the request line", head(b"GET  /a HTTP/1.1"), f"{REQUEST} | {TARGET}", target=b"/a")
for method in (b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"QUERY", b"PURGE", b"PROPFIND", b"REPORT", b"M-SEARCH"):
    forwarded("method " + method.decode(), head(method + b" / HTTP/1.1"), method=method)
forwarded("get with a body", get(b"Content-Length: 5") + b"hello", body=b"hello", method=b"GET")
forwarded("delete with a chunked body", head(b"DELETE / HTTP/1.1", CHUNKED) + HELLO, body=b"hello", method=b"DELETE")
forwarded("head with a body", head(b"HEAD / HTTP/1.1", b"Content-Length: 5") + b"hello", body=b"hello", method=b"HEAD")

# -- Connection, Upgrade, Expect

for kept, value in {
    b"Host": b"a.test", b"Cookie": b"c=1", b"Authorization": b"Basic eA==", b"Cache-Control": b"no-cache",
    b"Content-Type": b"text/plain",
}.items():
    line = () if kept == b"Host" else (kept + b": " + value,)
    has = (kept.lower() + b": " + value,)
    forwarded(f"connection names {kept.decode()}", get(b"Connection: close, " + kept, *line), has=has)
forwarded("connection names Content-Length", post(b"Connection: content-length", b"Content-Length: 5", body=b"hello"), body=b"hello", has=(b"content-length: 5",))
forwarded("connection names X-Forwarded-For", get(b"Connection: X-Forwarded-For, X-Real-IP, X-Request-ID"), has=(b"x-forwarded-for: 127.0.0.1", b"x-real-ip: 127.0.0.1"))
forwarded("connection names a field", get(b"Connection: X-A", b"X-A: 1", b"X-B: 2"), has=(b"x-b: 2",), lacks=(b"x-a", b"connection"))
forwarded("connection names fields on two lines", get(b"Connection: X-A", b"X-A: 1", b"Connection: x-b", b"X-B: 2"), lacks=(b"x-a", b"x-b"))
forwarded("hop-by-hop fields", get(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: trailers", b"Trailer: X-T", b"Proxy-Authorization: Basic eA=="), lacks=(b"keep-alive", b"proxy-connection", b"te", b"trailer", b"proxy-authorization"))
refused("connection with 17 tokens", get(b"Connection: " + b", ".join(b"x-%d" % n for n in range(17))), HEADER)
forwarded("upgrade h2c", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"), lacks=(b"upgrade", b"connection", b"http2-settings"))
forwarded("upgrade h2c with a body", head(b"POST / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5") + b"hello", body=b"hello", lacks=(b"upgrade",))
forwarded("upgrade without connection", get(b"Upgrade: websocket"), lacks=(b"upgrade",))
WS = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
refused("websocket without a key", get(*WS), "400 bad_upgrade")
refused("websocket with a body", get(*WS, KEY, b"Content-Length: 5") + b"hello", "400 bad_upgrade")
refused("websocket with a chunked body", get(*WS, KEY, CHUNKED) + HELLO, "400 bad_upgrade")
either("websocket by post", head(b"POST / HTTP/1.1", *WS, KEY), "400 bad_upgrade", lacks=(b"upgrade",))
either("websocket in http/1.0", head(b"GET / HTTP/1.0", *WS, KEY), "400 bad_upgrade", lacks=(b"upgrade",))
refused("expect something else", get(b"Expect: 200-ok"), "417 expectation_failed")
refused("expect two things", post(b"Expect: 100-continue, x", b"Content-Length: 5"), "417 expectation_failed")
refused("expect obfuscated", post(b"Expect: 100-continue\x0b", b"Content-Length: 5"), f"417 expectation_failed | {HEADER}")
refused("expect with a parameter", post(b"Expect: 100-continue;x", b"Content-Length: 5"), "417 expectation_failed")
forwarded("expect in odd case", post(b"Expect: 100-Continue", b"Content-Length: 5", body=b"hello"), body=b"hello")
forwarded("expect in http/1.0", post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello", version=b"1.0"), body=b"hello", lacks=(b"expect",))

# -- forwarding fields of a peer that nobody trusts

for spoofed in (b"X-Real-IP", b"X-Client-IP", b"True-Client-IP", b"CF-Connecting-IP", b"Forwarded", b"X-Forwarded-Prefix"):
    has = (b"x-real-ip: 127.0.0.1",)
    lacks = () if spoofed == b"X-Real-IP" else (spoofed.lower(),)
    forwarded("spoofed " + spoofed.decode(), get(spoofed + b": 9.9.9.9"), has=has, lacks=lacks)
forwarded("spoofed X-Forwarded-For", get(b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-For: 8.8.8.8"), has=(b"x-forwarded-for: 127.0.0.1",))
forwarded("spoofed X-Forwarded-Proto", get(b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil", b"X-Forwarded-Port: 1"), has=(b"x-forwarded-proto: http", b"x-forwarded-host: a.test", b"x-forwarded-port: {port}"))


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Bytes after which a client leaves: nothing whole may reach an upstream."""

    name: str
    data: bytes
    may_begin: bool = field(default=False)


UNFINISHED = [
    Unfinished("inside the method", b"GE"),
    Unfinished("inside the target", b"GET /hel"),
    Unfinished("inside the version", b"GET / HTTP/1."),
    Unfinished("before the last lf", head(b"GET / HTTP/1.1", end=b"\r\n\r")),
    Unfinished("inside a field", b"GET / HTTP/1.1\r\nHost: a.t"),
    Unfinished("inside a sized body", post(b"Content-Length: 5", body=b"hell"), True),
    Unfinished("inside a chunk", chunks(b"5\r\nhel"), True),
    Unfinished("inside a chunk size", chunks(b"5"), True),
    Unfinished("before the crlf of a chunk", chunks(b"5\r\nhello"), True),
    Unfinished("before the last chunk", chunks(b"5\r\nhello\r\n"), True),
    Unfinished("before the last crlf of a chunked body", chunks(b"5\r\nhello\r\n0\r\n"), True),
    Unfinished("before the last lf of a chunked body", chunks(b"5\r\nhello\r\n0\r\n\r"), True),
    Unfinished("inside a trailer", chunks(b"5\r\nhello\r\n0\r\nX-T: 1"), True),
]
