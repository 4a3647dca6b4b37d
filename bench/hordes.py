"""`python -m bench.hordes KIND HOST PORT COUNT`: very many clients in one process, for `slow.py` and `crowd.py`.

    idle     a request each, then nothing: the connection is kept
    slow     a third sends heads a byte at a time, a third bodies, a third reads a large answer a little at a time;
             who is let go comes again at once

Every second a line of JSON: {"open", "begun", "ended"} over all, `begun` being connections. Runs until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
from collections import Counter
from typing import Any, cast

import uvloop

PACE = 1500  # connections begun in a second
SOURCES = 4  # loopback addresses that they come from
TICK = 1.0  # seconds between two bytes
STEPS = 200  # into which the clients are spread in that time
HEAD = b"GET /slow HTTP/1.1\r\nHost: bench\r\nX-Padding: "
BODY = b"POST /slow HTTP/1.1\r\nHost: bench\r\nContent-Length: 100000\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: bench\r\n\r\n"
SMALL = b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n"
KINDS = ("head", "body", "reader")


class Client(asyncio.Protocol):
    """One of them."""

    def __init__(self, horde: Horde, kind: str) -> None:
        self.horde, self.kind = horde, kind
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.horde.counts["open"] += 1
        self.horde.clients.add(self)
        self.transport.write({"idle": SMALL, "head": HEAD, "body": BODY, "reader": LARGE}[self.kind])
        if self.kind == "reader":
            self.transport.pause_reading()

    def tick(self) -> None:
        """A second is over."""
        if self.kind in ("head", "body"):
            self.transport.write(b"a")
        elif self.kind == "reader":
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.kind == "reader":
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.horde.counts["open"] -= 1
        self.horde.counts["ended"] += 1
        self.horde.clients.discard(self)
        self.horde.wanted.append(self.kind)


class Horde:
    """All of them."""

    def __init__(self, address: tuple[str, int], kinds: list[str]) -> None:
        self.address, self.wanted = address, kinds
        self.counts: Counter[str] = Counter()
        self.clients: set[Client] = set()

    async def connect(self, kind: str, number: int) -> None:
        """Open one more."""
        sock = socket.socket()
        if kind == "reader":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            sock.bind((f"127.0.0.{2 + number % SOURCES}", 0))
            await loop.sock_connect(sock, self.address)
            await loop.create_connection(lambda: Client(self, kind), sock=sock)
        except OSError:
            sock.close()
            self.wanted.append(kind)

    async def open_all(self) -> None:
        """Open those that are wanted, at a pace, for ever."""
        number = 0
        tasks: set[asyncio.Task[None]] = set()
        while True:
            for _ in range(min(len(self.wanted), PACE // 50)):
                number += 1
                self.counts["begun"] += 1
                task = asyncio.ensure_future(self.connect(self.wanted.pop(), number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.02)

    async def tell(self) -> None:
        """Say every second how many there are."""
        while True:
            await asyncio.sleep(1.0)
            print(json.dumps({name: self.counts[name] for name in ("open", "begun", "ended")}), flush=True)

    async def trickle(self) -> None:
        """Let each do its little, spread over the second."""
        while True:
            chosen = list(self.clients)
            for start in range(20):
                for client in chosen[start::20]:
                    if not client.transport.is_closing():
                        client.tick()
                await asyncio.sleep(TICK / 20)


async def run(kind: str, host: str, port: int, count: int) -> None:
    """Be there until stdin ends."""
    kinds = ["idle"] * count if kind == "idle" else [KINDS[number % 3] for number in range(count)]
    horde = Horde((host, port), kinds)
    tasks = [asyncio.ensure_future(step()) for step in (horde.open_all, horde.tell, horde.trickle)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    # Whoever attacks is elsewhere: good client and targets, on the same CPU, do not wait for it.
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    uvloop.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
