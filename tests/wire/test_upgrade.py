"""WebSocket upgrades: from the 101 on the balancer is a pipe and changes nothing."""

from __future__ import annotations

import threading
import time

import pytest

from tests.support import hostile
from tests.support.balancer import Balancer
from tests.support.failure import expect_failure
from tests.support.hostile import Hostile
from tests.support.raw import RawClient, ask, request
from tests.support.recorder import respond
from tests.support.waiting import wait_for

Address = tuple[str, int]


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = request(
    "GET",
    "/ws",
    "Connection: Upgrade",
    "Upgrade: websocket",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
    + ACCEPT
    + b"\r\n\r\n"
)


def echo(one: hostile.Peer) -> None:
    """Send back what comes, byte for byte, until the other side ends; then end, too."""
    while True:
        if one.stream.buffer:
            one.stream.send(one.stream.take(len(one.stream.buffer)))
        elif not one.stream.fill(time.monotonic() + 60):
            return


def test_an_upgrade_becomes_a_tunnel_that_changes_no_byte(peer: Hostile, peer_address: Address) -> None:
    peer.play(hostile.read_head, hostile.send(SWITCH), echo)
    odd = bytes(range(256)) + b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    with RawClient(peer_address) as client:
        client.send(UPGRADE)
        head = client.recv_head()
        assert head.start[0] == b"101"
        assert (head.get("upgrade"), (head.get("connection") or b"").lower()) == (b"websocket", b"upgrade")
        assert head.get("sec-websocket-accept") == ACCEPT
        for size in (1, 125, 126, 127, 65535, 65536, 65537):
            data = (odd * (size // len(odd) + 1))[:size]
            client.send(data)
            assert client.read_exactly(size) == data
        client.half_close()
        assert client.read_to_end() == b""
        assert client.end == "fin"
    seen = peer.heads[0]
    assert (seen.get("upgrade"), (seen.get("connection") or b"").lower()) == (b"websocket", b"upgrade")
    assert seen.get("sec-websocket-key") == KEY.encode()
    wait_for(lambda: not peer.open, 2.0, "the upstream side of the tunnel is closed")


def test_bytes_in_the_same_packet_as_the_101_come_first(peer: Hostile, peer_address: Address) -> None:
    peer.play(hostile.read_head, hostile.send(SWITCH + b"early"), echo)
    with RawClient(peer_address) as client:
        client.send(UPGRADE)
        assert client.recv_head().start[0] == b"101"
        client.send(b"later")
        assert client.read_exactly(10) == b"earlylater"


def test_bytes_that_a_client_sends_before_the_101_wait_for_it(peer: Hostile, peer_address: Address) -> None:
    go = threading.Event()
    peer.play(hostile.read_head, hostile.wait(go), hostile.send(SWITCH), echo)
    with RawClient(peer_address) as client:
        client.send(UPGRADE + b"eager")
        wait_for(lambda: peer.heads, 2.0, "the request is upstream")
        go.set()
        assert client.recv_head().start[0] == b"101"
        assert client.read_exactly(5) == b"eager"


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_reset_ends_both_ends_of_a_tunnel(side: str, peer: Hostile, peer_address: Address) -> None:
    go = threading.Event()
    script = [hostile.read_head, hostile.send(SWITCH)] + (
        [echo] if side == "client" else [hostile.wait(go), hostile.rst]
    )
    peer.play(scripts=[script, [hostile.serve_well]])
    with RawClient(peer_address) as client:
        client.send(UPGRADE)
        client.recv_head()
        if side == "client":
            client.reset()
        else:
            go.set()
            client.read_to_end(2.0)
    wait_for(lambda: not peer.open, 2.0, "the other end is closed")


def test_a_refused_upgrade_is_an_ordinary_answer(peer: Hostile, peer_address: Address) -> None:
    peer.play(hostile.read_head, hostile.send(respond(403, b"no")), hostile.serve_well)
    with RawClient(peer_address) as client:
        client.send(UPGRADE)
        response = client.recv_response()
        assert (response.status, response.body) == (403, b"no")
        assert client.ask(request()).status == 200


def test_a_101_with_another_token_is_an_upgrade_failed(
    before_peer: Balancer, peer: Hostile, peer_address: Address
) -> None:
    peer.play(
        scripts=[
            [hostile.read_head, hostile.send(SWITCH.replace(b"Upgrade: websocket", b"Upgrade: h2c")), hostile.stall],
            [hostile.serve_well],
        ]
    )
    expect_failure(ask(peer_address, UPGRADE), before_peer, "upgrade_failed", 502)


def test_a_tunnel_counts_as_one_active_request_until_it_ends(
    before_peer: Balancer, peer: Hostile, peer_address: Address
) -> None:
    peer.play(hostile.read_head, hostile.send(SWITCH), echo)
    with RawClient(peer_address) as client:
        client.send(UPGRADE)
        client.recv_head()
        assert before_peer.target("hostile", "hostile1")["active_requests"] == 1
    wait_for(lambda: before_peer.target("hostile", "hostile1")["active_requests"] == 0, 2.0, "the tunnel is over")
