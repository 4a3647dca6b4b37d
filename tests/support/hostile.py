"""Hostile: an upstream that follows a script, a step at a time, and keeps to no other rule."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support import http1
from tests.support.http1 import Head
from tests.support.recorder import respond
from tests.support.stream import Stream
from tests.support.upstream import Upstream


@dataclass(slots=True)
class Peer:
    """What the steps of one connection work on."""

    stream: Stream
    number: int
    server: Hostile
    head: Head | None = None
    bodies: list[bytes] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """The X-Test-Id of the last head read."""
        value = self.head.get("x-test-id") if self.head else None
        return (value or b"").decode("latin-1")


class _End(Exception):
    """The script of a connection is over."""


Step = Callable[[Peer], None]
Script = Sequence[Step]


def read_head(peer: Peer) -> None:
    """Read a request head, strictly."""
    peer.head = http1.request_head(peer.stream.read_until(b"\r\n\r\n"))
    peer.server.heads.append(peer.head)


def read_body(peer: Peer) -> None:
    """Read the body of the last head."""
    assert peer.head is not None
    length = http1.body_length(peer.head)
    peer.bodies.append(b"" if length == -1 else peer.stream.read_body(length).data)


def read_request(peer: Peer) -> None:
    """Read a whole request."""
    read_head(peer)
    read_body(peer)


def narrow(peer: Peer) -> None:
    """Let the kernel take only so much ahead of us, however long we wait before we read: it widens that by itself."""
    peer.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)


def read_bytes(count: int) -> Step:
    """Read exactly `count` bytes."""
    return lambda peer: peer.bodies.append(peer.stream.read_exactly(count))


def send(*pieces: bytes) -> Step:
    """Send the pieces, a call of send() each; `{mark}` becomes the mark of the last head."""
    return lambda peer: peer.stream.send(*(piece.replace(b"{mark}", peer.mark.encode()) for piece in pieces))


def send_apart(*pieces: bytes) -> Step:
    """Send each piece after the balancer has read the one before."""
    return lambda peer: None if peer.stream.send_apart(pieces) else fin(peer)


def drip(data: bytes, every: float) -> Step:
    """Send a byte each `every` seconds."""

    def step(peer: Peer) -> None:
        for at in range(len(data)):
            peer.stream.send(data[at : at + 1])
            if peer.server.closing.wait(every):
                raise _End

    return step


def wait(event: threading.Event, within: float = 10.0) -> Step:
    """Go on when the test sets `event`."""

    def step(peer: Peer) -> None:
        if not event.wait(within):
            raise TimeoutError("the test did not set the event")

    return step


def tell(event: threading.Event) -> Step:
    """Set `event`."""
    return lambda peer: event.set()


def stall(peer: Peer) -> None:
    """Do nothing more until the balancer closes: read and throw away."""
    peer.stream.timeout = 60.0
    peer.stream.read_to_end()
    raise _End


def freeze(peer: Peer) -> None:
    """Do nothing more, read nothing, until the upstream itself is closed."""
    peer.server.closing.wait(60.0)
    raise _End


def fin(peer: Peer) -> None:
    """Close both ways with FIN; what the balancer still sends is read and thrown away first."""
    peer.stream.sock.shutdown(socket.SHUT_WR)
    peer.stream.read_to_end()
    raise _End


def close(peer: Peer) -> None:
    """Close at once: FIN, or RST by the kernel when bytes are unread."""
    peer.stream.close()
    raise _End


def rst(peer: Peer) -> None:
    """Close with RST."""
    peer.stream.reset()
    raise _End


def half_close(peer: Peer) -> None:
    """Send FIN and go on with the script."""
    peer.stream.half_close()


def answer(body: bytes = b"ok") -> Step:
    """Send a plain 200 with the mark of the request."""
    return lambda peer: peer.stream.send(respond(200, body, f"X-Echo-Id: {peer.mark}"))


def loop(*steps: Step) -> Step:
    """Repeat steps for ever."""

    def step(peer: Peer) -> None:
        while True:
            for one in steps:
                one(peer)

    return step


serve_well = loop(read_request, answer())


class Hostile(Upstream):
    """Runs `script` on every connection; with `scripts` set, connection n runs the n-th one and later ones the last.

    `play` replaces the script for connections from then on and forgets those that exist.
    """

    def __init__(self, *script: Step, scripts: Sequence[Script] | None = None, host: str = "127.0.0.1") -> None:
        self.scripts: Sequence[Script] = scripts or [script or (serve_well,)]
        self.first = 0
        self.heads: list[Head] = []
        self.closing = threading.Event()
        self.peers: list[Peer] = []
        super().__init__(host)

    def play(self, *script: Step, scripts: Sequence[Script] | None = None) -> None:
        """Close the connections that exist, then follow another script."""
        self.close_connections()
        self.scripts, self.first = scripts or [script], self.accepted
        self.heads, self.peers = [], []

    def close(self) -> None:
        self.closing.set()
        super().close()

    def serve(self, stream: Stream, number: int) -> None:
        peer = Peer(stream, number, self)
        self.peers.append(peer)
        chosen = self.scripts[min(number - self.first, len(self.scripts) - 1)]
        try:
            for step in chosen:
                step(peer)
            fin(peer)
        except _End:
            return
