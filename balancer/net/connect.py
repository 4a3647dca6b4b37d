"""Dialling a target: a socket with the options that the data path wants, connected within a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import TypeVar, cast

_P = TypeVar("_P")

UNACKNOWLEDGED_UPSTREAM = 10_000  # ms until bytes that nobody acknowledges end a connection: a zone without power
UNACKNOWLEDGED_CLIENT = 30_000
LOOK_AFTER = 2.0  # seconds: a request that is under way for so long has its target's window looked at, as often again
_RESET, _CLOSE = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)  # SO_LINGER: at once, without what waits; not
_ANYTHING = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLRDHUP
_INFO = struct.Struct("=24xI116xI80xI")  # of struct tcp_info: unacked, notsent_bytes, snd_wnd
_ACKNOWLEDGED = struct.Struct("=120xQ")  # of the same: bytes_acked


def tune(sock: socket.socket, unacknowledged_ms: int) -> None:
    """Set what every TCP connection of the data path has: no delay, keep-alive, an end for a dead peer."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unacknowledged_ms)


def client_patience(write_idle: float) -> int:
    """Return the ms that a client may leave bytes unacknowledged.

    TCP_USER_TIMEOUT also ends a connection whose peer lives, acknowledges every probe and has no room. It must not come
    before `write_idle` (seconds, 0: never), which is what a client that does not read is told to have.
    """
    return max(UNACKNOWLEDGED_CLIENT, int(write_idle * 1000) + 5000) if write_idle else 0


def may_leave_unacknowledged(sock: socket.socket, ms: int) -> None:
    """Set after how long bytes that nobody acknowledges end a connection; 0: as the system does."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ms)


def has_no_room(sock: socket.socket) -> bool:
    """Return whether the peer is alive and takes no more for now: what we have for it waits, and nothing is on its way.

    1.2 µs. Bytes that are on their way and unacknowledged are another matter: that peer may be gone.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    if len(info) < _INFO.size:  # a kernel before 5.4
        return False
    unacknowledged, unsent, window = _INFO.unpack(info)
    return bool(unacknowledged and not window) or bool(unsent and not unacknowledged)


def all_taken(transport: asyncio.Transport) -> bool:
    """Return whether the peer's kernel has acknowledged all that was written. 1.2 µs."""
    if transport.get_write_buffer_size():
        return False
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    if len(info) < _INFO.size:  # a kernel before 5.4
        return True
    unacknowledged, unsent, _ = _INFO.unpack(info)
    return not (unacknowledged or unsent)


def taken(transport: asyncio.Transport) -> int:
    """Return a number that grows when the peer takes bytes, and for no other reason. 1.4 µs.

    What waits with us tells nothing of that: the kernel asks for more only once a third of its own buffer, which may be
    4 MB, is free, and a slow peer is minutes in making that room.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
        if len(info) == _ACKNOWLEDGED.size:
            return int(_ACKNOWLEDGED.unpack(info)[0])
    return -transport.get_write_buffer_size()  # a kernel before 4.1


async def dial(
    loop: asyncio.AbstractEventLoop, ip: str, port: int, timeout: float, factory: Callable[[], _P]
) -> tuple[asyncio.Transport, _P]:
    """Return (transport, protocol) of a new connection; raises OSError, TimeoutError among them.

    `factory` makes anything with the methods of an `asyncio.Protocol`. Classes that may be compiled do not inherit from
    it: compiled, their attributes would be looked up by name.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        tune(sock, UNACKNOWLEDGED_UPSTREAM)
        async with asyncio.timeout(timeout or None):
            await loop.sock_connect(sock, (ip, port))
        protocols = cast(Callable[[], asyncio.Protocol], factory)
        transport, protocol = await loop.create_connection(protocols, sock=sock)
    except BaseException:
        sock.close()
        raise
    return transport, cast(_P, protocol)


def heard(transport: asyncio.Transport) -> bool:
    """Return whether the kernel has heard something of the peer, bytes or its end, that nobody has read yet. 0.6 µs."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), _ANYTHING)
    return bool(poll.poll(0))


def say_end(transport: asyncio.Transport) -> None:
    """Send FIN at once, unless bytes wait to be sent before it.

    The loop closes in its next turn only, and what the peer sends until then meets a reset.
    """
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the peer was quicker
        if sock is not None and sock.fileno() >= 0 and not transport.get_write_buffer_size():
            with socket.socket(fileno=os.dup(sock.fileno())) as copy:  # the loop's own can only be asked
                copy.shutdown(socket.SHUT_WR)


def unread(transport: asyncio.Transport) -> bytes:
    """Return what the peer had sent before the connection broke and nobody has read, at most 256 KiB."""
    sock = transport.get_extra_info("socket")
    pieces: list[bytes] = []
    try:
        while sock is not None and len(pieces) < 4 and (piece := os.read(sock.fileno(), 64 * 1024)):
            pieces.append(piece)
    except OSError:  # all is read, and the descriptor does not block
        pass
    return b"".join(pieces)


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST, so that the peer cannot take what it has for complete. Source: RFC 9112, 8."""
    end_by_reset(transport, yes=True)
    transport.abort()


def end_by_reset(transport: asyncio.Transport, *, yes: bool) -> None:
    """Have the kernel end a connection with RST whoever closes it, and be it the death of this process; or not so."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET if yes else _CLOSE)
