"""The admin server among clients that lie, stall, or only hold their connections."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support import configs, kernel
from tests.support.balancer import Balancer
from tests.support.raw import RawClient
from tests.support.recorder import Recorder, respond
from tests.support.waiting import wait_for

ME = "127.0.0.1"


@pytest.fixture(scope="module")
def plain() -> Iterator[Balancer]:
    with Recorder() as recorder, Balancer(configs.simple(recorder.address)) as balancer:
        yield balancer


def post(*headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    lines = ("POST /api/v1/reload HTTP/1.1", f"Content-Length: {len(body) if length is None else length}", *headers)
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", *headers)).encode("utf-8", "surrogateescape") + b"\r\n\r\n"


HOST = f"Host: {ME}"
REFUSED = [
    ("a host with brackets and more", get("/metrics", "Host: [127.0.0.1].evil.example"), 403),
    ("a host of strange bytes", get("/metrics", "Host: \udcff\udcfe"), 403),
    ("no host", get("/metrics"), 400),
    ("two hosts", get("/metrics", "Host: localhost", "Host: evil.example"), 400),
    ("a whole URL as target", get("http://localhost/metrics", HOST), 400),
    ("an origin that is not closed", post(HOST, "Origin: http://[::1"), 403),
    ("an origin of brackets", post(HOST, "Origin: http://a]b["), 403),
    ("an origin with a letter like others", post(HOST, "Origin: http://a\u2100b"), 403),
    ("two origins", post(HOST, f"Origin: http://{ME}", "Origin: http://evil.example"), 400),
    ("two framings", post(HOST, "Transfer-Encoding: chunked"), 400),
    ("an expectation that nobody meets", post(HOST, "Expect: wonders"), 417),
    ("a body that is too large", post(HOST, length=100_000_000), 413),
    ("a method that is none", b"FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("no HTTP at all", b"\x16\x03\x01\x00\x00\r\n\r\n", 400),
    ("a head without end", get("/", HOST, "X: " + "a" * 100_000), 400),
]


@pytest.mark.parametrize(("data", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_taken_is_a_problem_and_nothing_in_the_log(plain: Balancer, data: bytes, status: int) -> None:
    before = len(plain.log_text())
    with RawClient(plain.admin) as client:
        answer = client.ask(data)
    problem = json.loads(answer.body)
    assert (answer.status, problem["status"]) == (status, status)
    assert (answer.get("Content-Type") or "").startswith("application/problem+json")
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert plain.log_text()[before:] == ""


def test_a_body_that_does_not_come_is_waited_for_ten_seconds_and_no_more(plain: Balancer) -> None:
    began = time.monotonic()
    with RawClient(plain.admin, timeout=15) as client:
        assert client.ask(post(HOST, length=10)).status == 408
    assert 9 < time.monotonic() - began < 12


def test_a_head_that_does_not_end_and_an_idle_connection_are_closed_after_ten_seconds(plain: Balancer) -> None:
    with RawClient(plain.admin, timeout=15) as slow, RawClient(plain.admin, timeout=15) as idle:
        began = time.monotonic()
        assert idle.ask(get("/healthz", HOST)).status == 200
        slow.send(b"GET /metrics HTTP/1.1\r\nHost: ")
        for client in (slow, idle):
            client.expect_closed(15)
            assert 9 < time.monotonic() - began < 13


def test_connections_that_only_are_there_keep_out_neither_people_nor_probes() -> None:
    check = {"type": "http", "path": "/", "interval": "500ms", "timeout": "400ms"}
    with (
        Recorder(answer=lambda _: respond(200)) as target,
        Balancer(
            configs.simple(target.address, health_check=check),
            before=["prlimit", "--nofile=256:256"],
        ) as balancer,
    ):
        control = balancer.control_pid()
        held = []
        for _ in range(300):
            held.append(socket.create_connection(balancer.admin))
            held[-1].sendall(b"GET / HTTP/1.1\r\n")
        assert kernel.descriptor_count(control) < 100
        seen = target.connections
        wait_for(lambda: target.connections > seen + 2, 5, "probes go on")
        assert balancer.get("/readyz")[0] == 200
        assert balancer.target("up", "up1")["state"] == "healthy"
        assert "a probe could not be made here" not in balancer.log_text()
        for one in held:
            one.close()


def test_who_does_not_take_an_answer_is_not_kept_for_ever(plain: Balancer) -> None:
    control = plain.control_pid()
    before = kernel.descriptor_count(control)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(plain.admin)
    with sock:
        began = time.monotonic()
        while time.monotonic() - began < 5:  # asks, and never reads
            try:
                sock.settimeout(0.2)
                sock.sendall(get("/api/v1/openapi.json", HOST))
            except OSError:
                break
        wait_for(lambda: kernel.descriptor_count(control) <= before, 40, "the connection is given up")
