"""Memory: a worker as it stands, and what a thousand idle keep-alive connections add."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import machine
from proxies import Running, Unfit

CONNECTIONS = 1000
_REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; `everything`: all processes, what they share counted once."""

    worker: int
    everything: int
    per_connection: float


def measure(running: Running) -> Memory:
    """Open a thousand connections, send one request on each, and see what the worker grew by."""
    before = sum(map(machine.rss, running.workers))
    everything = machine.resident(running.pids)
    clients: list[socket.socket] = []
    try:
        for _ in range(CONNECTIONS):
            client = socket.create_connection(("127.0.0.1", running.plan.port), timeout=5)
            clients.append(client)
            client.sendall(_REQUEST)
            if not client.recv(4096).startswith(b"HTTP/1.1 200 "):
                raise Unfit(f"{running.plan.title}: no good answer on connection {len(clients)}")
        after = sum(map(machine.rss, running.workers))
    finally:
        for client in clients:
            client.close()
    return Memory(before, everything, (after - before) / CONNECTIONS)
