"""Deadlines and limits on both sides: who is slow, silent or too many gets the right word, and nobody else pays."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support import hostile, http1, kernel
from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener
from tests.support.failure import expect_counted, expect_failure, reason_of
from tests.support.faults import Swallower
from tests.support.hostile import Hostile
from tests.support.raw import Cut, RawClient, ask, request
from tests.support.recorder import Recorder, respond
from tests.support.stream import Stream
from tests.support.upstream import Upstream
from tests.support.waiting import pace, wait_for

CLIENT = {
    "first_byte": "500ms",
    "request_header": "600ms",
    "request_body_idle": "500ms",
    "keep_alive": "500ms",
    "write_idle": "500ms",
}
LATEST = 0.25


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made


@pytest.fixture(scope="module")
def peer() -> Iterator[Hostile]:
    with Hostile() as made:
        yield made


@pytest.fixture(scope="module")
def swallower() -> Iterator[Swallower]:
    with Swallower() as made:
        yield made


@pytest.fixture(scope="module")
def balancer(recorder: Recorder, peer: Hostile, swallower: Swallower) -> Iterator[Balancer]:
    groups = {
        "hostile": group("hostile", peer.address),
        "short": group("short", peer.address, timeouts={"request": "600ms"}),
        "idle": group("idle", recorder.address, timeouts={"upstream_idle": "500ms"}),
        "swallower": group("swallower", swallower.address, timeouts={"request_write_idle": "500ms"}),
        "queue": group("queue", peer.address, max_connections=1, queue={"size": 1, "timeout": "500ms"}),
        "recorder": group("recorder", recorder.address),
    }
    rules = [*(forward(name, hosts=[f"{name}.test"]) for name in groups if name != "recorder"), forward("recorder")]
    config = {
        "listeners": [
            listener("web", rules),
            listener("strict", rules, timeouts=CLIENT),
            listener("small-head", rules, limits={"head": "1KiB"}),
            listener("per-client", rules, limits={"connections_per_client": 2}),
            listener("two", rules, limits={"connections": 2}),
        ],
        "target_groups": list(groups.values()),
    }
    with Balancer(config) as made:
        yield made


def expect_between(started: float, limit: float) -> None:
    """Deadlines fall between the limit and, on a busy machine, twice the limit and the step of the wheel."""
    took = time.monotonic() - started
    assert limit - 0.01 <= took <= 2 * limit + LATEST, f"{took:.3f} s for a limit of {limit} s"


def fenced(balancer: Balancer) -> int:
    """Return the number of lines in the access log, up to that of one more request."""
    answer = ask(balancer.address(), request())
    assert answer.status == 200
    balancer.logged(answer.get("X-Request-ID") or "")
    return len(balancer.access_log())


# -- the client's side


def test_a_client_that_says_nothing_is_let_go_without_a_word(balancer: Balancer) -> None:
    lines = fenced(balancer)
    with RawClient(balancer.address("strict")) as client:
        started = time.monotonic()
        client.expect_closed()
        expect_between(started, 0.5)
    assert fenced(balancer) == lines + 1, "only that of the fence"


@pytest.mark.parametrize("how", ["stops", "drips"])
def test_a_head_that_does_not_end_is_a_408_at_an_absolute_deadline(how: str, balancer: Balancer) -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 1000
    with RawClient(balancer.address("strict")) as client:
        started = time.monotonic()
        client.send(data[:40])
        for at in range(40, 100):
            if how == "stops" or not client.has_nothing():
                break
            client.send(data[at : at + 1])
            pace(0.05)
        response = client.recv_response()
        expect_between(started, 0.6)
        assert response.closes
        client.expect_closed()
    expect_failure(response, balancer, "client_header_timeout", 408)


@pytest.mark.parametrize("coding", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_body_that_stops_is_a_408_and_is_not_finished_upstream(
    coding: str, balancer: Balancer, recorder: Recorder
) -> None:
    first = len(recorder.complete)
    with RawClient(balancer.address("strict")) as client:
        client.send(request("POST", "/", coding) + b"5\r\nhel")
        started = time.monotonic()
        response = client.recv_response()
        expect_between(started, 0.5)
        assert response.closes
        client.expect_closed()
    expect_failure(response, balancer, "client_body_timeout", 408)
    assert len(recorder.complete) == first


def test_a_slow_body_that_keeps_coming_is_served(balancer: Balancer) -> None:
    with RawClient(balancer.address("strict")) as client:
        client.send(request("POST", "/", "Content-Length: 8"))
        for _ in range(8):
            pace(0.2)
            client.send(b"a")
        assert client.recv_response().body == b"a" * 8


def test_an_idle_client_connection_is_closed_without_a_word(balancer: Balancer) -> None:
    with RawClient(balancer.address("strict")) as client:
        assert client.ask(request()).status == 200
        started = time.monotonic()
        client.expect_closed()
        expect_between(started, 0.5)


def test_a_client_that_stops_reading_is_let_go(balancer: Balancer, peer: Hostile) -> None:
    flood = hostile.loop(hostile.send(b"a" * 65536))
    peer.play(
        scripts=[
            [hostile.read_request, hostile.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"), flood],
            [hostile.serve_well],
        ]
    )
    with RawClient(balancer.address("strict"), receive_buffer=65536) as client:
        client.send(request(host="hostile.test"))
        wait_for(lambda: peer.heads, 2.0, "the request is upstream")
        wait_for(lambda: not peer.open, 5.0, "the upstream request is cancelled")
    expect_counted(balancer, "client_too_slow")


def test_a_client_that_reads_slowly_without_pause_is_served_on(balancer: Balancer, peer: Hostile) -> None:
    """The kernel holds more than it reads in all this time, so that not a byte leaves our own buffer meanwhile."""
    flood = hostile.loop(hostile.send(b"a" * 65536))
    head = hostile.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    peer.play(scripts=[[hostile.read_request, head, flood], [hostile.serve_well]])
    with RawClient(balancer.address("strict"), receive_buffer=8192) as client:
        client.send(request(host="hostile.test"))
        until = time.monotonic() + 4 * 0.5 + LATEST
        while time.monotonic() < until:
            assert client.sock.recv(2048)
            pace(0.02)
        started = time.monotonic()  # now it stops
        wait_for(lambda: not peer.open, 5.0, "the upstream request is cancelled")
        assert time.monotonic() - started <= 2 * 0.5 + 2 * LATEST


def test_the_head_limit_is_the_listeners(balancer: Balancer) -> None:
    address = balancer.address("small-head")
    assert ask(address, request("GET", "/", "X-A: " + "a" * 800)).status == 200
    expect_failure(ask(address, request("GET", "/", "X-A: " + "a" * 1100)), balancer, "header_too_large", 431)


def test_one_client_has_no_more_connections_than_it_may(balancer: Balancer) -> None:
    address = balancer.address("per-client")
    with RawClient(address) as one, RawClient(address) as two:
        assert (one.ask(request()).status, two.ask(request()).status) == (200, 200)
        with RawClient(address) as three:
            three.send(request())
            response = three.recv_response()
            assert (response.status, reason_of(response)) == (429, "ip_connection_limit")
            three.expect_closed()
        with RawClient(address, source="127.0.0.9") as elsewhere:
            assert elsewhere.ask(request()).status == 200
    wait_for(lambda: serves(address), 2.0, "a freed place serves again")


def serves(address: tuple[str, int]) -> bool:
    try:
        return ask(address, request()).status == 200
    except (Cut, OSError):
        return False


def test_a_full_listener_lets_clients_wait_in_the_backlog(balancer: Balancer) -> None:
    address = balancer.address("two")
    with RawClient(address) as one, RawClient(address) as two:
        assert (one.ask(request()).status, two.ask(request()).status) == (200, 200)
        with RawClient(address) as three:
            three.send(request())
            assert ask(balancer.address(), request()).status == 200
            assert three.has_nothing()
            one.close()
            assert three.recv_response().status == 200


# -- the upstream's side


def test_a_pooled_connection_is_closed_after_upstream_idle(balancer: Balancer, recorder: Recorder) -> None:
    assert ask(balancer.address(), request(host="idle.test")).status == 200
    number = recorder.requests[-1].number
    started = time.monotonic()
    wait_for(lambda: number not in recorder.open, 3.0, "the idle connection is closed")
    expect_between(started, 0.5)


def test_the_whole_request_has_a_limit_when_asked_for(balancer: Balancer, peer: Hostile) -> None:
    peer.play(scripts=[[hostile.read_request, hostile.stall], [hostile.serve_well]])
    started = time.monotonic()
    expect_failure(ask(balancer.address(), request(host="short.test")), balancer, "request_timeout", 504)
    expect_between(started, 0.6)
    wait_for(lambda: not peer.open, 2.0, "the upstream request is cancelled")


def test_an_upstream_that_takes_no_bytes_is_a_504(balancer: Balancer) -> None:
    with RawClient(balancer.address(), timeout=10) as client:
        client.send(request("POST", "/", "Content-Length: 100000000", host="swallower.test"))
        client.sock.settimeout(5)
        try:
            while client.has_nothing():
                client.sock.settimeout(0.1)
                client.sock.send(b"a" * 65536)
        except TimeoutError:
            pass  # everything on the way is full: now only the deadline can end it
        except OSError:
            pass
        response = client.recv_response()
        assert response.closes
    expect_failure(response, balancer, "upstream_write_timeout", 504)


class SteadyReader(Upstream):
    """Has little room and reads 100 kB/s without a pause, until it is told to stop."""

    def __init__(self) -> None:
        self.stops, self.released = threading.Event(), threading.Event()
        super().__init__()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def serve(self, stream: Stream, number: int) -> None:
        while not self.stops.is_set():
            stream.sock.recv(2048)
            pace(0.02)
        self.released.wait(30)

    def close(self) -> None:
        self.stops.set()
        self.released.set()
        super().close()


def test_a_target_that_takes_the_body_slowly_without_pause_is_waited_for() -> None:
    with (
        SteadyReader() as steady,
        Balancer(
            {
                "listeners": [listener("web", [forward("steady")])],
                "target_groups": [group("steady", steady.address, timeouts={"request_write_idle": "500ms"})],
            }
        ) as made,
        RawClient(made.address(), timeout=10) as client,
    ):
        client.send(request("POST", "/", "Content-Length: 100000000"))
        until = time.monotonic() + 4 * 0.5 + LATEST
        while time.monotonic() < until and client.has_nothing():
            client.sock.setblocking(False)
            try:
                client.sock.send(b"a" * 65536)
            except BlockingIOError:
                pace(0.01)
        assert client.has_nothing() and steady.accepted == 1
        steady.stops.set()
        client.sock.settimeout(10)
        expect_failure(client.recv_response(), made, "upstream_write_timeout", 504)


class LateReader(Upstream):
    """Has little room, reads nothing for a while, then reads the whole request and answers."""

    def __init__(self, after: float) -> None:
        self.after = after
        super().__init__()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def serve(self, stream: Stream, number: int) -> None:
        pace(self.after)
        head = http1.request_head(stream.read_until(b"\r\n\r\n"))
        body = stream.read_body(http1.body_length(head), timeout=20)
        stream.send(respond(200, b"%d" % body.size))


def test_a_target_that_lives_and_reads_late_is_not_taken_for_dead() -> None:
    """The kernel's 10 s for a peer that acknowledges nothing do not count for one whose window is closed."""
    sizes = (50_000, 8_000_000)  # one that fits in the kernel, and one that does not
    with (
        LateReader(13.0) as late,
        Balancer(
            {"listeners": [listener("web", [forward("late")])], "target_groups": [group("late", late.address)]}
        ) as made,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(RawClient(made.address(), timeout=30)) for _ in sizes]
        senders = []
        for client, size in zip(clients, sizes, strict=True):
            data = request("POST", "/", f"Content-Length: {size}") + b"a" * size
            senders.append(threading.Thread(target=client.sock.sendall, args=(data,)))
            client.sock.settimeout(30)
            senders[-1].start()
        for sender in senders:
            sender.join()
        for client, size in zip(clients, sizes, strict=True):
            response = client.recv_response()
            assert (response.status, response.body) == (200, b"%d" % size)


