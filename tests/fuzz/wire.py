"""What holds for any bytes that a client or a target sends, from the socket to the other socket, without sockets."""

from __future__ import annotations

import re
from itertools import pairwise

from tests.property.test_wire import answers_to, echo, numbered, strict
from tests.support import http1
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, Answers, Stage, stage

CUTS = 3  # bytes at the start of the input that say where it is cut
REASON = re.compile(rb'Proxy-Status: balancer; error=\w+; details="(\w+)"')
# (the status lines and reasons that the client got, the requests that the targets got)
Outcome = tuple[list[bytes], list[tuple[tuple[bytes, ...], http1.Headers, bytes]]]


def pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return (the bytes, the same in pieces)."""
    marks, body = data[:CUTS], data[CUTS:]
    edges = sorted({mark * len(body) // 256 for mark in marks} | {0, len(body)})
    return body, [body[start:end] for start, end in pairwise(edges)]


def sent(parts: list[bytes], *, remember: bool) -> Outcome:
    """Return what becomes of bytes that a client sends in parts, at a worker that has seen nothing yet."""
    with stage(remember=remember) as set_:
        found = outcome_of(set_, parts)
        _quiet(set_)
        return found


def outcome_of(set_: Stage, parts: list[bytes], patience: float = 35.0) -> Outcome:
    """Return what becomes of bytes that a client sends in parts, within `patience` seconds; hold that it is safe."""
    answers = Answers(echo)
    set_.origin = answers
    for upstream in set_.upstreams:
        upstream.on_write = answers
    client = set_.client()
    for part in parts:
        client.feed(part)
        set_.loop.run()
    before = len(answers.raw)
    set_.go(patience)  # what is unfinished gets the time it may take, and its end
    got = client.take()
    reasons = [match[1] for match in REASON.finditer(got)]
    assert b"internal_error" not in reasons, got
    assert not set(reasons) - {b"loop_detected"} or client.saw_eof or client.lost, "refused and not closed"
    assert all(strict(upstream) or upstream.lost for upstream in set_.upstreams)
    assert before == len(answers.raw)
    client.feed_reset()
    set_.loop.run()
    statuses = re.findall(rb"HTTP/1\.1 [0-9]{3}", got)
    return [*statuses, *reasons], [(head.start, _own(head), body) for head, body in answers.requests]


def _own(head: http1.Head) -> http1.Headers:
    """Return the fields without the one that differs from run to run."""
    return tuple(field for field in head.headers if field[0].lower() != b"x-request-id")


def _quiet(set_: Stage) -> None:
    set_.check_quiet()
    assert set_.finished() == set_.place.count


def client_bytes(data: bytes) -> None:
    """Whatever a client sends is refused with a word, or passed on in one form, whole or in pieces, cold or warm."""
    body, parts = pieces(data)
    whole, cut = sent([body], remember=True), sent(parts, remember=False)
    assert cut[1] == whole[1], "another cut, other requests at the targets"
    assert cut[0] == whole[0], "another cut, other answers"


def target_bytes(data: bytes) -> None:
    """Whatever a target answers is passed on whole, replaced by a 502, or cut so that nobody takes it for whole."""
    _, parts = pieces(data)
    with stage() as set_:
        client = set_.ask()
        target = set_.upstreams[0]
        for part in parts:
            target.feed(part)
            set_.loop.run()
        if data[:1] > b"\x80":
            target.feed_eof()
        set_.go(65)
        got = client.take()
        assert b"internal_error" not in got
        try:
            answers_to(got)
        except http1.BadMessage:
            if client.saw_eof and not client.was_reset:
                assert _until_close(got), got
            else:
                assert client.was_reset, got
        _next_client_is_served(set_, target)
        client.feed_reset()
        _quiet(set_)


def _until_close(got: bytes) -> bool:
    """Return whether the last answer is one that ends with its connection."""
    head = got[: got.rfind(b"\r\n\r\n") + 2].rpartition(b"HTTP/1.")[2].lower()
    return b"\r\nconnection: close\r\n" in head and b"\r\ncontent-length:" not in head


def _next_client_is_served(set_: Stage, target: FakeTransport) -> None:
    set_.origin = Answers(echo)
    if not target.lost:
        target.on_write = set_.origin
        target.take()
    other = set_.client()
    other.feed(numbered(GET, 9))
    set_.loop.run()
    status, headers, _ = answers_to(other.take())[0]
    assert (status, dict(headers)[b"X-Serial"]) == (b"200", b"9"), "another client got what was not its own"
