"""Heads: what is remembered means what was read, and nobody stricter than us would have refused it."""

from __future__ import annotations

import re
from collections.abc import Callable

import h11
import httptools
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from balancer.data.http import response_head
from balancer.data.http.fields import CHUNKED, Bad, Lines
from balancer.data.http.memory import RequestMemory, ResponseMemory
from balancer.data.http.request_block import Block, read_block
from balancer.data.http.request_line import Line, read_any_line, read_line
from balancer.data.http.response_head import read_response
from tests.property.messages import heads, mutated, responses
from tests.support import http1
from tests.support.builds import attributes, interpreted_only

WANTED = frozenset({"x-beta", "cookie"})
ANY_HEAD = st.one_of(heads(), heads(), mutated(heads()))


def half(head: bytes) -> tuple[bytes, bytes]:
    """Return (request line, header block with the CRLF before it)."""
    at = head.find(b"\r\n")
    return (head[:at], head[at:]) if at >= 0 else (head, b"\r\n\r\n")


def told(value: Line | Block) -> dict[str, object]:
    """Return everything that a half says."""
    return {name: getattr(value, name) for name in attributes(value) if name != "routes"}


def verdict(memory: RequestMemory, head: bytes) -> object:
    """Return what a memory makes of a head: both halves' meaning, or the refusal."""
    line, block = half(head)
    try:
        return told(memory.line(line)), told(memory.block(block))
    except Bad as bad:
        return bad.reason, bad.detail


@given(st.lists(ANY_HEAD, min_size=1, max_size=4), st.lists(st.integers(0, 3), min_size=4, max_size=12), st.booleans())
def test_memory_on_and_off_give_the_same_verdicts(made: list[bytes], order: list[int], trusted: bool) -> None:
    on = RequestMemory(trusted=trusted, wanted=WANTED)
    off = RequestMemory(trusted=trusted, wanted=WANTED, remember=False)
    for index in order:  # each head several times: unknown, seen once, kept
        head = made[index % len(made)]
        assert verdict(on, head) == verdict(off, head)
    assert not off.lines.new and not off.blocks.new


@given(st.lists(st.one_of(responses(), mutated(responses())), min_size=1, max_size=3))
def test_a_remembered_response_head_means_what_was_read(made: list[bytes]) -> None:
    on, off = ResponseMemory(), ResponseMemory(remember=False)
    for response in made * 3:
        head = response[: response.find(b"\r\n\r\n") + 4]

        def read(memory: ResponseMemory, head: bytes = head) -> object:
            try:
                found = memory.head(head)
            except Bad as bad:
                return bad.reason, bad.detail
            return {name: getattr(found, name) for name in attributes(found)}

        assert read(on) == read(off)


PIECES = [b"GET", b"HEAD", b"BREW", b"POST", b" ", b"/", b"//", b"/.", b"/..", b"a", b"%41", b"%2f", b"%", b"?", b"x=1"]
PIECES += [
    b"#",
    b"\\",
    b'"',
    b"\x80",
    b"\t",
    b"\r",
    b"\n",
    b"\x00",
    b"http://a",
    b":",
    b"*",
    b" HTTP/1.1",
    b" HTTP/1.0",
]


@given(
    st.one_of(
        ANY_HEAD.map(lambda head: half(head)[0]),
        st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
        st.lists(st.sampled_from(PIECES), max_size=12).map(lambda made: b"GET /" + b"".join(made) + b" HTTP/1.1"),
    )
)
def test_the_short_reading_of_a_request_line_is_the_long_one(line: bytes) -> None:
    def read(by: Callable[[bytes], Line]) -> object:
        try:
            return told(by(line))
        except Bad as bad:
            return bad.reason, bad.detail

    assert read(read_line) == read(read_any_line)


