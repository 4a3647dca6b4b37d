"""Clients that leave: half closed, closed, reset, before the answer and inside it."""

from __future__ import annotations

import threading

import pytest

from tests.support import hostile
from tests.support.balancer import Balancer
from tests.support.failure import expect_counted
from tests.support.hostile import Hostile
from tests.support.raw import RawClient, request
from tests.support.waiting import wait_for

Address = tuple[str, int]


def test_a_half_closed_client_gets_its_answer(peer: Hostile, peer_address: Address) -> None:
    go = threading.Event()
    peer.play(hostile.read_request, hostile.wait(go), hostile.answer(b"late"))
    with RawClient(peer_address) as client:
        client.send(request())
        client.half_close()
        wait_for(lambda: peer.heads, 2.0, "the request is upstream")
        go.set()
        response = client.recv_response()
        assert (response.status, response.body) == (200, b"late")
        client.expect_closed()


def test_a_half_closed_client_is_served_no_longer_than_half_close(
    before_peer: Balancer, peer: Hostile, peer_address: Address
) -> None:
    peer.play(scripts=[[hostile.read_request, hostile.stall], [hostile.serve_well]])
    with RawClient(peer_address) as client:
        client.send(request())
        client.half_close()
        wait_for(lambda: peer.heads, 2.0, "the request is upstream")
        client.read_to_end(4.0)
    wait_for(lambda: not peer.open, 2.0, "the upstream request is cancelled")
    expect_counted(before_peer, "client_closed")


def test_a_fin_is_a_farewell_where_half_close_is_off(before_peer: Balancer, peer: Hostile) -> None:
    peer.play(scripts=[[hostile.read_request, hostile.stall], [hostile.serve_well]])
    with RawClient(before_peer.address("no-half-close")) as client:
        client.send(request())
        wait_for(lambda: peer.heads, 2.0, "the request is upstream")
        client.half_close()
        wait_for(lambda: not peer.open, 1.0, "the upstream request is cancelled")
    expect_counted(before_peer, "client_closed")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_that_resets_cancels_its_request(
    method: str, before_peer: Balancer, peer: Hostile, peer_address: Address
) -> None:
    peer.play(scripts=[[hostile.read_request, hostile.stall], [hostile.serve_well]])
    before = len(before_peer.access_log())
    with RawClient(peer_address) as client:
        client.send(request(method))
        wait_for(lambda: peer.heads, 2.0, "the request is upstream")
        client.reset()
    wait_for(lambda: not peer.open, 1.0, "the upstream request is cancelled")
    expect_counted(before_peer, "client_closed")
    line = wait_for(lambda: before_peer.access_log()[before:], 2.0, "a line in the access log")[0]
    assert (line["status"], line["reason"], line["source"], line["target"]) == (
        499,
        "client_closed",
        "balancer",
        "hostile1",
    ), line


def test_a_client_that_leaves_inside_the_answer_ends_it_upstream(
    before_peer: Balancer, peer: Hostile, peer_address: Address
) -> None:
    flood = hostile.loop(hostile.send(b"a" * 65536))
    peer.play(
        scripts=[
            [hostile.read_request, hostile.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"), flood],
            [hostile.serve_well],
        ]
    )
    with RawClient(peer_address) as client:
        client.send(request())
        client.recv_head()
        client.read_exactly(100_000)
        client.reset()
    wait_for(lambda: not peer.open, 2.0, "the upstream request is cancelled")
    expect_counted(before_peer, "client_closed")
