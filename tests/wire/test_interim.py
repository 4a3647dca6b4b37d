"""Answers before the answer: 100 Continue, early hints, and final answers that come before the body is whole."""

from __future__ import annotations

import threading

from tests.support import hostile
from tests.support.hostile import Hostile
from tests.support.raw import Cut, RawClient, ask, request
from tests.support.recorder import respond
from tests.support.waiting import wait_for

Address = tuple[str, int]

# -- Expect: 100-continue


EXPECTING = request("POST", "/", "Expect: 100-continue", "Content-Length: 5")


def test_the_upstream_says_continue_and_the_client_hears_it(peer: Hostile, peer_address: Address) -> None:
    peer.play(
        hostile.read_head, hostile.send(b"HTTP/1.1 100 Continue\r\n\r\n"), hostile.read_body, hostile.answer(b"got it")
    )
    with RawClient(peer_address) as client:
        client.send(EXPECTING)
        assert client.recv_head().start[0] == b"100"
        client.send(b"hello")
        assert client.recv_response().body == b"got it"
    assert peer.peers[0].bodies == [b"hello"]


def test_the_upstream_refuses_before_the_body_and_the_client_hears_it(peer: Hostile, peer_address: Address) -> None:
    peer.play(
        scripts=[[hostile.read_head, hostile.send(respond(413, b"too big")), hostile.stall], [hostile.serve_well]]
    )
    with RawClient(peer_address) as client:
        client.send(EXPECTING)
        response = client.recv_response()
        assert (response.status, response.body, response.interim) == (413, b"too big", ())
        assert response.closes
        client.expect_closed()


def test_a_client_that_sends_anyway_is_not_held_up(peer: Hostile, peer_address: Address) -> None:
    peer.play(hostile.read_head, hostile.read_body, hostile.answer(b"got it"))
    with RawClient(peer_address) as client:
        client.send_apart([EXPECTING, b"hello"])
        assert client.recv_response().body == b"got it"


def test_a_client_that_waits_for_a_silent_upstream_goes_on_after_a_second(peer: Hostile, peer_address: Address) -> None:
    """The client gives up waiting on its own, as curl does; the body then flows."""
    peer.play(hostile.read_head, hostile.read_body, hostile.answer(b"got it"))
    with RawClient(peer_address) as client:
        client.send(EXPECTING)
        wait_for(lambda: peer.heads, 3.0, "the head is upstream before the body")
        client.send(b"hello")
        assert client.recv_response().body == b"got it"


def test_our_own_refusal_comes_without_a_100(peer_address: Address) -> None:
    with RawClient(peer_address) as client:
        client.send(request("POST", "/a%zz", "Expect: 100-continue", "Content-Length: 5"))
        response = client.recv_response()
        assert (response.status, response.interim, response.closes) == (400, (), True)
        client.expect_closed()


# -- interim and early answers


def test_an_early_hint_arrives_before_the_answer(peer: Hostile, peer_address: Address) -> None:
    go = threading.Event()
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    peer.play(hostile.read_request, hostile.send(hint), hostile.wait(go), hostile.answer(b"late"))
    with RawClient(peer_address) as client:
        client.send(request())
        head = client.recv_head()
        assert (head.start[0], head.get("link")) == (b"103", b"</a.css>")
        go.set()
        assert client.recv_response().body == b"late"


def test_an_early_final_answer_reaches_a_client_that_is_still_sending(peer: Hostile, peer_address: Address) -> None:
    peer.play(scripts=[[hostile.read_head, hostile.send(respond(403, b"no")), hostile.stall], [hostile.serve_well]])
    with RawClient(peer_address) as client:
        client.send(request("POST", "/", "Content-Length: 1000000") + b"a" * 1000)
        response = client.recv_response()
        assert (response.status, response.body, response.closes) == (403, b"no", True)
    wait_for(lambda: not peer.open, 3.0, "the upstream connection is closed")


def test_a_connection_on_which_a_body_is_still_unread_is_given_to_nobody_else(
    peer: Hostile, peer_address: Address
) -> None:
    """Our client has sent all of it, and it waits in the kernel for a target that has answered and takes its time."""
    sent, served = threading.Event(), threading.Event()
    early = hostile.answer(b"early")
    peer.play(
        scripts=[
            [hostile.narrow, hostile.read_head, hostile.wait(sent), early, hostile.wait(served), hostile.stall],
            [hostile.serve_well],
        ]
    )
    with RawClient(peer_address) as client:
        client.send(request("POST", "/", "Content-Length: 600000") + b"a" * 600_000)
        sent.set()
        assert client.recv_response().body == b"early"
        assert ask(peer_address, request()).status == 200
        assert client.ask(request()).status == 200, "its own connection goes on"
        served.set()
    assert len(peer.peers) == 2


def test_a_connection_on_which_a_large_body_was_read_is_used_again(peer: Hostile, peer_address: Address) -> None:
    peer.play(hostile.loop(hostile.read_request, hostile.answer(b"ok")))
    with RawClient(peer_address) as client:
        for _ in range(3):
            assert client.ask(request("POST", "/", "Content-Length: 600000") + b"a" * 600_000).body == b"ok"
        assert client.ask(request()).status == 200
    assert len(peer.peers) == 1


def test_an_early_final_answer_counts_even_if_the_upstream_closes_with_unread_bytes(
    peer: Hostile, peer_address: Address
) -> None:
    peer.play(
        scripts=[[hostile.read_head, hostile.send(respond(413, b"too big")), hostile.close], [hostile.serve_well]]
    )
    with RawClient(peer_address) as client:
        client.send(request("POST", "/", "Content-Length: 5000000"))
        client.send_apart(b"a" * 65536 for _ in range(70))
        response = client.recv_response()
        assert (response.status, response.body) == (413, b"too big")


def test_a_response_that_cannot_be_read_does_not_hurt_the_next_client(peer: Hostile, peer_address: Address) -> None:
    peer.play(scripts=[[hostile.read_request, hostile.send(b"nonsense\r\n\r\n"), hostile.stall], [hostile.serve_well]])
    assert ask(peer_address, request()).status == 502
    try:
        assert ask(peer_address, request()).status == 200
    except Cut as cut:
        raise AssertionError("the next client paid for it") from cut
