"""Two framings of which one is disguised: refused with nothing at a target, or passed on in one form, never as two.

The places and bytes are those that known tools try: before the name, in it, before and after the colon, after the
value, in doubles, lists and parameters (testing notes 1.10); the cases are our own.
"""

from __future__ import annotations

import itertools
import re

import pytest

from tests.fuzz.wire import outcome_of
from tests.unit.data.stage import stage

ODD = [bytes((byte,)) for byte in b"\x00\x01\t\x0b\x0c\r\n \x1f\x7f\x80\xa0\xff"]
ODD += [b"\r\n ", b"\r\n\t", b"\r\r\n", b"\n\r"]
FIELDS = {"te": (b"Transfer-Encoding", b"chunked"), "cl": (b"Content-Length", b"6")}
PLACES = {
    "before the name": lambda name, value, odd: odd + name + b": " + value,
    "in the name": lambda name, value, odd: name[:8] + odd + name[8:] + b": " + value,
    "before the colon": lambda name, value, odd: name + odd + b": " + value,
    "after the colon": lambda name, value, odd: name + b":" + odd + value,
    "in the value": lambda name, value, odd: name + b": " + value[:1] + odd + value[1:],
    "after the value": lambda name, value, odd: name + b": " + value + odd,
    "as a line before": lambda name, value, odd: b"X:" + odd + name + b": " + value,
    "around the value": lambda name, value, odd: name + b": " + odd + value + odd,
}
WORDS = {
    "te quoted": b'Transfer-Encoding: "chunked"',
    "te in single quotes": b"Transfer-Encoding: 'chunked'",
    "te with a comma first": b"Transfer-Encoding: ,chunked",
    "te with a comma last": b"Transfer-Encoding: chunked,",
    "te with two commas": b"Transfer-Encoding: chunked,,",
    "te with a parameter": b"Transfer-Encoding: chunked;q=1",
    "te with a cow": b"Transfer-Encoding: chunked, cow",
    "te with a cow first": b"Transfer-Encoding: cow, chunked",
    "te with identity": b"Transfer-Encoding: identity",
    "te backwards": b"Transfer-Encoding: deknuhc",
    "te twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "te twice, the other first": b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "te with another case": b"tRANSFER-ENCODING: ChUnKeD",
    "te as the name of another": b"Foo: bar\r\nTransfer-Encodings: chunked",
    "te with underscore": b"Transfer_Encoding: chunked",
    "te with an x": b"X-Transfer-Encoding: chunked",
    "te escaped": b"Transfer-Encoding: \\x00chunked",
    "te in utf-8": b"Transfer-Encoding: chunKed",
    "te empty": b"Transfer-Encoding:",
    "te as content-encoding": b"Content-Encoding: chunked",
    "te named in connection": b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    "cl named in connection": b"Connection: Content-Length",
    "cl plus": b"Content-Length: +6",
    "cl minus": b"Content-Length: -0",
    "cl list": b"Content-Length: 6, 6",
    "cl with zeros": b"Content-Length: 0000000000000000000000006",
    "cl of 2^64 + 6": b"Content-Length: 18446744073709551622",
    "cl in hex": b"Content-Length: 0x6",
    "cl in full-width digits": b"Content-Length: 6",
    "cl twice": b"Content-Length: 6",
    "expect with cl": b"Expect: 100-continue",
    "expect obfuscated": b"Expect: y 100-continue",
    "expect twice": b"Expect: 100-continue\r\nExpect: 100-continue",
}
LINES = {
    f"{key} with {odd!r} {place}": (key, make(*FIELDS[key], odd))
    for key, (place, make), odd in itertools.product(FIELDS, PLACES.items(), ODD)
} | {name: ("te" if name[:2] != "cl" else "cl", line) for name, line in WORDS.items()}
CHUNKS = b"0\r\n\r\nX"  # as chunks: an empty body and the beginning of another request; as six bytes: a body
HIDDEN = re.compile(rb"(?i)(transfer.?encoding|content.?length)[^a-z]?:")


@pytest.mark.parametrize("name", LINES)
def test_no_disguise_makes_two_requests_of_one(name: str) -> None:
    key, line = LINES[name]
    other = b"Content-Length: 6" if key == "te" else b"Transfer-Encoding: chunked"
    for pair in (line + b"\r\n" + other, other + b"\r\n" + line):
        data = b"POST / HTTP/1.1\r\nHost: a.test\r\n" + pair + b"\r\n\r\n" + CHUNKS
        with stage() as set_:
            for _ in range(3):  # read, seen once, remembered
                statuses, requests = outcome_of(set_, [data], 0.3)
                assert len(requests) <= 1, requests
                if any(status[9:10] in (b"4", b"5") for status in statuses[:1]):
                    assert not requests, "refused, and sent all the same"
                for start, headers, body in requests:
                    assert start[0] == b"POST"
                    framings = [field for field in headers if HIDDEN.match(field[0] + b":")]
                    if b"\r\n\r\n" in b"\r\n" + pair:  # the head ends in the middle: what follows is no part of it
                        continue
                    assert len(framings) == 1, framings
                    assert framings[0] in ((b"Content-Length", b"6"), (b"Transfer-Encoding", b"chunked"))
                    assert body == (CHUNKS if framings[0][0] == b"Content-Length" else b"")
