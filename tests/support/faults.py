"""Faults that the kernel makes: ports that refuse, that swallow connections, and whole runs of silence."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.support.stream import Stream
from tests.support.upstream import Upstream


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on at this moment: connecting to it is refused."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def quiet_port(host: str = "127.0.0.1") -> int:
    """Return a free port that the kernel gives to nobody by itself: it stays free when its owner dies for a while."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, lowest) if lowest > 11_000 else free_port(host)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((host, port))
            return port


@contextlib.contextmanager
def refusing(host: str = "127.0.0.1") -> Iterator[str]:
    """Yield an address that refuses for as long as the context lasts: bound, so nobody else gets it, not listening."""
    with socket.socket() as holder:
        holder.bind((host, 0))
        yield f"{host}:{holder.getsockname()[1]}"


@contextlib.contextmanager
def blackhole(host: str = "127.0.0.1") -> Iterator[str]:
    """Yield an address where connecting hangs: the backlog is full and nobody accepts."""
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind((host, 0))
        listener.listen(0)
        address = listener.getsockname()
        while True:
            filler = fillers.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(address)
            except TimeoutError:
                break
        yield f"{host}:{address[1]}"


class Swallower(Upstream):
    """Accepts and reads nothing until `released` is set: the balancer's writes fill up."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.released = threading.Event()
        super().__init__(host)

    def serve(self, stream: Stream, number: int) -> None:
        self.released.wait(60)

    def close(self) -> None:
        self.released.set()
        super().close()
