"""The data path without sockets: ns for a head, and for one whole request between two transports that only listen.

    python -m bench.micro               # the best of 5 rounds
    python -m bench.micro --profile     # the whole request under cProfile: who calls whom, not how long it takes

Every head is an object of its own, as it is when it has just been read: its hash is not known yet.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import uvloop

from balancer.board.board import Board, create
from balancer.board.slots import assign, keys
from balancer.data.deadlines import NEVER
from balancer.data.group import LiveGroup
from balancer.data.http.client import ClientProtocol
from balancer.data.http.memory import RequestMemory, ResponseMemory
from balancer.data.http.upstream import UpstreamProtocol
from balancer.data.listener import LiveListener
from balancer.data.place import Place
from balancer.data.target import LiveTarget
from balancer.model.names import PolicyName
from balancer.model.snapshot import Forward, Limits, Listener, Match, Rule, Snapshot, Target, TargetGroup

ROUNDS, COUNT = 5, 20_000
TARGETS = 2
BODY = b"x" * 200


def request(path: int = 42, client: int = 7) -> bytes:
    """Return a head as a browser sends it."""
    return (
        f"GET /shop/category-5/item-{path:04d}?page=3 HTTP/1.1\r\nHost: shop.example.com\r\n"
        "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0\r\n"
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n"
        f"Accept-Encoding: gzip, deflate, br\r\nCookie: session={client:024x}; theme=dark\r\n\r\n"
    ).encode()


def response(etag: int = 0) -> bytes:
    """Return a response head."""
    return (
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 09:28:19 GMT\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(BODY)}\r\nConnection: keep-alive\r\nETag: {etag:08x}\r\nX-Served-By: origin-1\r\n\r\n"
    ).encode()


class Listening(asyncio.Transport):
    """A transport that takes what is written and does nothing."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000)})
        self.last = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.last = data  # type: ignore[assignment]

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class DataPath:
    """One client connection, a listener, a group, and an idle connection to each of its targets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, targets: int = TARGETS, log: str = "") -> None:
        specs = tuple(Target(f"t{n}", f"127.0.0.1:{8000 + n}", "127.0.0.1", 8000 + n) for n in range(targets))
        group = TargetGroup("bench", policy=PolicyName.LEAST_CONN, targets=specs)
        rule = Rule("everything", Match(), Forward((("bench", 1),)))
        web = Listener("web", "127.0.0.1:0", rules=(rule,), limits=Limits(keep_alive_requests=0))
        snapshot = Snapshot(listeners=(web,), target_groups=(group,))
        slots = assign(keys(snapshot), {})
        board = create()
        place = Place(loop, Board(board), 0, 1, lambda _message: None)
        os.close(board)
        place.access_log.open(log)
        self.access_log = place.access_log
        live = [LiveTarget(place, group, spec, slots) for spec in specs]
        groups = {"bench": LiveGroup(place, group, live, slots)}
        self._socket = socket.create_server(("127.0.0.1", 0))
        listener = LiveListener(place, "web", self._socket)
        listener.configure(snapshot.listeners[0], groups, slots)
        self.upstreams: list[UpstreamProtocol] = []
        for target in live:
            upstream = UpstreamProtocol(target)
            upstream.connection_made(Listening())
            target.give(upstream, time.monotonic())
            upstream.deadline = NEVER
            self.upstreams.append(upstream)
        self._listener = listener
        self.connect(Listening())

    def connect(self, transport: Listening) -> None:
        """Be another client from here on."""
        self.client = ClientProtocol(self._listener)
        self.client.connection_made(transport)

    def exchange(self, head: bytes, answer: bytes) -> None:
        """Carry one request and its response, the response in one piece."""
        self.client.data_received(head)
        upstream = self.client.exchange.upstream
        assert upstream is not None
        upstream.requests = 0  # else it is replaced after some thousands
        upstream.data_received(answer)

    def close(self) -> None:
        self._socket.close()


def fresh(make: Callable[[int], bytes]) -> list[bytes]:
    """Return COUNT heads, none of which is the same object as another."""
    return [bytes(bytearray(make(number))) for number in range(COUNT)]


def timed(step: Callable[[bytes], object], prepare: Callable[[], Iterable[bytes]]) -> float:
    """Return ns of CPU time a call, the best of the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        heads = list(prepare())
        began = time.process_time_ns()
        for head in heads:
            step(head)
        rounds.append((time.process_time_ns() - began) / len(heads))
    return min(rounds)


def heads() -> None:
    """Print what one head costs."""
    known = RequestMemory(trusted=False, wanted=frozenset())
    unknown = RequestMemory(trusted=False, wanted=frozenset(), remember=False)
    answers = ResponseMemory()
    serial = iter(range(1_000_000_000))

    def halves(memory: RequestMemory) -> Callable[[bytes], object]:
        def read(data: bytes) -> object:
            at = data.find(b"\r\n")
            return memory.line(data[:at]), memory.block(data[at:])

        return read

    cases: list[tuple[str, Callable[[bytes], object], Callable[[int], bytes]]] = [
        ("request head, both halves known", halves(known), lambda _: request()),
        ("request head, new path and new cookie", halves(known), lambda _: request(next(serial), next(serial))),
        ("request head, nothing remembered", halves(unknown), lambda _: request()),
        ("response head, known", answers.head, lambda _: response()),
        ("response head, a new line in it", answers.head, lambda _: response(next(serial))),
    ]
    for title, step, make in cases:
        print(f"{title:<45}{timed(step, lambda make=make: fresh(make)):>8.0f} ns")  # type: ignore[misc]


def requests(loop: asyncio.AbstractEventLoop) -> None:
    """Print what a whole request costs beside the sockets."""
    for title, targets, log in (
        ("whole request, heads known", TARGETS, ""),
        ("whole request, access log", TARGETS, "/dev/null"),
        ("whole request, 50 targets", 50, ""),
    ):
        path = DataPath(loop, targets=targets, log=log)
        answer = response() + BODY

        def step(head: bytes, path: DataPath = path, answer: bytes = answer) -> None:
            path.exchange(head, bytes(bytearray(answer)))

        print(f"{title:<45}{timed(step, lambda: fresh(lambda _: request())):>8.0f} ns")
        path.close()


def profile(loop: asyncio.AbstractEventLoop) -> None:
    """Print the whole request by function."""
    path = DataPath(loop)
    sent = [(head, bytes(bytearray(response() + BODY))) for head in fresh(lambda _: request())]
    profiler = cProfile.Profile()
    profiler.enable()
    for head, answer in sent:
        path.exchange(head, answer)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    path.close()


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", action="store_true", help="the whole request by function, under cProfile")
    options = parser.parse_args()
    loop = uvloop.new_event_loop()
    if options.profile:
        profile(loop)
    else:
        print(f"Python {sys.version.split()[0]}, {Path(sys.executable)}")
        heads()
        requests(loop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