def test_a_full_group_queues_one_and_refuses_the_next(balancer: Balancer, peer: Hostile) -> None:
    peer.play(scripts=[[hostile.read_request, hostile.stall], [hostile.serve_well]])
    address, data = balancer.address(), request(host="queue.test")
    with RawClient(address) as busy, RawClient(address) as waiting, RawClient(address) as late:
        busy.send(data)
        wait_for(lambda: peer.heads, 2.0, "the first request is upstream")
        started = time.monotonic()
        assert waiting.send_apart([data])
        expect_failure(late.ask(data), balancer, "queue_full", 503)
        response = waiting.recv_response()
        expect_between(started, 0.5)
        expect_failure(response, balancer, "queue_timeout", 503)
        busy.reset()


def test_a_queued_request_is_served_when_a_place_is_free(balancer: Balancer, peer: Hostile) -> None:
    peer.play(hostile.serve_well)
    peer.play(scripts=[[hostile.read_request, hostile.stall], [hostile.serve_well]])
    address, data = balancer.address(), request(host="queue.test")
    with RawClient(address) as busy, RawClient(address) as waiting:
        busy.send(data)
        wait_for(lambda: peer.heads, 2.0, "the first request is upstream")
        assert waiting.send_apart([data])
        busy.reset()
        assert waiting.recv_response().status == 200


