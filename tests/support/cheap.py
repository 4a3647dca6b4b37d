"""`python -m tests.support.cheap`: a target that costs little and counts what it serves, until SIGTERM.

    /healthz           200, or 503 for as often as /fail?health=N says; never counted
    /count             {"total", "posts", "bytes_in", "bytes_out", "open", "active", "peak"}; never counted
    /slow?ms=300       the usual answer, later
    /stream?ms=20      200 in eight chunks, one each 20 ms, each with the mark; the last one says `end`
    /begun             200 and half of a body, whose other half never comes
    /missing           404
    Upgrade: websocket 101, then every byte comes back
    anything else      200 with `name` as body; X-Backend, X-Zone, and X-Echo-Id with the request's X-Test-Id

Its first line on stdout is JSON with the port. SIGTERM drains as a good server does: who waits in the backlog is
accepted, nobody after that, every answer says `Connection: close`, connections that rest stay open until the peer
leaves. `--idle` closes connections that rest for so many seconds. `--log` keeps the mark of every POST.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import re
import signal
import socket
from typing import cast

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MARK = re.compile(rb"\r\nx-test-id: *([^\r]*)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r]*)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
STREAM = 8  # chunks
DRAIN = 30.0  # seconds until connections that nobody closes are closed here


class Served:
    """What one target has seen, and how it is to behave."""

    def __init__(self, name: str, zone: str, idle: float, log: int) -> None:
        self.idle, self.log = idle, log
        self.total = self.posts = self.bytes_in = self.bytes_out = self.active = self.peak = 0
        self.sick = 0  # health checks that are still to fail; negative: all
        self.draining = False
        self.connections: set[Connection] = set()
        self.body = name.encode()
        self.head = (
            b"HTTP/1.1 %%b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nX-Backend: %b\r\nX-Zone: %b\r\n"
            % (len(self.body), self.body, zone.encode())
        )
        self.ok = self.head % b"200 OK"
        self.begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Backend: %b\r\n\r\nbegun" % self.body

    def counts(self) -> bytes:
        """Return the counts as JSON."""
        names = ("total", "posts", "bytes_in", "bytes_out", "active", "peak")
        said = {name: getattr(self, name) for name in names} | {"open": len(self.connections)}
        return json.dumps(said).encode()

    def healthy(self) -> bool:
        """Take note of a health check; return how it ends."""
        if self.sick == 0:
            return True
        self.sick -= self.sick > 0
        return False


class Connection(asyncio.Protocol):
    """One connection; requests on it are answered in turn."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.buffer = b""
        self.busy = self.tunnel = False
        self.resting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.served.connections.add(self)
        self.rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self.served.connections.discard(self)
        self.wake()

    def rest(self) -> None:
        """Nothing is under way."""
        if self.served.idle:
            self.resting = asyncio.get_running_loop().call_later(self.served.idle, self.transport.close)

    def wake(self) -> None:
        """Something is."""
        if self.resting is not None:
            self.resting.cancel()
            self.resting = None

    def data_received(self, data: bytes) -> None:
        if self.tunnel:
            self.transport.write(data)
            return
        self.buffer = self.buffer + data if self.buffer else data
        while not self.busy and self.step():
            pass

    def step(self) -> bool:
        """Answer one request; False when there is no whole one."""
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end == 3:
            return False
        head = self.buffer[:end]
        method, target, _ = head.split(b" ", 2)
        if CHUNKED.search(head):
            length, end = chunked(self.buffer, end)
        else:
            found = LENGTH.search(head) if method != b"GET" else None
            length = int(found[1]) if found else 0
            end += length
        if not 0 < end <= len(self.buffer):
            return False
        self.buffer = self.buffer[end:]
        self.wake()
        self.request(method, target, head, length)
        return True

    def request(self, method: bytes, target: bytes, head: bytes, length: int) -> None:
        served = self.served
        path, _, query = target.partition(b"?")
        if path == b"/healthz":
            self.say(b"200 OK" if served.healthy() else b"503 Sick", head, b"ok")
        elif path == b"/count":
            self.say(b"200 OK", head, served.counts())
        elif path == b"/fail":
            served.sick = int(query.rpartition(b"=")[2])
            self.say(b"200 OK", head, b"")
        else:
            served.total += 1
            served.bytes_in += length
            if method == b"POST":
                served.posts += 1
                if served.log >= 0 and (mark := MARK.search(head)):
                    os.write(served.log, mark[1] + b"\n")
            if path == b"/slow":
                self.busy = True
                served.active += 1
                served.peak = max(served.peak, served.active)
                asyncio.get_running_loop().call_later(int(query.rpartition(b"=")[2]) / 1000, self.late, head)
            elif path == b"/stream":
                self.busy = True
                served.active += 1
                self.stream(
                    head, mark[1] if (mark := MARK.search(head)) else b"-", int(query.rpartition(b"=")[2]) / 1000
                )
            elif path == b"/begun":
                self.busy = True
                self.transport.write(served.begun)
            elif key := KEY.search(head):
                self.switch(key[1])
            else:
                self.usual(head, served.head % b"404 Missing" if path == b"/missing" else served.ok)

    def late(self, head: bytes) -> None:
        """The time of a slow request is over."""
        self.busy = False
        self.served.active -= 1
        if not self.transport.is_closing():
            self.usual(head, self.served.ok)
            while not self.busy and self.step():
                pass

    def stream(self, head: bytes, mark: bytes, pause: float, number: int = 0) -> None:
        """Send a chunk, and the next one later."""
        if self.transport.is_closing():
            self.served.active -= 1
            return
        if number == 0:
            fields = b"Transfer-Encoding: chunked\r\nX-Backend: %b\r\nX-Echo-Id: %b\r\n" % (self.served.body, mark)
            self.transport.write(b"HTTP/1.1 200 OK\r\n%b\r\n" % fields)
        piece = b"%b %d\n" % (mark, number) if number < STREAM - 1 else b"%b end\n" % mark
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if number < STREAM - 1:
            asyncio.get_running_loop().call_later(pause, self.stream, head, mark, pause, number + 1)
            return
        self.transport.write(b"0\r\n\r\n")
        self.busy = False
        self.served.active -= 1
        if self.served.draining or CLOSE.search(head):
            self.transport.close()
            return
        self.rest()
        while not self.busy and self.step():
            pass

    def usual(self, head: bytes, start: bytes) -> None:
        served = self.served
        mark = MARK.search(head)
        served.bytes_out += len(served.body)
        self.send(head, start + (b"X-Echo-Id: %b\r\n" % mark[1] if mark else b""), served.body)

    def say(self, status: bytes, head: bytes, body: bytes) -> None:
        self.send(head, b"HTTP/1.1 %b\r\nContent-Length: %d\r\n" % (status, len(body)), body)

    def send(self, head: bytes, start: bytes, body: bytes) -> None:
        if self.served.draining or CLOSE.search(head):
            self.transport.write(start + b"Connection: close\r\n\r\n" + body)
            self.transport.close()
        else:
            self.transport.write(start + b"\r\n" + body)
            self.rest()

    def switch(self, key: bytes) -> None:
        """Become an echo. Source: RFC 6455, 4.2.2."""
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
        self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n" + fields)
        self.tunnel = True
        early, self.buffer = self.buffer, b""
        if early:
            self.transport.write(early)


