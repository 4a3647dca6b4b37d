"""Request lines: what is read, how it is written anew, and every refusal with its reason."""

from __future__ import annotations

import pytest

from balancer.data.http.fields import Bad
from balancer.data.http.request_line import MAX_TARGET, METHODS, read_line
from balancer.model.reason import Reason


@pytest.mark.parametrize(
    ("line", "out", "path", "query", "minor"),
    [
        (b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n", "/", "", 1),
        (b"GET / HTTP/1.0", b"GET / HTTP/1.1\r\n", "/", "", 0),
        (b"POST /a/b?x=1&y HTTP/1.1", b"POST /a/b?x=1&y HTTP/1.1\r\n", "/a/b", "x=1&y", 1),
        (b"GET  /two   HTTP/1.1", b"GET /two HTTP/1.1\r\n", "/two", "", 1),
        (b"GET /a/../b HTTP/1.1", b"GET /b HTTP/1.1\r\n", "/b", "", 1),
        (b"GET /%7euser HTTP/1.1", b"GET /~user HTTP/1.1\r\n", "/~user", "", 1),
        (b"GET //a HTTP/1.1", b"GET //a HTTP/1.1\r\n", "/a", "", 1),
        (b"GET /a%2fb HTTP/1.1", b"GET /a%2fb HTTP/1.1\r\n", "/a%2Fb", "", 1),
        (b'GET /"<>^`{|} HTTP/1.1', b'GET /"<>^`{|} HTTP/1.1\r\n', '/"<>^`{|}', "", 1),
        (b"GET /?a?b/../c HTTP/1.1", b"GET /?a?b/../c HTTP/1.1\r\n", "/", "a?b/../c", 1),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1\r\n", "*", "", 1),
        (b"GET http://a.test/x?y HTTP/1.1", b"GET /x?y HTTP/1.1\r\n", "/x", "y", 1),
        (b"GET HTTPS://a.test?y HTTP/1.1", b"GET /?y HTTP/1.1\r\n", "/", "y", 1),
        (b"GET http://a.test HTTP/1.1", b"GET / HTTP/1.1\r\n", "/", "", 1),
    ],
)
def test_a_line_is_read_and_written_anew(line: bytes, out: bytes, path: str, query: str, minor: int) -> None:
    read = read_line(line)
    assert (read.out, read.path, read.query, read.minor) == (out, path, query, minor)


@pytest.mark.parametrize("method", sorted(METHODS - {b"CONNECT"}))
def test_every_known_method_is_passed_on(method: bytes) -> None:
    read = read_line(method + b" / HTTP/1.1")
    assert read.out == method + b" / HTTP/1.1\r\n"
    assert read.is_head == (method == b"HEAD")
    assert read.idempotent == (method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (b"GET / HTTP/1.1", True),
        (b"POST / HTTP/1.1", True),
        (b"GET / HTTP/1.0", False),
        (b"GET http://a.test/ HTTP/1.1", False),
        (b"TRACE / HTTP/1.1", False),
        (b"OPTIONS / HTTP/1.1", False),
    ],
)
def test_only_a_line_that_leaves_nothing_to_decide_is_plain(line: bytes, plain: bool) -> None:
    assert read_line(line).plain is plain


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Reason.BAD_REQUEST),
        (b"GET", Reason.BAD_REQUEST),
        (b" GET / HTTP/1.1", Reason.BAD_REQUEST),
        (b"G(T / HTTP/1.1", Reason.BAD_REQUEST),
        (b"G\tT / HTTP/1.1", Reason.BAD_REQUEST),
        (b"\x00 / HTTP/1.1", Reason.BAD_REQUEST),
        (b"GET / HTTP/1.1\r", Reason.BAD_REQUEST),
        (b"GET /\n HTTP/1.1", Reason.BAD_REQUEST),
        (b"GET HTTP/1.1", Reason.BAD_REQUEST),
        (b"GET / HTTP/1.1 ", Reason.BAD_REQUEST),
        (b"GET / HTTP/1.1\t", Reason.BAD_REQUEST),
        (b"GET / HTTP/1.1 x", Reason.BAD_REQUEST),
        (b"\x16\x03\x01\x02\x00", Reason.TLS_ON_PLAIN_PORT),
        (b"GET /", Reason.UNSUPPORTED_VERSION),
        (b"GET / HTTP/0.9", Reason.UNSUPPORTED_VERSION),
        (b"GET / HTTP/1.2", Reason.UNSUPPORTED_VERSION),
        (b"GET / HTTP/1.10", Reason.UNSUPPORTED_VERSION),
        (b"GET / HTTP/2.0", Reason.UNSUPPORTED_VERSION),
        (b"GET / HTTP/9.9", Reason.UNSUPPORTED_VERSION),
        (b"GET / HTTP/1", Reason.UNSUPPORTED_VERSION),
        (b"GET / http/1.1", Reason.UNSUPPORTED_VERSION),
        (b"GET / Http/1.1", Reason.UNSUPPORTED_VERSION),
        (b"GET / RTSP/1.0", Reason.UNSUPPORTED_VERSION),
        (b"GET / ICE/1.0", Reason.UNSUPPORTED_VERSION),
        (b"PRI * HTTP/2.0", Reason.UNSUPPORTED_VERSION),
        (b"get / HTTP/1.1", Reason.UNSUPPORTED_METHOD),
        (b"LABEL / HTTP/1.1", Reason.UNSUPPORTED_METHOD),
        (b"G" * 200 + b" / HTTP/1.1", Reason.UNSUPPORTED_METHOD),
        (b"GET /a b HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /a\tb HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /\x00 HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /\x7f HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /\xc3\xa9 HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /a#b HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /a\\b HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /a%zz HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /a% HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /?a=%4 HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /%00 HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /%0a HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /.. HTTP/1.1", Reason.BAD_TARGET),
        (b"GET /a/%2e%2e/../x HTTP/1.1", Reason.BAD_TARGET),
        (b"GET * HTTP/1.1", Reason.BAD_TARGET),
        (b"OPTIONS ** HTTP/1.1", Reason.BAD_TARGET),
        (b"GET a/b HTTP/1.1", Reason.BAD_TARGET),
        (b"GET a.test:80 HTTP/1.1", Reason.BAD_TARGET),
        (b"GET ftp://a.test/ HTTP/1.1", Reason.BAD_TARGET),
        (b"GET http:/a.test/ HTTP/1.1", Reason.BAD_TARGET),
        (b"GET http:///x HTTP/1.1", Reason.BAD_TARGET),
        (b"GET http://user@a.test/ HTTP/1.1", Reason.BAD_TARGET),
        (b"GET http://a,b/ HTTP/1.1", Reason.BAD_TARGET),
        (b"GET http://a.test:99999/ HTTP/1.1", Reason.BAD_TARGET),
        (b"CONNECT a.test:443 HTTP/1.1", Reason.METHOD_NOT_ALLOWED),
        (b"GET /" + b"a" * MAX_TARGET + b" HTTP/1.1", Reason.URI_TOO_LONG),
    ],
)
def test_a_line_that_can_be_read_in_two_ways_is_refused(line: bytes, reason: Reason) -> None:
    with pytest.raises(Bad) as refused:
        read_line(line)
    assert refused.value.reason is reason
    assert refused.value.detail


def test_a_target_of_eight_kibibytes_is_served() -> None:
    assert read_line(b"GET /" + b"a" * (MAX_TARGET - 1) + b" HTTP/1.1").path
