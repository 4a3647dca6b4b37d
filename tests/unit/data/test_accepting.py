"""The socket of a listener: who waits when it ends is taken, who comes meanwhile is not."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

from balancer.data.accepting import Accepting

WAIT = 50


async def test_the_end_takes_those_who_wait_and_not_those_who_come_meanwhile() -> None:
    """An end that takes one after the other never comes where more come than it takes."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=4 * WAIT)
    listening.setblocking(False)
    address = listening.getsockname()
    clients: list[socket.socket] = []
    served: list[asyncio.BaseTransport] = []

    def come() -> None:
        try:
            clients.append(socket.create_connection(address, timeout=5))
        except ConnectionRefusedError:
            pass

    class Serves(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            served.append(transport)
            if len(served) < 3 * WAIT:
                come()

    for _ in range(WAIT):
        come()
    place = SimpleNamespace(loop=asyncio.get_running_loop(), descriptors=SimpleNamespace(backlog=4 * WAIT))
    accepting = Accepting(cast(Any, place), listening, Serves)
    await asyncio.wait_for(accepting.end(), 10)
    assert len(served) == WAIT and accepting.coming == 0 and not accepting
    for one in (*served, *clients):
        one.close()
