"""`python -m tests.support.volley HOST PORT TOTAL CONNECTIONS`: exactly so many requests, one at a time a connection.

A connection that a response ends is replaced by another; any other end is a fault.
Most are GETs of a thousand paths; every tenth is a POST with a body, every fiftieth asks for what is missing, every
twentieth carries a mark that its answer must bring back. Prints what came of them as JSON:
{"statuses", "bytes_sent", "bytes_received", "connections", "faults", "seconds"}, bytes being those of bodies.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from typing import cast

import uvloop

CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BODY = b"b" * 64
FAULTS = 20  # as many are told


class Tally:
    """All requests of the run."""

    def __init__(self, host: str, port: int, total: int) -> None:
        self.host, self.port = host, port
        self.total, self.begun, self.done, self.connections = total, 0, 0, 0
        self.connecting: set[asyncio.Task[None]] = set()
        self.statuses: Counter[int] = Counter()
        self.bytes_sent = self.bytes_received = 0
        self.faults: list[str] = []
        self.over = asyncio.Event()

    def replace(self) -> None:
        """Have a connection more."""
        task = asyncio.ensure_future(self.connect())
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def connect(self) -> None:
        """Open a connection, which then goes on by itself."""
        self.connections += 1
        await asyncio.get_running_loop().create_connection(lambda: Connection(self), self.host, self.port)

    def next(self) -> int:
        """Return the number of the next request; -1 when there is none."""
        if self.begun == self.total:
            return -1
        self.begun += 1
        return self.begun - 1

    def fault(self, words: str) -> None:
        """Take note of what must not happen."""
        if len(self.faults) < FAULTS:
            self.faults.append(words)


class Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.buffer = b""
        self.mark = b""
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        number = self.tally.next()
        if number < 0:
            self.end()
            return
        path = b"/missing" if number % 50 == 7 else b"/item/%d" % (number % 1000)
        self.mark = b"v-%d" % number if number % 20 == 3 else b""
        fields = b"Host: soak\r\n" + (b"X-Test-Id: %b\r\n" % self.mark if self.mark else b"")
        if number % 10:
            self.transport.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, fields))
        else:
            self.tally.bytes_sent += len(BODY)
            self.transport.write(b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (path, fields, len(BODY)) + BODY)

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data if self.buffer else data
        end = data.find(b"\r\n\r\n") + 4
        found = LENGTH.search(data, 0, end) if end > 3 else None
        if found is None or len(data) < end + int(found[1]):
            self.buffer = data
            return
        self.buffer = b""
        tally = self.tally
        tally.statuses[int(data[9:12])] += 1
        tally.bytes_received += int(found[1])
        if len(data) > end + int(found[1]):
            tally.fault(f"more than an answer: {data!r}")
        if self.mark and b"X-Echo-Id: %b\r\n" % self.mark not in data[:end]:
            tally.fault(f"not the answer to {self.mark!r}: {data[:end]!r}")
        tally.done += 1
        if tally.done == tally.total:
            tally.over.set()
        if CLOSE.search(data, 0, end):
            self.end()
            tally.replace()
        else:
            self.send()

    def end(self) -> None:
        """Nothing more on this connection."""
        self.over = True
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over:
            self.tally.fault(f"a connection was lost: {exc!r}")
            self.tally.over.set()


async def run(host: str, port: int, total: int, connections: int) -> dict[str, object]:
    """Send them all; return what came of them."""
    tally = Tally(host, port, total)
    began = time.monotonic()
    for _ in range(connections):
        await tally.connect()
    await tally.over.wait()
    return {
        "statuses": tally.statuses,
        "bytes_sent": tally.bytes_sent,
        "bytes_received": tally.bytes_received,
        "connections": tally.connections,
        "faults": tally.faults,
        "seconds": time.monotonic() - began,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(sys.argv[1], *map(int, sys.argv[2:])))))