def chunked(data: bytes, at: int) -> tuple[int, int]:
    """Return the length of the body in chunks that begins there, and where it ends; 0 if it is not whole."""
    length = 0
    while (stop := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:stop].partition(b";")[0], 16)
        length, at = length + size, stop + 2 + size + 2
        if not size:
            return length, at
    return 0, 0


async def serve(served: Served, sock: socket.socket, name: str) -> None:
    """Serve on a bound socket until SIGTERM, then drain."""
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, asked_to_stop.set)
    server = await loop.create_server(lambda: Connection(served), sock=sock.dup(), backlog=4096)
    print(json.dumps({"name": name, "port": sock.getsockname()[1], "pid": os.getpid()}), flush=True)
    await asked_to_stop.wait()
    served.draining = True
    server.close()
    try:
        while True:
            accepted, _ = sock.accept()
            accepted.setblocking(False)
            await loop.connect_accepted_socket(lambda: Connection(served), accepted)
    except BlockingIOError:
        sock.close()
    end = loop.time() + DRAIN
    while served.connections and loop.time() < end:
        await asyncio.sleep(0.02)


def main() -> None:
    """Run one target with the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", default="cheap")
    parser.add_argument("--zone", default="")
    parser.add_argument("--idle", type=float, default=0.0)
    parser.add_argument("--log", default="")
    options = parser.parse_args()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if options.log else -1
    sock = socket.create_server((options.host, options.port), backlog=4096)
    sock.setblocking(False)
    uvloop.run(serve(Served(options.name, options.zone, options.idle, log), sock, options.name))


if __name__ == "__main__":
    main()
