"""What holds for a head that is read for the first time holds when it is remembered: each case is sent again and again.

Unknown, seen once, kept and known (the short way) are four ways through the data path.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support import hostile
from tests.support.balancer import Balancer
from tests.support.failure import reason_of
from tests.support.hostile import Hostile, Step
from tests.support.raw import RawClient, Response, ask, request
from tests.support.waiting import wait_for

TIMES = 4
Address = tuple[str, int]
KIB = 1024


def served(*answers: bytes) -> Step:
    """Answer each request with these pieces, for ever; each piece is sent once the balancer has read the one before."""
    return hostile.loop(hostile.read_request, hostile.send_apart(*answers))


# -- heads that are costly to read


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (" " * 15 * KIB, "200"),
        ("a" + " " * 15 * KIB + "b", "200"),
        ("\t " * 7 * KIB + "a" + "\t " * 512, "200"),
        (" " * 30 * KIB, "431 header_too_large"),
        ("a" + " " * 15 * KIB + "\x01", "400 bad_header"),
        (" " * 15 * KIB + "\x7f", "400 bad_header"),
    ],
    ids=["blanks", "blanks inside", "tabs and blanks", "30 KiB", "a fault behind them", "blanks and a fault"],
)
def test_a_header_value_of_blanks_costs_no_more_than_another(
    peer: Hostile, peer_address: Address, value: str, verdict: str
) -> None:
    peer.play(hostile.serve_well)
    for _ in range(TIMES):
        started = time.monotonic()
        response = ask(peer_address, request("GET", "/", f"X-Blank: {value}"))
        assert time.monotonic() - started < 0.5  # it was minutes
        assert f"{response.status} {reason_of(response) or ''}".strip() == verdict


# -- HEAD


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "in a segment of its own"])
def test_a_target_that_answers_head_with_a_body_poisons_nobody(
    peer: Hostile, peer_address: Address, apart: bool
) -> None:
    head, body = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"EVIL"
    evil = [served(head, body) if apart else served(head + body)]
    peer.play(scripts=[[hostile.loop(hostile.read_request, hostile.send(head + b"fine"))]])
    for _ in range(TIMES):  # the head of the response is known with a body
        assert ask(peer_address, request()).body == b"fine"
    peer.play(scripts=[evil])
    with RawClient(peer_address) as client:
        for _ in range(TIMES):
            response = client.ask(request("HEAD"))
            assert (response.status, response.body) == (200, b"")
            assert client.has_nothing()
    peer.play(scripts=[evil, [hostile.loop(hostile.read_request, hostile.send(head + b"fine"))]])
    with RawClient(peer_address) as client:
        client.send(request("HEAD") + request())  # what follows at once is not answered with the body either
        assert client.recv_response("HEAD").body == b""
        assert client.recv_response().body == b"fine"


# -- 1xx


HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


@pytest.mark.parametrize(
    "answers",
    [(PLAIN,), (HINT + PLAIN,), (HINT, PLAIN), (HINT + PLAIN[:20], PLAIN[20:]), (HINT + HINT, HINT + PLAIN)],
    ids=["none", "same segment", "own segment", "cut in the head", "three"],
)
def test_a_final_answer_after_a_1xx_is_whole_and_counted_once(
    peer: Hostile, peer_address: Address, before_peer: Balancer, answers: tuple[bytes, ...]
) -> None:
    peer.play(served(*answers))
    lines = len(before_peer.access_log())
    with RawClient(peer_address) as client:
        for _ in range(TIMES):
            response = client.ask(request("GET", "/after-1xx"))
            assert (response.status, response.body) == (200, b"fine")
            assert len(response.interim) == b"".join(answers).count(HINT)

    def mine() -> list[dict[str, Any]]:  # lines of the test before may come only now
        return [line for line in before_peer.access_log()[lines:] if line["path"] == "/after-1xx"]

    wait_for(lambda: len(mine()) >= TIMES, 3.0, "the lines")
    assert [(line["status"], line["source"]) for line in mine()] == [(200, "upstream")] * TIMES


def test_no_100_comes_into_the_middle_of_an_answer(peer: Hostile, peer_address: Address) -> None:
    """A target that answers before it has the body, and takes longer than a client that waits for a 100 would."""
    whole = b"0123456789abcdefghij"

    def later(stream_of: hostile.Peer) -> None:
        stream_of.server.closing.wait(1.3)
        stream_of.stream.send(whole[10:])

    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + whole[:10]
    peer.play(hostile.read_head, hostile.send(begun), later, hostile.stall)
    clients = [RawClient(peer_address) for _ in range(TIMES)]
    try:
        answers: list[Response] = []
        for client in clients:
            client.send(request("POST", "/", "Content-Length: 100", "Expect: 100-continue"))
        answers.extend(client.recv_response() for client in clients)
    finally:
        for client in clients:
            client.close()
    assert [(one.status, one.body, one.interim) for one in answers] == [(200, whole, ())] * TIMES


# -- identity


DISGUISES = (
    "X_Forwarded_For",
    "X_Forwarded_Proto",
    "X_Real_IP",
    "X_Client_IP",
    "True_Client_IP",
    "CF_Connecting_IP",
    "X_Request_ID",
    "X_Balancer_Hops",
    "X-Client_IP",
    "x_client-ip",
)


@pytest.mark.parametrize("name", DISGUISES)
def test_a_client_cannot_name_itself_in_disguise(peer: Hostile, peer_address: Address, name: str) -> None:
    """An upstream that turns names into variables (CGI, WSGI) reads both spellings as one."""
    peer.play(hostile.serve_well)
    with RawClient(peer_address) as client:
        for _ in range(TIMES):
            assert client.ask(request("GET", "/", f"{name}: 6.6.6.6", "X_Other: kept")).status == 200
    assert len(peer.heads) == TIMES
    for head in peer.heads:
        assert head.get(name.lower()) is None
        assert head.get("x_other") == b"kept"
        assert b"6.6.6.6" not in b"".join(value for _, value in head.headers)
