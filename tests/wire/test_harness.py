"""The harness itself: a recorder or a client that lies would make every other test worthless."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import h11
import pytest

from tests.support import hostile, http1, kernel
from tests.support.balancer import Balancer
from tests.support.faults import blackhole, free_port, refusing
from tests.support.hostile import Hostile
from tests.support.http1 import BadMessage
from tests.support.metrics import Metrics
from tests.support.openloop import OpenLoop
from tests.support.opinion import requests_seen_by_h11
from tests.support.process import Proc
from tests.support.raw import Cut, RawClient, ask, request
from tests.support.recorder import Recorder, Seen, respond
from tests.support.waiting import wait_for


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder("r") as made:
        yield made


def address(upstream: Recorder | Hostile) -> tuple[str, int]:
    return upstream.host, upstream.port


GOOD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;e=f\r\nh\r\n0\r\nX-T: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\r\nY:\r\n\r\n",
]
BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n",
]


@pytest.mark.parametrize("data", GOOD, ids=range(len(GOOD)))
def test_the_recorder_reads_what_h11_reads(data: bytes, recorder: Recorder) -> None:
    with RawClient(address(recorder)) as client:
        client.send_apart([data[at : at + 1] for at in range(len(data))])
        assert client.recv_response().status == 200
    seen = recorder.requests[0]
    assert [(seen.head.start[0], seen.head.start[1], seen.body)] == requests_seen_by_h11(data)
    assert bytes(recorder.bytes_by_connection[0]) == data


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_the_recorder_refuses_all_but_one_spelling(data: bytes, recorder: Recorder) -> None:
    with RawClient(address(recorder)) as client:
        client.send(data)
        client.half_close()
        assert client.read_to_end() == b""
    wait_for(lambda: recorder.faults, 2.0, "a fault")
    assert not recorder.complete


def test_the_recorder_keeps_a_request_that_was_cut(recorder: Recorder) -> None:
    with RawClient(address(recorder)) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        client.half_close()
        client.read_to_end()
    assert [(one.complete, one.body) for one in recorder.requests] == [(False, b"hel")]


def test_h11_is_stricter_than_a_log_that_was_tampered_with() -> None:
    with pytest.raises(h11.RemoteProtocolError):
        requests_seen_by_h11(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n")


HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
@pytest.mark.parametrize("end", [hostile.close, hostile.rst])
def test_the_client_tells_a_cut_body_from_a_whole_one(data: bytes, end: hostile.Step) -> None:
    with Hostile(hostile.read_request, hostile.send_apart(data), end) as upstream:
        response = ask(address(upstream), request())
        assert not response.complete
        assert response.body.startswith(b"hel")


@pytest.mark.parametrize(
    ("data", "framing", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "length", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "chunked", b"hello"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "close", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "none", b""),
        (HINTS + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "length", b""),
    ],
)
def test_the_client_reads_one_whole_message(data: bytes, framing: str, body: bytes) -> None:
    with Hostile(hostile.read_request, hostile.send_apart(data), hostile.fin) as upstream:
        response = ask(address(upstream), request())
        assert (response.complete, response.framing, response.body) == (True, framing, body)
        assert [int(one.start[0]) for one in response.interim] == ([100, 103] if b"103" in data else [])


def test_the_client_reads_no_byte_of_the_next_message() -> None:
    two = respond(200, b"one") + respond(200, b"two")
    with (
        Hostile(hostile.read_request, hostile.send(two), hostile.stall) as upstream,
        RawClient(address(upstream)) as client,
    ):
        assert client.ask(request()).body == b"one"
        assert client.recv_response().body == b"two"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200\r\n\r\n",
        b"200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    ],
    ids=range(4),
)
def test_the_client_refuses_all_but_one_spelling(data: bytes) -> None:
    with Hostile(hostile.read_request, hostile.send(data), hostile.fin) as upstream, pytest.raises(BadMessage):
        ask(address(upstream), request())


def test_a_reset_is_seen_as_one() -> None:
    with Hostile(hostile.read_request, hostile.rst) as upstream, RawClient(address(upstream)) as client:
        client.send(request())
        with pytest.raises(Cut) as caught:
            client.recv_response()
        assert caught.value.end == "reset"


def test_a_silent_peer_costs_the_deadline_and_no_more() -> None:
    with Hostile(hostile.read_request, hostile.stall) as upstream, RawClient(address(upstream), 0.2) as client:
        client.send(request())
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            client.recv_response()
        assert 0.15 < time.monotonic() - before < 1.0
        assert client.has_nothing()


def test_pieces_arrive_apart() -> None:
    reads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def server() -> None:
            sock, _ = listener.accept()
            with sock:
                while data := sock.recv(100):
                    reads.append(data)

        thread = threading.Thread(target=server)
        thread.start()
        with RawClient(listener.getsockname()) as client:
            assert client.send_apart([b"a", b"bc", b"d"])
        thread.join(5)
    assert reads == [b"a", b"bc", b"d"]


def test_scripts_go_by_connection_and_the_last_one_stays() -> None:
    scripts: list[hostile.Script] = [[hostile.rst], [hostile.serve_well]]
    with Hostile(scripts=scripts) as upstream:
        with pytest.raises((Cut, OSError)):
            ask(address(upstream), request())
        assert [ask(address(upstream), request()).status for _ in range(2)] == [200, 200]
        upstream.play(hostile.read_request, hostile.send(respond(503)))
        assert ask(address(upstream), request()).status == 503


def test_a_refusing_and_a_swallowing_address_do_what_they_say() -> None:
    with refusing() as refused, socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", int(refused.split(":")[1])))
    with blackhole() as silent, socket.socket() as probe:
        probe.settimeout(0.3)
        with pytest.raises(TimeoutError):
            probe.connect(("127.0.0.1", int(silent.split(":")[1])))


def slow(seen: Seen) -> bytes:
    time.sleep(0.3)
    return respond(200, seen.mark.encode())


def test_the_open_loop_counts_from_due_time_and_waits_for_nobody() -> None:
    with Recorder(answer=slow) as upstream:
        report = OpenLoop(address(upstream), rate=100, duration=0.5, require_mark=True).run()
    assert (report.sent, report.answered, report.failed) == (50, 50, 0), report
    assert report.opened >= 25, "an open loop needs a connection for each request under way"
    assert 0.3 <= report.p50 < 0.6, report


def test_the_open_loop_sees_every_kind_of_loss() -> None:
    def answer(seen: Seen) -> bytes:
        number = int(seen.mark.rsplit("-", 1)[1])
        wrong = seen.mark.rsplit("-", 1)[0] + "-999999"
        return {
            0: respond(200, seen.mark.encode()),
            1: respond(200, wrong.encode()),
            2: respond(503),
            3: respond(200, b"").replace(b"Content-Length: 0", b"Content-Length: 9") + b"short",
            4: respond(200, b"no mark"),
            5: respond(200, seen.mark.encode()) + respond(200, b"unasked"),
            6: b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        }[number % 7]

    with Recorder(answer=answer) as upstream:
        report = OpenLoop(address(upstream), rate=200, duration=0.35, deadline=1.0, require_mark=True).run()
    assert report.sent == 70
    assert (report.mismatched, report.lost["unmarked"], report.statuses[503], report.duplicates) == (10, 10, 10, 10), (
        report
    )
    assert report.lost["no answer in time"] == 10, report
    assert sum(count for cause, count in report.lost.items() if cause.startswith("invalid answer")) == 10, report
    assert report.failed == 60, report


def test_the_open_loop_counts_refused_connections_as_lost() -> None:
    report = OpenLoop(("127.0.0.1", free_port()), rate=100, duration=0.1).run()
    assert report.failed == report.lost["connect: ConnectionRefusedError"] == 10


def test_a_frozen_process_is_seen_by_every_request_that_was_due() -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.support.recorder import Recorder\n"
        "r = Recorder(); print(r.port, flush=True); r._closing.wait()"
    )
    with Proc([sys.executable, "-c", code]) as proc:
        port = int(wait_for(lambda: proc.out.read_text() if proc.out.read_text().endswith("\n") else "", 10, "a port"))
        load = OpenLoop(("127.0.0.1", port), rate=100, duration=1.5).start()
        wait_for(lambda: load.elapsed() > 0.5, 5, "half a second of load")
        proc.stop()
        stopped = load.elapsed()
        wait_for(lambda: load.elapsed() > stopped + 0.5, 5, "half a second of silence")
        proc.cont()
        report = load.finish()
    assert report.failed == 0, report
    late = [one for one in report.samples if one.latency > 0.05]
    assert 30 <= len(late) <= 80, report
    assert 0.4 < report.worst < 1.5, report


def test_a_process_dies_with_its_test() -> None:
    with Proc([sys.executable, "-c", "import time; time.sleep(60)"]) as proc:
        assert kernel.is_running(proc.pid)
        assert os.getpgid(proc.pid) == proc.pid
        proc.kill(signal.SIGSTOP)
    assert not kernel.is_running(proc.pid)


def test_metrics_are_summed_by_name_and_label() -> None:
    lines = ('{a="1",b="2"} 3', '{a="1",b="3"} 4', '{a="2",b="3"} 5')
    text = "# TYPE balancer_x_total counter\n" + "".join(f"balancer_x_total{line}\n" for line in lines)
    metrics = Metrics.parse(text)
    assert (metrics.sum("x_total"), metrics.sum("balancer_x_total", a="1"), metrics.sum("x_total", b="9")) == (12, 7, 0)
    assert metrics.by("b", "x_total") == {"2": 3, "3": 9}


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01T00:00:00.000Z ERROR something broke",
        "Traceback (most recent call last):",
        "Task exception was never retrieved",
    ],
)
def test_trouble_in_the_log_is_found_once_and_may_be_expected(line: str) -> None:
    balancer = Balancer({})
    try:
        balancer.err.write_text("2026-01-01T00:00:00.000Z INFO no error at all\n")
        balancer.check_log()
        with balancer.err.open("a") as log:
            log.write(line + "\n")
        with pytest.raises(AssertionError, match="trouble in the log"):
            balancer.check_log()
        balancer.check_log()
        with balancer.expecting_log("broke|Traceback|never"), balancer.err.open("a") as log:
            log.write(line + "\n")
    finally:
        balancer.close()


def test_the_access_log_is_read_by_whole_lines() -> None:
    balancer = Balancer({})
    try:
        balancer.out.write_text('{"request_id": "a"}\n{"request_')
        assert balancer.access_log() == [{"request_id": "a"}]
        with balancer.out.open("a") as log:
            log.write('id": "b"}\n')
        assert balancer.logged("b", 0.1) == {"request_id": "b"}
        with balancer.out.open("a") as log:
            log.write('{"request_id": "b"}\n')
        with pytest.raises(AssertionError):
            balancer.logged("b", 0.1)
    finally:
        balancer.close()


def test_the_kernel_tells_which_sockets_a_process_holds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as mine:
        theirs, _ = listener.accept()
        with theirs:
            held = {(one.local, one.state) for one in kernel.tcp_sockets(os.getpid())}
            assert {(listener.getsockname(), "listen"), (mine.getsockname(), "established")} <= held
            mine.send(b"hello")
            assert kernel.unread_bytes(theirs.getsockname(), mine.getsockname()) == 5
            assert theirs.recv(9) == b"hello"
            assert kernel.peer_has_read(mine)


def test_waiting_says_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match="the moon: not within"):
        wait_for(lambda: False, 0.02, "the moon")


def test_chunk_lines_and_trailers_are_read_strictly() -> None:
    assert http1.chunk_size(b"1a") == 26
    assert http1.chunked(b"ab", b"c") == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    for line in (b"", b" 1", b"1 ", b"+1", b"0x1", b"1_0", b"f" * 16, b"1;a\rb"):
        with pytest.raises(BadMessage):
            http1.chunk_size(line)