def reads(head: bytes) -> tuple[Line, Block] | None:
    line, block = half(head)
    if not block.endswith(b"\r\n\r\n"):
        return None  # not a whole head: nobody would read it yet
    try:
        memory = RequestMemory(trusted=False, wanted=frozenset(), remember=False)
        read, fields = memory.line(line), memory.block(block)
    except Bad:
        return None
    if (fields.host is None and read.minor) or (read.minor == 0 and fields.length == CHUNKED):
        return None  # refused where the halves meet
    return read, fields


@given(ANY_HEAD)
def test_what_is_accepted_is_written_in_one_unambiguous_form(head: bytes) -> None:
    """Exactly one of Content-Length and chunked, digits only, no folded line, one Host, CRLF only."""
    found = reads(head)
    event("accepted" if found else "refused")
    if found is None:
        return
    line, block = found
    host = b"" if block.host is not None else b"Host: t\r\n"
    again = http1.request_head(line.out + block.out + host + b"\r\n")
    length = http1.body_length(again)
    assert (CHUNKED if length is None else max(0, length)) == block.length
    assert not {name.lower() for name, _ in again.headers} & {
        b"connection",
        b"keep-alive",
        b"te",
        b"upgrade",
        b"trailer",
        b"proxy-connection",
        b"x-real-ip",
        b"x-forwarded-for",
        b"expect",
    }


@given(ANY_HEAD)
def test_what_we_accept_h11_accepts_too(head: bytes) -> None:
    found = reads(head)
    if found is None or b"\r\n\r\n" not in head:
        return
    line, block = found
    if block.host is None:
        return  # an HTTP/1.0 request without Host: h11 takes it, whatever it says otherwise
    seen = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    # The one thing that h11 refuses and we do not: more than one space in the request line, which is written anew.
    seen.receive_data(re.sub(rb"^(\S+) +(\S+) +", rb"\1 \2 ", head[: head.find(b"\r\n\r\n") + 4]))
    request = seen.next_event()
    assert isinstance(request, h11.Request)
    assert request.method == line.method
    codings = [value for name, value in request.headers if name == b"transfer-encoding"]
    lengths = [int(value) for name, value in request.headers if name == b"content-length"]
    assert block.length == (CHUNKED if codings else lengths[0] if lengths else 0)


class Deaf:
    """Callbacks that httptools may call; nothing is wanted from them."""


@given(ANY_HEAD)
def test_what_httptools_refuses_we_refuse(head: bytes) -> None:
    whole = head[: head.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in head else head
    try:
        httptools.HttpRequestParser(Deaf()).feed_data(whole)
    except httptools.HttpParserUpgrade:
        return
    except httptools.HttpParserError:
        event("refused by httptools")
        assert reads(whole) is None


@given(st.one_of(responses(), mutated(responses())))
def test_a_response_head_that_is_accepted_is_written_in_one_form(response: bytes) -> None:
    end = response.find(b"\r\n\r\n") + 4
    try:
        head = read_response(response[:end], Lines())
    except Bad:
        return
    again = http1.response_head(head.out + b"\r\n")
    assert int(again.start[0]) == head.status
    assert not again.all("transfer-encoding")
    length = http1.body_length(again)
    if head.length >= 0 and head.status >= 200 and head.status != 204:
        assert length in (head.length, -1)
    else:
        assert length == -1


@interpreted_only
@given(st.one_of(responses(), mutated(responses())))
def test_the_short_reading_of_a_response_head_is_the_long_one(response: bytes) -> None:
    head = response[: response.find(b"\r\n\r\n") + 4]

    def read() -> object:
        try:
            found = read_response(head, Lines())
        except Bad as bad:
            return bad.reason, bad.detail
        return {name: getattr(found, name) for name in attributes(found)}

    short = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response_head, "_read_usual", lambda *_: None)
        assert short == read()


@pytest.mark.parametrize("read", [read_line, lambda data: read_block(data, Lines(), trusted=True, wanted=WANTED)])
@given(data=st.binary(max_size=200))
def test_bytes_without_any_form_are_refused_and_nothing_worse(read: object, data: bytes) -> None:
    assert callable(read)
    try:
        read(data)
    except Bad as bad:
        assert bad.reason.word and bad.detail
