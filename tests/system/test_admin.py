"""The admin server among clients that lie, stall, or only hold their connections."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import configs, kernel
from tests.support.balancer import Balancer
from tests.support.process import ROOT, Proc
from tests.support.raw import RawClient, Response
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


_REFUSED = "admin change was refused"  # a line of its own, about writes that were turned away
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
def test_what_cannot_be_taken_is_a_problem_and_no_trouble_in_the_log(plain: Balancer, data: bytes, status: int) -> None:
    before = settled(plain)
    with RawClient(plain.admin) as client:
        answer = client.ask(data)
    problem = json.loads(answer.body)
    assert (answer.status, problem["status"]) == (status, status)
    assert (answer.get("Content-Type") or "").startswith("application/problem+json")
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert [one for one in plain.log_text()[before:].splitlines() if " INFO " not in one and _REFUSED not in one] == []


def test_a_body_that_does_not_come_is_waited_for_ten_seconds_and_no_more(plain: Balancer) -> None:
    began = time.monotonic()
    with RawClient(plain.admin, timeout=15) as client:
        assert client.ask(post(HOST, length=10)).status == 408
    assert 9 < time.monotonic() - began < 12


BODIES = [b"", b"nonsense", b"[" * 30_000, b'{"a":' * 10_000, b"\xff", b'{"weight": 1' + b"0" * 5_000 + b"}"]


@pytest.mark.parametrize("body", BODIES, ids=[repr(body[:12]) for body in BODIES])
def test_a_body_that_says_nothing_is_a_problem_and_no_trouble_in_the_log(plain: Balancer, body: bytes) -> None:
    for method, path in (("POST", "/api/v1/drills"), ("PUT", "/api/v1/target_groups/up/targets/up1/weight")):
        answer = ask(plain, method, path, body=body)
        assert (answer.status, json.loads(answer.body)["status"]) == (400, 400)
    plain.check_log()


def test_a_body_for_what_does_not_exist_is_not_waited_for(plain: Balancer) -> None:
    for path, status in (("/healthz", 405), ("/nowhere", 404)):
        began = time.monotonic()
        with RawClient(plain.admin, timeout=15) as client:
            answer = client.ask(f"POST {path} HTTP/1.1\r\n{HOST}\r\nContent-Length: 10\r\n\r\n".encode())
            assert answer.status == status
        assert time.monotonic() - began < 5


def test_clients_that_owe_a_body_keep_nobody_out(plain: Balancer) -> None:
    held = []
    for _ in range(110):
        held.append(socket.create_connection(plain.admin))
        with contextlib.suppress(OSError):  # it has made room for a later one
            held[-1].sendall(post(HOST, length=10))
    began = time.monotonic()
    for path in ("/healthz", "/readyz", "/api/v1/status"):
        with RawClient(plain.admin) as client:
            assert client.ask(get(path, HOST)).status == 200
    assert time.monotonic() - began < 5
    for one in held:
        one.close()


def test_who_leaves_within_a_body_is_no_trouble_and_writes_no_line_of_its_own(plain: Balancer) -> None:
    before = settled(plain)
    path = "/api/v1/drills/%0a2026-01-01T00:00:00.000Z%20INFO%20forged%1b%5b2J%C2%9B2J%7F/stop"
    with RawClient(plain.admin) as client:
        client.send(f"POST {path} HTTP/1.1\r\n{HOST}\r\nContent-Length: 30\r\n\r\nabc".encode())

    def lines() -> list[str]:
        return [one for one in plain.log_text()[before:].split("\n") if "forged" in one]

    wait_for(lambda: lines() != [], 5, "the attempt is told")
    assert len(lines()) == 1 and " INFO admin change was asked for from=" in lines()[0]
    assert lines()[0].isprintable()
    plain.check_log()


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


# Who may change things, and what is left of it


def test_a_unix_socket_is_enough_for_every_command_and_survives_control(tmp_path: Path) -> None:
    at = tmp_path / "admin.sock"
    admin = f"unix:{at}"
    with Recorder() as recorder:
        config = configs.simple(recorder.address)
        file = tmp_path / "balancer.yaml"
        file.write_text(yaml.safe_dump({**config, "admin": {"address": admin}, "workers": 1}))
        with Proc([sys.executable, "-m", "balancer", "run", str(file)]) as balancer:
            wait_for(lambda: run_for(admin, "health").returncode == 0, 15, "it is ready")
            status = json.loads(run_for(admin, "status", "--json").stdout)
            assert status["target_groups"][0]["name"] == "up"
            assert run_for(admin, "plan", str(file)).returncode == 0
            assert "no change" in run_for(admin, "reload").stdout
            log = balancer.err.read_text()
            assert f"INFO admin on {admin}" in log
            told = rf'asked for, nothing changed from="uid {os.getuid()} pid \d+" request="POST /api/v1/reload"'
            assert re.search(f"admin change was {told}", log)
            os.kill(status["control"]["pid"], signal.SIGKILL)
            wait_for(lambda: run_for(admin, "health").returncode == 0, 15, "control is back behind the same path")
            assert json.loads(run_for(admin, "status", "--json").stdout)["control"]["pid"] != status["control"]["pid"]
            assert balancer.terminate() == 0
        assert not at.exists()
        assert "nothing answers at unix:" in run_for(admin, "status").stderr


def run_for(admin: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "balancer", *words, "--admin", admin]
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=30)


def settled(balancer: Balancer) -> int:
    """Return the length of the log once all that was said so far stands in it: a thread of its own writes it."""
    mark = f"/api/v1/drills/mark-{time.monotonic_ns()}/stop"
    ask(balancer, "POST", mark)
    wait_for(lambda: mark in balancer.log_text(), 5, "the mark is in the log")
    return len(balancer.log_text())


def ask(balancer: Balancer, method: str, path: str, *headers: str, body: bytes = b"") -> Response:
    lines = (f"{method} {path} HTTP/1.1", HOST, f"Content-Length: {len(body)}", *headers)
    with RawClient(balancer.admin) as client:
        return client.ask("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def test_a_write_on_what_has_changed_since_is_refused(plain: Balancer) -> None:
    target = "/api/v1/target_groups/up/targets/up1"
    tag = ask(plain, "GET", target).get("ETag")
    assert tag is not None
    assert ask(plain, "GET", target).get("ETag") == tag, "what only passes by does not change it"
    first = ask(plain, "PUT", f"{target}/weight", f"If-Match: {tag}", body=b'{"weight": 5}')
    assert (first.status, first.get("ETag") != tag) == (200, True)
    second = ask(plain, "PUT", f"{target}/weight", f"If-Match: {tag}", body=b'{"weight": 7}')
    assert (second.status, second.get("Content-Type")) == (412, "application/problem+json; charset=utf-8")
    assert second.get("ETag") == first.get("ETag")
    assert plain.target("up", "up1")["weight"] == 5
    assert ask(plain, "DELETE", f"{target}/weight", "If-Match: nonsense").status == 400
    assert ask(plain, "DELETE", f"{target}/weight", "If-Match: *").status == 200
    assert ask(plain, "GET", target).get("ETag") == tag
    config = ask(plain, "GET", "/api/v1/config").get("ETag")
    assert ask(plain, "POST", "/api/v1/reload", f"If-Match: {config}").status == 200
    assert ask(plain, "POST", "/api/v1/reload", 'If-Match: "another"').status == 412


def test_each_change_and_each_refused_attempt_is_a_line_in_the_log(plain: Balancer) -> None:
    before = settled(plain)
    ask(plain, "PUT", "/api/v1/target_groups/up/targets/up1/weight", body=b'{"weight": 7}')
    ask(plain, "PUT", "/api/v1/target_groups/up/targets/up1/weight", body=b"nonsense")
    ask(plain, "POST", "/api/v1/reload", "Origin: http://evil.example")
    ask(plain, "GET", "/api/v1/status")

    def lines() -> list[str]:
        return [one for one in plain.log_text()[before:].splitlines() if "admin change" in one]

    wait_for(lambda: len(lines()) == 3, 3, lambda: f"three lines: {lines()}")
    made, asked, refused = (re.sub(r"^\S+ |(?<=127.0.0.1:)\d+", "", one) for one in lines())
    path = "/api/v1/target_groups/up/targets/up1/weight"
    assert made == f'INFO admin change was made from=127.0.0.1: request="PUT {path}" status=200'
    assert asked == f'INFO admin change was asked for from=127.0.0.1: request="PUT {path}" status=400'
    assert refused == 'WARNING admin change was refused from=127.0.0.1: request="POST /api/v1/reload" status=403'


def test_a_write_that_changes_nothing_is_not_said_to_have_changed_something(plain: Balancer) -> None:
    target = "/api/v1/target_groups/up/targets/up1"
    ask(plain, "POST", f"{target}/drain")
    ask(plain, "POST", f"{target}/undrain")
    ask(plain, "DELETE", f"{target}/weight")
    before = settled(plain)
    assert ask(plain, "POST", f"{target}/undrain").status == 200
    assert ask(plain, "DELETE", f"{target}/weight").status == 200
    assert ask(plain, "POST", "/api/v1/reload").status == 200
    told = "admin change was asked for, nothing changed"
    wait_for(lambda: plain.log_text()[before:].count(told) == 3, 3, "three lines")
    assert "admin change was made" not in plain.log_text()[before:].partition(told)[2]


def test_a_group_that_is_none_is_refused_however_it_is_written(plain: Balancer) -> None:
    before = settled(plain)
    for group in (rb"\ud800", b"g" * 60_000, b"demo"):
        answer = ask(plain, "POST", "/api/v1/drills", body=b'{"zone":"zone-a","group":"' + group + b'"}')
        assert answer.status == 404
        assert len(answer.body) < 1000
    log = plain.log_text()[before : settled(plain)]
    assert "Traceback" not in log
    assert max(map(len, log.splitlines())) < 1000


def test_several_lines_of_if_match_are_one_list(plain: Balancer) -> None:
    target = "/api/v1/target_groups/up/targets/up1"
    tag = ask(plain, "GET", target).get("etag")
    other = 'If-Match: "old"'
    assert ask(plain, "DELETE", f"{target}/weight", f"{other}\r\nIf-Match: {tag}").status == 200
    assert ask(plain, "DELETE", f"{target}/weight", f'{other}\r\nIf-Match: "older"').status == 412
    assert ask(plain, "DELETE", f"{target}/weight", "If-Match: *\r\nIf-Match: garbage").status == 400
