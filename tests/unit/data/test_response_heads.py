"""Response heads: what reaches the client, and every refusal."""

from __future__ import annotations

import pytest

from balancer.data.http.fields import CHUNKED, MAX_LINE, UNTIL_CLOSE, Bad, Lines
from balancer.data.http.response_head import MAX_RESPONSE_FIELDS, ResponseHead, read_response
from balancer.model.reason import Reason


def read(status: bytes, *lines: bytes) -> ResponseHead:
    return read_response(status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n", Lines())


@pytest.mark.parametrize(
    ("status", "lines", "out", "length", "keep"),
    [
        (b"HTTP/1.1 200 OK", (b"Content-Length: 3",), (b"Content-Length: 3",), 3, True),
        (b"HTTP/1.1 200 OK", (b"Content-Length: 003 ",), (b"Content-Length: 3",), 3, True),
        (b"HTTP/1.1 200 OK", (b"Transfer-Encoding: Chunked",), (), CHUNKED, True),
        (b"HTTP/1.1 200 OK", (), (), UNTIL_CLOSE, True),
        (b"HTTP/1.0 200 OK", (b"Content-Length: 3",), (b"Content-Length: 3",), 3, False),
        (b"HTTP/1.0 200 OK", (b"Content-Length: 3", b"Connection: keep-alive"), (b"Content-Length: 3",), 3, True),
        (b"HTTP/1.1 200 OK", (b"Connection: close", b"Content-Length: 0"), (b"Content-Length: 0",), 0, False),
        (b"HTTP/1.1 304 Not Modified", (b"Content-Length: 9", b"ETag: x"), (b"ETag: x", b"Content-Length: 9"), 9, True),
        (b"HTTP/1.1 204 No Content", (b"Content-Length: 0",), (), 0, True),
        (b"HTTP/1.1 103 Early Hints", (b"Link: x",), (b"Link: x",), UNTIL_CLOSE, True),
        (
            b"HTTP/1.1 200 OK",
            (b"Connection: X-A", b"X-A: 1", b"Set-Cookie: a", b"Set-Cookie: b", b"Content-Length: 0"),
            (b"Set-Cookie: a", b"Set-Cookie: b", b"Content-Length: 0"),
            0,
            True,
        ),
        (
            b"HTTP/1.1 200 OK",
            (b"Connection: Content-Type, Cache-Control", b"Content-Type: x", b"Cache-Control: y", b"Content-Length: 0"),
            (b"Content-Type: x", b"Cache-Control: y", b"Content-Length: 0"),
            0,
            True,
        ),
        (
            b"HTTP/1.1 200 OK",
            (b"Keep-Alive: timeout=5", b"Proxy-Authenticate: x", b"Upgrade: h2", b"Trailer: t", b"Content-Length: 0"),
            (b"Content-Length: 0",),
            0,
            True,
        ),
        (
            b"HTTP/1.1 200 OK",
            (b"X-Request-ID: theirs", b"Server: them", b"Date: then", b"Content-Length: 0"),
            (b"Server: them", b"Date: then", b"Content-Length: 0"),
            0,
            True,
        ),
        (b"HTTP/1.1 200 OK", (b"X: \xe9\xff", b"Content-Length: 0"), (b"X: \xe9\xff", b"Content-Length: 0"), 0, True),
    ],
)
def test_a_head_is_read_and_written_anew(
    status: bytes, lines: tuple[bytes, ...], out: tuple[bytes, ...], length: int, keep: bool
) -> None:
    head = read(status, *lines)
    phrase = status.partition(b" ")[2]
    assert head.out == b"\r\n".join([b"HTTP/1.1 " + phrase, *out, b""])
    assert (head.length, head.keep) == (length, keep)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_a_status_line_without_a_phrase_is_completed(line: bytes) -> None:
    assert read(line, b"Content-Length: 0").out.startswith(b"HTTP/1.1 200 \r\n")


@pytest.mark.parametrize(
    "status",
    [
        b"",
        b"200 OK",
        b"HTTP/1.1 abc OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 600 x",
        b"HTTP/1.1  200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\nK",
        b"HTTP/1.1 200 O\rK",
        b"\r\nHTTP/1.1 200 OK",
    ],
)
def test_a_malformed_status_line_is_a_bad_response(status: bytes) -> None:
    with pytest.raises(Bad) as refused:
        read(status, b"Content-Length: 0")
    assert refused.value.reason is Reason.BAD_RESPONSE


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 3", b"Content-Length: 3"),
        (b"Content-Length: 3, 3",),
        (b"Content-Length: -5",),
        (b"Content-Length: +5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: ",),
        (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: blegh",),
        (b"Transfer-Encoding: ,chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"no colon",),
        (b"X : y",),
        (b" folded",),
        (b"X: a\x00b",),
        (b"X: a\nb",),
        (b"X: a\rb",),
        (b": y",),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_a_bad_response(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Bad) as refused:
        read(b"HTTP/1.1 200 OK", *lines)
    assert refused.value.reason is Reason.BAD_RESPONSE


def test_chunks_of_an_old_version_are_a_bad_response() -> None:
    with pytest.raises(Bad) as refused:
        read(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked")
    assert refused.value.reason is Reason.BAD_RESPONSE


@pytest.mark.parametrize(
    "lines", [tuple(b"X-%d: y" % i for i in range(MAX_RESPONSE_FIELDS + 1)), (b"X: " + b"y" * MAX_LINE,)]
)
def test_a_head_beyond_the_limits_says_so(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Bad) as refused:
        read(b"HTTP/1.1 200 OK", *lines)
    assert refused.value.reason is Reason.RESPONSE_HEADER_TOO_LARGE


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (b"timeout=5", 5.0),
        (b"timeout=5, max=100", 5.0),
        (b"max=9, Timeout=7", 7.0),
        (b"max=9", 0.0),
        (b"xtimeout=5", 0.0),
        (b"", 0.0),
    ],
)
def test_a_target_says_how_long_it_keeps_a_connection(value: bytes, hint: float) -> None:
    head = read(b"HTTP/1.1 200 OK", b"Keep-Alive: " + value, b"Content-Length: 0")
    assert head.idle_hint == hint
    assert head.plain is not bool(hint)


@pytest.mark.parametrize(
    ("status", "lines", "plain"),
    [
        (b"HTTP/1.1 200 OK", (b"Content-Length: 3",), True),
        (b"HTTP/1.1 500 No", (b"Content-Length: 3",), True),
        (b"HTTP/1.1 100 Continue", (b"Content-Length: 0",), False),
        (b"HTTP/1.1 100 Continue", (), False),
        (b"HTTP/1.1 101 Switching", (b"Content-Length: 0",), False),
        (b"HTTP/1.1 204 No", (), False),
        (b"HTTP/1.1 304 No", (b"Content-Length: 3",), False),
        (b"HTTP/1.1 200 OK", (b"Transfer-Encoding: chunked",), False),
        (b"HTTP/1.1 200 OK", (), False),
        (b"HTTP/1.1 200 OK", (b"Content-Length: 3", b"Connection: close"), False),
        (b"HTTP/1.0 200 OK", (b"Content-Length: 3",), False),
    ],
)
def test_only_a_final_head_with_a_length_on_a_lasting_connection_is_plain(
    status: bytes, lines: tuple[bytes, ...], plain: bool
) -> None:
    assert read(status, *lines).plain is plain