def test_slow_clients_do_not_keep_others_waiting(balancer: Balancer) -> None:
    address = balancer.address()
    slow = [RawClient(address) for _ in range(100)]
    try:
        for client in slow:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a")
        started = time.monotonic()
        for _ in range(20):
            assert ask(address, request()).status == 200
        assert time.monotonic() - started < 2.0
    finally:
        for client in slow:
            client.close()


FEW = ("sh", "-c", 'ulimit -n 100; exec "$@"', "sh")


def test_more_clients_than_descriptors_wait_and_nobody_is_sent_away(recorder: Recorder) -> None:
    """Of a hundred descriptors; the first request comes when they are nearly gone, so nothing may have to be loaded."""
    config = {"listeners": [listener("web", [forward("g")])], "target_groups": [group("g", recorder.address)]}
    with Balancer(config, before=FEW) as made, ExitStack() as stack:
        pid = made.worker_pids()[0]
        clients = []
        for _ in range(100):
            clients.append(stack.enter_context(socket.socket()))
            clients[-1].setblocking(False)
            clients[-1].connect_ex(made.address())
        wait_for(lambda: made.metrics().by("reason", "failures_total")["no_local_resources"], 5.0, "it is counted")
        spent = kernel.cpu_seconds(pid)
        pace(0.5)
        assert kernel.cpu_seconds(pid) - spent < 0.25, "it spins"
        assert 80 <= kernel.descriptor_count(pid) <= 95
        for client in clients[:30]:
            client.settimeout(5.0)
            client.sendall(request())
            assert client.recv(12) == b"HTTP/1.1 200"
        for client in clients[:30]:
            client.close()
        for client in clients[60:90]:  # they waited in the kernel's queue, or in its next try to be in it
            client.settimeout(10.0)
            client.sendall(request())
            assert client.recv(12) == b"HTTP/1.1 200"
        for client in clients:
            client.close()
        for _ in range(20):
            assert ask(made.address(), request()).status == 200
        assert made.worker_pids() == [pid]
        made.told("run out")


def test_a_request_that_came_while_the_worker_stood_still_is_answered_though_its_connections_time_is_over(
    balancer: Balancer,
) -> None:
    (worker,) = balancer.worker_pids()
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(balancer.address("strict"))) for _ in range(10)]
        assert all(client.ask(request()).status == 200 for client in clients)
        os.kill(worker, signal.SIGSTOP)
        try:
            pace(0.8)  # longer than keep_alive
            for client in clients:
                client.send(request())
        finally:
            os.kill(worker, signal.SIGCONT)
        answers = [client.recv_response() for client in clients]
    assert [answer.status for answer in answers] == [200] * 10


@pytest.mark.parametrize("behind", ["", "\r\n", "\r\n\r\n"])
def test_a_client_that_has_ended_is_let_go_after_its_answer_whatever_empty_lines_it_sent(
    balancer: Balancer, behind: str
) -> None:
    for name in ("web", "strict"):
        with RawClient(balancer.address(name)) as client:
            client.send(request() + behind.encode())
            client.half_close()
            assert client.recv_response().status == 200
            assert client.expect_closed(2.0) == "fin"
