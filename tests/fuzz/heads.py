"""What holds for any bytes as a request line, a request head or a response head; AssertionError where it does not."""

from __future__ import annotations

import re
from collections.abc import Callable

import h11
import httptools

from balancer.data.http.fields import CHUNKED, UNTIL_CLOSE, Bad
from balancer.data.http.memory import RequestMemory, ResponseMemory
from balancer.data.http.request_block import Block
from balancer.data.http.request_line import Line, read_line
from balancer.data.http.response_head import ResponseHead
from tests.support import http1
from tests.support.builds import attributes

WANTED = frozenset({"x-beta", "cookie"})
TIMES = 3  # unknown, seen once, kept


class Deaf:
    """Callbacks that httptools may call; nothing is wanted from them."""


def llhttp_takes(message: bytes) -> bool:
    """Return whether llhttp, as httptools has it, reads a request without objecting."""
    try:
        httptools.HttpRequestParser(Deaf()).feed_data(message)
    except httptools.HttpParserUpgrade:
        return True
    except httptools.HttpParserError:
        return False
    return True


def told(value: Line | Block | ResponseHead) -> dict[str, object]:
    """Return everything that a half of a head says."""
    return {name: getattr(value, name) for name in attributes(value) if name != "routes"}


def verdict(read: Callable[[bytes], Line | Block | ResponseHead], data: bytes) -> object:
    """Return what a reader makes of `data`: its meaning, or the word and the detail of the refusal."""
    try:
        return told(read(data))
    except Bad as bad:
        assert bad.reason.word
        assert bad.detail
        return bad.reason, bad.detail


def same_remembered(
    on: Callable[[bytes], Line | Block | ResponseHead],
    off: Callable[[bytes], Line | Block | ResponseHead],
    data: bytes,
) -> object:
    """Hold that a memory that fills says the same each time as one that keeps nothing; return the verdict."""
    expected = verdict(off, data)
    for _ in range(TIMES):
        assert verdict(on, data) == expected
    return expected


def request_line(data: bytes) -> None:
    """A request line is refused with a word, or has one meaning: memory, llhttp and a second reading agree."""
    on = RequestMemory(trusted=False, wanted=WANTED)
    off = RequestMemory(trusted=False, wanted=WANTED, remember=False)
    if isinstance(same_remembered(on.line, off.line, data), tuple):
        return
    line = read_line(data)
    assert llhttp_takes(data + b"\r\nHost: a\r\n\r\n"), "accepted what llhttp refuses"
    head = http1.request_head(line.out + b"Host: a\r\n\r\n")
    assert head.start == (line.method, line.target)
    again = read_line(line.out[:-2])
    assert (again.out, again.path, again.query) == (line.out, line.path, line.query), "not the same read again"


def request_head(data: bytes) -> None:
    """A whole request head is refused, or written in one unambiguous form that h11 and llhttp read as we do."""
    end = data.find(b"\r\n\r\n")
    at = data.find(b"\r\n")
    whole = data[: end + 4] if end >= 0 else data + b"\r\n\r\n"
    at = whole.find(b"\r\n") if at < 0 else at
    first, block = whole[:at], whole[at:]
    read: dict[bool, tuple[object, object]] = {}
    for trusted in (False, True):
        on = RequestMemory(trusted=trusted, wanted=WANTED)
        off = RequestMemory(trusted=trusted, wanted=WANTED, remember=False)
        read[trusted] = same_remembered(on.line, off.line, first), same_remembered(on.block, off.block, block)
    memory = RequestMemory(trusted=False, wanted=frozenset(), remember=False)
    try:
        line, fields = memory.line(first), memory.block(block)
    except Bad:
        return
    if (fields.host is None and line.minor) or (line.minor == 0 and fields.length == CHUNKED):
        return  # refused where the halves meet
    assert llhttp_takes(whole), "accepted what llhttp refuses"
    one_form(line, fields)
    if fields.host is not None:
        as_h11_reads(whole, line, fields)


def one_form(line: Line, block: Block) -> None:
    """Hold that what would be written is one head in one form, with nothing that belongs to the hop."""
    host = b"" if block.host is not None else b"Host: t\r\n"
    again = http1.request_head(line.out + block.out + host + b"\r\n")
    length = http1.body_length(again)
    assert (CHUNKED if length is None else max(0, length)) == block.length
    names = {name.lower() for name, _ in again.headers}
    hop = {b"connection", b"keep-alive", b"te", b"upgrade", b"trailer", b"proxy-connection", b"x-real-ip", b"expect"}
    assert not names & (hop | {b"x-forwarded-for", b"forwarded", b"x-forwarded-proto"})
    assert block.length >= CHUNKED


def as_h11_reads(whole: bytes, line: Line, block: Block) -> None:
    """Hold that h11 takes a head that we take, and reads the same framing."""
    seen = h11.Connection(h11.SERVER, max_incomplete_event_size=128 * 1024)
    # The one thing that h11 refuses and we do not: more than one space in the request line, which is written anew.
    seen.receive_data(re.sub(rb"^(\S+) +(\S+) +", rb"\1 \2 ", whole))
    request = seen.next_event()
    assert isinstance(request, h11.Request)
    assert request.method == line.method
    codings = [value for name, value in request.headers if name == b"transfer-encoding"]
    lengths = [int(value) for name, value in request.headers if name == b"content-length"]
    assert block.length == (CHUNKED if codings else lengths[0] if lengths else 0)


def response_head(data: bytes) -> None:
    """A response head is refused, or written in one form that a strict reader and h11 read as we do."""
    end = data.find(b"\r\n\r\n")
    whole = data[: end + 4] if end >= 0 else data + b"\r\n\r\n"
    on, off = ResponseMemory(), ResponseMemory(remember=False)
    if isinstance(same_remembered(on.head, off.head, whole), tuple):
        return
    head = off.head(whole)
    again = http1.response_head(head.out + b"\r\n")
    assert int(again.start[0]) == head.status
    assert not again.all("transfer-encoding")
    length = http1.body_length(again)
    if head.length >= 0 and head.status >= 200 and head.status != 204:
        assert length == head.length
    else:
        assert length == -1
    assert head.length >= UNTIL_CLOSE
    if head.status >= 200:
        response_as_h11_reads(whole, head)


def response_as_h11_reads(whole: bytes, head: ResponseHead) -> None:
    """Hold that h11 reads the status and framing that we read, of a response to a GET."""
    seen = h11.Connection(h11.CLIENT, max_incomplete_event_size=128 * 1024)
    seen.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    seen.send(h11.EndOfMessage())
    seen.receive_data(whole)
    response = seen.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == head.status
    codings = [value for name, value in response.headers if name == b"transfer-encoding"]
    lengths = [int(value) for name, value in response.headers if name == b"content-length"]
    assert head.length == (CHUNKED if codings else lengths[0] if lengths else UNTIL_CLOSE)
