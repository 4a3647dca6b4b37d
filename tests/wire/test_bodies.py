"""Big and odd bodies: every byte arrives, in order, and none of it stays in the balancer."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator

import pytest

from tests.support import kernel
from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener
from tests.support.failure import expect_failure
from tests.support.http1 import chunked
from tests.support.raw import RawClient, ask, request
from tests.support.recorder import Recorder, Seen, respond
from tests.support.stream import Stream
from tests.support.upstream import Upstream
from tests.support.waiting import wait_for

MIB = 1024 * 1024
BIG = 64 * MIB
GROWTH = 32 * MIB
BLOCK = bytes(itertools.islice(itertools.cycle(range(251)), MIB))
BIG_SHA256 = hashlib.sha256(BLOCK * 64).hexdigest()
marks = itertools.count()
Address = tuple[str, int]


def answer(seen: Seen) -> bytes | Iterator[bytes]:
    """`/down` sends 64 MiB, `/down-chunked` the same in chunks; else the digest and the size of what came."""
    if seen.target == "/down":
        return itertools.chain([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG], itertools.repeat(BLOCK, 64))
    if seen.target == "/down-chunked":
        chunk = b"%x\r\n%b\r\n" % (MIB, BLOCK)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return itertools.chain([head], itertools.repeat(chunk, 64), [b"0\r\n\r\n"])
    return respond(200, f"{seen.body_read.sha256} {seen.body_read.size}".encode(), f"X-Echo-Id: {seen.mark}")


class Echo(Upstream):
    """Answers at once with a chunked body that is the request's, chunk by chunk as it comes."""

    def serve(self, stream: Stream, number: int) -> None:
        stream.read_until(b"\r\n\r\n")
        stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            size = int(stream.read_until(b"\r\n"), 16)
            data = stream.read_exactly(size + 2)
            stream.send(b"%x\r\n" % size + data)
            if not size:
                return


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder(answer=answer) as made:
        yield made
        assert not made.faults, made.faults


@pytest.fixture(scope="module")
def balancer(recorder: Recorder) -> Iterator[Balancer]:
    with Echo() as echo:
        rules = [forward("echo", hosts=["echo.test"]), forward("up")]
        config = {
            "listeners": [listener("web", rules), listener("small", rules, limits={"body": "1KiB"})],
            "target_groups": [group("up", recorder.address), group("echo", echo.address)],
        }
        with Balancer(config) as made:
            yield made


@pytest.fixture(scope="module")
def address(balancer: Balancer) -> Address:
    return balancer.address()


class Memory:
    """Watches the resident memory of a worker while a block runs."""

    def __init__(self, pid: int) -> None:
        self.pid, self.before, self.peak = pid, kernel.resident_bytes(pid), 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self.over.wait(0.05):
            self.peak = max(self.peak, kernel.resident_bytes(self.pid))

    def __enter__(self) -> Memory:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        grown = self.peak - self.before
        assert grown < GROWTH, f"the worker grew by {grown / MIB:.1f} MiB"


@pytest.mark.parametrize("target", ["/down", "/down-chunked"])
def test_64_mib_come_down_whole_without_staying_in_memory(target: str, balancer: Balancer, address: Address) -> None:
    with Memory(balancer.worker_pids()[0]), RawClient(address, timeout=20) as client:
        response = client.ask(request("GET", target))
    assert (response.complete, response.body_read.size, response.body_read.sha256) == (True, BIG, BIG_SHA256)
    assert balancer.logged(response.get("x-request-id") or "")["bytes_out"] == BIG


@pytest.mark.parametrize("coding", ["sized", "chunked"])
def test_64_mib_go_up_whole_without_staying_in_memory(coding: str, balancer: Balancer, address: Address) -> None:
    with Memory(balancer.worker_pids()[0]), RawClient(address, timeout=20) as client:
        if coding == "sized":
            client.send(request("POST", "/", f"Content-Length: {BIG}"), *itertools.repeat(BLOCK, 64))
        else:
            chunk = b"%x\r\n%b\r\n" % (MIB, BLOCK)
            client.send(request("POST", "/", "Transfer-Encoding: chunked"), *itertools.repeat(chunk, 64), b"0\r\n\r\n")
        response = client.recv_response()
    assert response.body == f"{BIG_SHA256} {BIG}".encode()
    assert balancer.logged(response.get("x-request-id") or "")["bytes_in"] == BIG


def test_a_slow_reader_holds_the_upstream_back(balancer: Balancer, address: Address) -> None:
    with Memory(balancer.worker_pids()[0]), RawClient(address, timeout=20, receive_buffer=65536) as client:
        client.send(request("GET", "/down"))
        client.recv_head()
        for _ in range(5):
            client.read_exactly(100_000)
            assert ask(address, request("POST", "/fence", body=b"x")).status == 200
        client.reset()


