"""Dialling, and ending with a reset: on real sockets, since it is the kernel that is asked."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator

import pytest

from balancer.net import connect
from tests.support.waiting import wait_for


@pytest.fixture(params=["127.0.0.1", "::1"])
def listening(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        try:
            sock.bind((request.param, 0))
        except OSError as error:
            pytest.skip(f"no {request.param} on this machine: {error}")
        sock.listen(8)
        sock.settimeout(5.0)
        yield sock


async def dialled(sock: socket.socket) -> asyncio.Transport:
    ip, port = sock.getsockname()[:2]
    transport, protocol = await connect.dial(asyncio.get_running_loop(), ip, port, 5.0, asyncio.Protocol)
    assert transport.get_protocol() is protocol
    return transport


async def test_a_dialled_connection_has_the_options_of_the_data_path(listening: socket.socket) -> None:
    transport = await dialled(listening)
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == connect.UNACKNOWLEDGED_UPSTREAM
    transport.abort()


async def test_a_refused_connect_is_an_error_and_leaves_no_descriptor() -> None:
    import os

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(ConnectionRefusedError):
            await connect.dial(asyncio.get_running_loop(), "127.0.0.1", port, 5.0, asyncio.Protocol)
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_connect_that_nobody_answers_takes_no_longer_than_it_may() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fillers = []
        try:
            for _ in range(4):  # a full backlog: the kernel drops what comes
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(sock.getsockname())
                fillers.append(filler)
            with pytest.raises(TimeoutError):
                await connect.dial(
                    asyncio.get_running_loop(), "127.0.0.1", sock.getsockname()[1], 0.05, asyncio.Protocol
                )
        finally:
            for filler in fillers:
                filler.close()


async def test_a_reset_is_seen_as_one_by_the_peer(listening: socket.socket) -> None:
    transport = await dialled(listening)
    peer, _ = listening.accept()
    with peer:
        peer.settimeout(5.0)
        connect.reset(transport)
        await asyncio.sleep(0)  # the loop closes what it was told to
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(peer.recv, 1)


async def test_what_lies_unread_in_the_kernel_can_be_had_after_the_connection_broke(listening: socket.socket) -> None:
    transport = await dialled(listening)
    transport.pause_reading()
    peer, _ = listening.accept()
    transport.write(b"never read")
    await asyncio.to_thread(peer.recv, 1)
    peer.sendall(b"last words")
    peer.close()  # with bytes unread: the kernel sends a reset
    assert connect.unread(transport) == b"last words"
    assert connect.unread(transport) == b""
    transport.abort()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        sock = socket.create_connection(listening.getsockname())
        peer, _ = listening.accept()
    with sock, peer:
        sock.setblocking(False)
        peer.settimeout(5.0)
        yield sock, peer


def test_a_peer_that_does_not_read_has_no_room_until_it_reads(pair: tuple[socket.socket, socket.socket]) -> None:
    sock, peer = pair
    assert not connect.has_no_room(sock)
    sock.send(b"x" * 40_000)
    wait_for(lambda: connect.has_no_room(sock), 2.0, "its window is closed")
    got = 0
    while got < 40_000:
        got += len(peer.recv(65536))
    wait_for(lambda: not connect.has_no_room(sock), 2.0, "its window is open")


def test_a_peer_that_lives_and_does_not_read_outlives_the_limit_for_the_dead(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """What the data path relies on: the kernel ends such a connection unless it is told to wait."""
    sock, peer = pair
    connect.may_leave_unacknowledged(sock, 500)
    sock.send(b"x" * 40_000)
    wait_for(lambda: connect.has_no_room(sock), 0.4, "its window is closed")
    connect.may_leave_unacknowledged(sock, 0)
    peer.setblocking(False)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        time.sleep(0.05)
    assert peer.recv(1) == b"x"


class Written(asyncio.Transport):
    """A transport with a socket, and nothing in its own buffer."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})

    def get_write_buffer_size(self) -> int:
        return 0


def test_what_a_peer_takes_is_told_though_the_kernel_has_no_room_for_more(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sock, peer = pair
    transport = Written(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)
    wait_for(lambda: connect.has_no_room(sock), 2.0, "its window is closed")
    before = connect.taken(transport)
    assert before > 0
    assert connect.taken(transport) == before
    for _ in range(30):
        peer.recv(1000)
    wait_for(lambda: connect.taken(transport) > before, 2.0, "what it took is acknowledged")
    assert not select.select([], [sock], [], 0)[1]


@pytest.mark.parametrize(("write_idle", "ms"), [(60.0, 65_000), (1.0, 30_000), (25.5, 30_500), (0.0, 0)])
def test_the_kernel_does_not_end_a_slow_client_before_write_idle(write_idle: float, ms: int) -> None:
    assert connect.client_patience(write_idle) == ms


async def test_the_end_is_said_before_the_loop_has_another_turn(listening: socket.socket) -> None:
    transport = await dialled(listening)
    peer, _ = listening.accept()
    with peer:
        peer.settimeout(5.0)
        connect.say_end(transport)
        assert peer.recv(1) == b""  # nobody but us has run since
    connect.say_end(transport)  # said already, and the peer is gone
    transport.abort()


async def test_the_end_is_not_said_before_what_waits_to_be_sent(listening: socket.socket) -> None:
    transport = await dialled(listening)
    peer, _ = listening.accept()
    size = 8 * 1024 * 1024
    with peer:
        transport.write(bytes(size))
        assert transport.get_write_buffer_size()
        connect.say_end(transport)
        transport.close()
        peer.settimeout(0.0)
        got = 0
        while got < size:
            try:
                got += len(peer.recv(1024 * 1024))
            except BlockingIOError:
                await asyncio.sleep(0)
    assert got == size
