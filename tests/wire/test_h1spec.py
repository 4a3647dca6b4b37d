"""The 33 cases of h1spec as wire cases: fragments that must be waited for, and messages with their range of statuses.

Written anew from what the suite asks (repository uNetworking/h1spec); the upstream echoes the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import simple
from tests.support.raw import RawClient, ask, request
from tests.support.recorder import Recorder

WHOLE = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
FRAGMENTS = {
    "method": b"G",
    "url 1": b"GET ",
    "url 2": b"GET /hello",
    "url 3": b"GET /hello ",
    "version": b"GET /hello HTTP",
    "request line": b"GET /hello HTTP/1.1",
    "request line newline 1": b"GET /hello HTTP/1.1\r",
    "request line newline 2": b"GET /hello HTTP/1.1\r\n",
    "field name": b"GET /hello HTTP/1.1\r\nHos",
    "field value 1": b"GET /hello HTTP/1.1\r\nHost:",
    "field value 2": b"GET /hello HTTP/1.1\r\nHost: ",
    "field value 3": b"GET /hello HTTP/1.1\r\nHost: localhost",
    "field value 4": b"GET /hello HTTP/1.1\r\nHost: localhost\r",
    "request": b"GET /hello HTTP/1.1\r\nHost: localhost\r\n",
    "termination": b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent, the classes of status that are right (4 is 4xx), and the body that comes back."""

    name: str
    data: bytes
    classes: str
    body: bytes | None = None


E = b"Host: example.com\r\n"
CASES = [
    Case("request without a version", b"GET / \r\n\r\n", "45"),
    Case("expectation", b"GET / HTTP/1.1\r\n" + E + b"Expect: 100-continue\r\n\r\n", "2"),
    Case("valid get", b"GET / HTTP/1.1\r\n" + E + b"\r\n", "2"),
    Case("valid get, oddly spelt", b"GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n", "2"),
    Case("invalid field name", b"GET / HTTP/1.1\r\n" + E + b"X-Invalid[]: test\r\n\r\n", "4"),
    Case("no host", b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "4"),
    Case("several hosts", b"GET / HTTP/1.1\r\n" + E + b"Host: example.org\r\n\r\n", "4"),
    Case(
        "overflowing length", b"GET / HTTP/1.1\r\n" + E + b"Content-Length: -123456789123456789123456789\r\n\r\n", "4"
    ),
    Case("negative length", b"GET / HTTP/1.1\r\n" + E + b"Content-Length: -1234\r\n\r\n", "4"),
    Case("length that is no number", b"GET / HTTP/1.1\r\n" + E + b"Content-Length: abc\r\n\r\n", "4"),
    Case("empty value", b"GET / HTTP/1.1\r\n" + E + b"X-Empty-Header: \r\n\r\n", "2"),
    Case("control character", b"GET / HTTP/1.1\r\n" + E + b"X-Bad-Control-Char: test\x07\r\n\r\n", "4"),
    Case("invalid version", b"GET / HTTP/9.9\r\n" + E + b"\r\n", "45"),
    Case("invalid prefix", b"Extra lineGET / HTTP/1.1\r\n" + E + b"\r\n", "45"),
    Case("invalid line end", b"GET / HTTP/1.1\r\n" + E + b"\rSome-Header: Test\r\n\r\n", "4"),
    Case("post", b"POST / HTTP/1.1\r\n" + E + b"Content-Length: 5\r\n\r\nhello", "2", b"hello"),
    Case(
        "chunked",
        b"POST / HTTP/1.1\r\n" + E + b"Transfer-Encoding: chunked\r\n\r\nc\r\nHellO world1\r\n0\r\n\r\n",
        "2",
        b"HellO world1",
    ),
    Case(
        "length and chunked",
        b"POST / HTTP/1.1\r\n"
        + E
        + b"content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\nc\r\nHellO world1\r\n0\r\n\r\n",
        "4",
    ),
]


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with Recorder() as recorder, Balancer(simple(recorder.address)) as balancer:
        yield balancer.address()


def test_there_are_33() -> None:
    assert len(FRAGMENTS) + len(CASES) == 33


@pytest.mark.parametrize("fragment", FRAGMENTS.values(), ids=FRAGMENTS)
def test_a_fragment_is_waited_for_and_then_answered(fragment: bytes, address: tuple[str, int]) -> None:
    with RawClient(address) as client:
        assert client.send_apart([fragment])
        assert ask(address, request("GET", "/fence")).status == 200
        assert client.has_nothing()
        client.send(WHOLE[len(fragment) :])
        assert client.recv_response().status == 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_message_gets_its_class_of_status(case: Case, address: tuple[str, int]) -> None:
    with RawClient(address) as client:
        client.send(case.data)
        response = client.recv_response()
    assert str(response.status)[0] in case.classes, response.head.raw
    assert case.body is None or response.body == case.body


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_small_answer_comes_in_one_piece(method: str, address: tuple[str, int]) -> None:
    """The suite reads once: an answer whose head and body leave in two writes is read in halves."""
    body = b"hello" if method == "POST" else b""
    for _ in range(20):
        with RawClient(address) as client:
            client.send(request(method, "/", body=body))
            head, _, rest = client.sock.recv(65536).partition(b"\r\n\r\n")
            assert b"content-length: %d\r\n" % len(rest) in head.lower() + b"\r\n", (head, rest)