def test_both_directions_stream_at_once(address: Address) -> None:
    sizes = [1, 2, 3, 17, 1000, 65536, 262144, 7919] * 12
    pieces = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    with RawClient(address, timeout=20) as client:
        client.send(request("POST", "/", "Transfer-Encoding: chunked", host="echo.test"))
        assert client.recv_head().start[0] == b"200"
        data = chunked(*pieces)
        thread = threading.Thread(
            target=client.send, args=[data[at : at + 100_000] for at in range(0, len(data), 100_000)]
        )
        thread.start()
        body = client.read_body(None)
        thread.join(10)
    assert (body.complete, body.size) == (True, sum(sizes))
    assert body.sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_conversation_of_chunks_waits_for_nothing(address: Address) -> None:
    """Each chunk comes back before the next is sent: nothing is gathered on the way."""
    with RawClient(address) as client:
        client.send(request("POST", "/", "Transfer-Encoding: chunked", host="echo.test"))
        client.recv_head()
        for number in range(20):
            client.send(b"3\r\n%03d\r\n" % number)
            assert client.read_until(b"%03d\r\n" % number)
        client.send(b"0\r\n\r\n")
        assert client.read_until(b"0\r\n\r\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4093, 16384, MIB])
def test_chunks_of_any_size_arrive_whole(size: int, recorder: Recorder, address: Address) -> None:
    body = BLOCK[: max(size * 3, 200)] if size < MIB else BLOCK * 2
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    response = ask(address, request("POST", "/", "Transfer-Encoding: chunked") + chunked(*pieces))
    assert response.body == f"{hashlib.sha256(body).hexdigest()} {len(body)}".encode()


MESSAGES = {
    "sized": request("POST", "/split", "X-Test-Id: {id}", "X-Pad: " + "p" * 20, "Content-Length: 60")
    + bytes(range(60)),
    "chunked": request("POST", "/split", "X-Test-Id: {id}", "Transfer-Encoding: chunked")
    + b"a;x=y\r\n0123456789\r\n0003\r\n\r\n0\r\n1\r\na\r\n0;z\r\nT: u\r\n\r\n",
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_message_split_anywhere_is_the_same_message(message: bytes, recorder: Recorder, address: Address) -> None:
    seen = []
    length = len(message.replace(b"{id}", b"000000"))
    with RawClient(address) as client:
        for at in range(1, length):
            mark = f"{next(marks):06d}"
            data = message.replace(b"{id}", mark.encode())
            client.send_apart([data[:at], data[at:]])
            assert client.recv_response().get("x-echo-id") == mark, at
            one = recorder.wait_for(mark)
            hidden = {"x-test-id", "x-request-id"}
            kept = tuple((name, value) for name, value in one.head.headers if name.decode().lower() not in hidden)
            seen.append((one.head.start, kept, one.body))
    assert len(set(seen)) == 1


# -- limits.body


def test_a_body_over_the_limit_is_refused_by_its_length(balancer: Balancer, recorder: Recorder) -> None:
    first = len(recorder.heads)
    with RawClient(balancer.address("small")) as client:
        client.send(request("POST", "/", "Content-Length: 1025"))
        response = client.recv_response()
        assert response.closes
        client.expect_closed()
    expect_failure(response, balancer, "body_too_large", 413)
    assert len(recorder.heads) == first


def test_a_chunked_body_is_refused_when_it_crosses_the_limit(balancer: Balancer, recorder: Recorder) -> None:
    first = len(recorder.complete)
    with RawClient(balancer.address("small")) as client:
        client.send(request("POST", "/", "Transfer-Encoding: chunked"))
        client.send_apart([b"200\r\n" + b"a" * 512 + b"\r\n"] * 3)
        response = client.recv_response()
        assert response.closes
        client.expect_closed()
    expect_failure(response, balancer, "body_too_large", 413)
    assert len(recorder.complete) == first


def test_a_body_at_the_limit_passes(balancer: Balancer) -> None:
    body = b"a" * 1024
    for data in (request("POST", "/", body=body), request("POST", "/", "Transfer-Encoding: chunked") + chunked(body)):
        response = ask(balancer.address("small"), data)
        assert response.body == f"{hashlib.sha256(body).hexdigest()} 1024".encode()


def test_counts_of_bytes_are_exact(balancer: Balancer) -> None:
    before = balancer.metrics()
    for _ in range(3):
        assert ask(balancer.address(), request("POST", "/", body=b"a" * 1000)).status == 200
    down = len(f"{'0' * 64} 1000")

    def grown(name: str) -> float:
        return balancer.metrics().sum(name, listener="web") - before.sum(name, listener="web")

    wait_for(
        lambda: grown("request_bytes_total") == 3000, 2.0, lambda: f"3000 bytes up, now {grown('request_bytes_total')}"
    )
    assert grown("response_bytes_total") == 3 * down
