"""The demo backend keeps its own promises: what it answers, how it fails, how it stops."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Iterator

import aiohttp
import pytest

from tests.support.process import Backend
from tests.support.raw import RawClient, Response, ask, request
from tests.support.stream import Cut
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def shared() -> Iterator[Backend]:
    with Backend("a1", "zone-a") as backend:
        yield backend


@pytest.fixture
def backend(shared: Backend) -> Iterator[Backend]:
    yield shared
    if shared.running:
        turn(shared, "off")


def where(backend: Backend) -> tuple[str, int]:
    return "127.0.0.1", backend.port


def get(backend: Backend, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Response:
    return ask(where(backend), request(method, target, *headers, body=body))


def turn(backend: Backend, mode: str) -> None:
    answer = get(backend, f"/fail?mode={mode}", method="POST")
    assert answer.status == 200, answer.body


def total(backend: Backend) -> int:
    return int(get(backend, "/count").json()["total"])


def test_any_path_says_who_answers_and_what_was_asked(backend: Backend) -> None:
    answer = get(backend, "/shop/cart?item=7", "X-Twice: one", "X-Twice: two", method="POST", body=b"hello")
    said = answer.json()
    assert answer.status == 200
    assert (said["name"], said["zone"], said["method"], said["path"]) == ("a1", "zone-a", "POST", "/shop/cart")
    assert said["query"] == "item=7"
    assert said["headers"]["X-Twice"] == "one, two"
    assert said["body_bytes"] == 5
    assert (answer.get("X-Backend"), answer.get("X-Zone")) == ("a1", "zone-a")


ANSWERS = [
    ("health is a plain 200", "GET", "/healthz", 200),
    ("a status is the one asked for", "GET", "/status/418", 418),
    ("a 204 has no body", "GET", "/status/204", 204),
    ("a 304 has no body", "GET", "/status/304", 304),
    ("an impossible status is the caller's fault", "GET", "/status/99", 400),
    ("a missing status is the caller's fault", "GET", "/status", 400),
    ("a wait that is no number is the caller's fault", "GET", "/slow?ms=soon", 400),
    ("a HEAD of a stream has no body", "HEAD", "/bytes/1000000", 200),
    ("a wrong mode of failing changes nothing", "POST", "/fail?mode=explode", 400),
]


@pytest.mark.parametrize(("method", "target", "status"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_an_answer_has_the_status_it_should(backend: Backend, method: str, target: str, status: int) -> None:
    with RawClient(where(backend)) as client:
        assert client.ask(request(method, target)).status == status
        # The next answer on the connection is whole: nothing was left over from the one before.
        assert client.ask(request("GET", "/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1_000_003])
@pytest.mark.parametrize("chunked", [False, True])
def test_bytes_are_the_pattern_of_their_positions(backend: Backend, size: int, chunked: bool) -> None:
    answer = get(backend, f"/bytes/{size}{'?chunked=1' if chunked else ''}")
    assert answer.framing == ("chunked" if chunked else "length")
    assert answer.body == (bytes(range(256)) * (size // 256 + 1))[:size]


def test_echo_gives_the_body_back_while_it_still_comes(backend: Backend) -> None:
    with RawClient(where(backend)) as client:
        client.send(request("PUT", "/echo", "Transfer-Encoding: chunked", "Content-Type: text/x-test"))
        client.send(b"5\r\nfirst\r\n")
        head = client.recv_head()
        assert head.get("content-type") == b"text/x-test"
        assert client.read_until(b"first\r\n").endswith(b"5\r\nfirst\r\n")
        client.send(b"6\r\nsecond\r\n0\r\n\r\n")
        assert client.read_until(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"


def test_a_compressed_body_comes_back_as_it_was_sent(backend: Backend) -> None:
    body = bytes.fromhex("1f8b") + bytes(range(200))
    answer = get(backend, "/echo", "Content-Encoding: gzip", method="POST", body=body)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()


def test_a_client_that_waits_for_100_continue_gets_it(backend: Backend) -> None:
    with RawClient(where(backend)) as client:
        client.send(request("POST", "/echo", "Expect: 100-continue", "Content-Length: 3"))
        assert client.recv_head().start[0] == b"100"
        client.send(b"abc")
        assert client.recv_response("POST").body == b"abc"


def test_events_come_one_by_one(backend: Backend) -> None:
    answer = get(backend, "/sse?n=3&ms=1")
    assert answer.get("Content-Type") == "text/event-stream"
    assert [block.split(b"\n")[0] for block in answer.body.split(b"\n\n")[:-1]] == [b"id: 1", b"id: 2", b"id: 3"]


async def test_a_websocket_gives_back_text_and_binary(backend: Backend) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{backend.address}/ws") as socket:
        await socket.send_str("grüße")
        assert await socket.receive_str(timeout=5) == "grüße"
        await socket.send_bytes(bytes(range(256)))
        assert await socket.receive_bytes(timeout=5) == bytes(range(256))


def test_the_count_leaves_out_health_checks_and_itself(backend: Backend) -> None:
    before = total(backend)
    for target in ("/", "/healthz", "/count", "/fail", "/status/200", "/shop"):
        get(backend, target)
    assert total(backend) == before + 3


def test_failing_health_leaves_traffic_alone(backend: Backend) -> None:
    turn(backend, "healthz")
    assert get(backend, "/healthz").status == 503
    assert get(backend, "/").status == 200


def test_a_failing_status_may_spare_health(backend: Backend) -> None:
    turn(backend, "status:502&health=pass")
    assert get(backend, "/").status == 502
    assert get(backend, "/healthz").status == 200


@pytest.mark.parametrize(("mode", "end"), [("reset", "reset"), ("close", "fin")])
def test_a_connection_ends_as_the_switch_says(backend: Backend, mode: str, end: str) -> None:
    turn(backend, mode)
    for target in ("/", "/healthz"):
        with RawClient(where(backend)) as client:
            client.send(request("GET", target))
            with pytest.raises(Cut):
                client.recv_response()
            assert client.end == end


def test_a_request_that_hangs_is_answered_when_the_switch_is_turned_off(backend: Backend) -> None:
    turn(backend, "hang")
    with RawClient(where(backend)) as client:
        seen = total(backend)
        client.send(request("GET", "/"))
        wait_for(lambda: total(backend) > seen, what="the request is in")
        assert client.has_nothing()
        turn(backend, "off")
        assert client.recv_response().status == 200


def test_a_fault_for_two_requests_ends_by_itself(backend: Backend) -> None:
    turn(backend, "status:500&times=2")
    assert [get(backend, "/").status for _ in range(3)] == [500, 500, 200]


def test_a_port_in_use_is_said_in_one_line(backend: Backend) -> None:
    with pytest.raises(AssertionError, match=r"ended with 1: 127\.0\.0\.1:\d+: cannot listen: .*choose another --port"):
        Backend("a2", port=backend.port)


async def test_sigterm_finishes_what_runs_and_lets_go_of_the_rest() -> None:
    with Backend("b1", "zone-b") as backend:
        turn(backend, "hang&times=1")
        with RawClient(where(backend)) as hanging, RawClient(where(backend)) as running, RawClient(where(backend)):
            hanging.send(request("GET", "/"))
            await asyncio.to_thread(wait_for, lambda: total(backend) == 1)
            running.send(request("GET", "/slow?ms=400"))
            await asyncio.to_thread(wait_for, lambda: total(backend) == 2)
            async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{backend.address}/ws") as socket:
                backend.kill(signal.SIGTERM)
                closing = await socket.receive(timeout=5)
                assert closing.data == aiohttp.WSCloseCode.GOING_AWAY
            answer = await asyncio.to_thread(running.recv_response)
            assert answer.status == 200
            with pytest.raises(Cut):
                await asyncio.to_thread(hanging.recv_response)
        assert await asyncio.to_thread(backend.process.wait, 3) == 0
