"""The whole way of a request and back, without sockets: what arrives does not depend on how it was cut, and whatever
is sent, each message is answered, refused with a word, or passed on in one unambiguous form."""

from __future__ import annotations

import re

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.property.messages import CUTS, heads, mutated, pieces, requests, responses
from tests.support import http1
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, Answers, stage, whole_request

# Each example is a worker from its start to its end.
HALF = settings(max_examples=settings().max_examples // 2, deadline=None)
Seen = list[tuple[tuple[bytes, ...], http1.Headers, bytes]]


def echo(head: http1.Head, body: bytes) -> bytes:
    """Answer with the serial number of the request."""
    serial = head.get("x-serial") or b"none"
    return b"HTTP/1.1 200 OK\r\nX-Serial: %b\r\nContent-Length: 2\r\n\r\n" % serial + (
        b"" if head.start[0] == b"HEAD" else b"ok"
    )


def numbered(request: bytes, number: int) -> bytes:
    return request.replace(b"Host: a.test\r\n", b"Host: a.test\r\nX-Serial: %d\r\n" % number, 1)


def seen(answers: Answers) -> Seen:
    return [(head.start, head.headers, body) for head, body in answers.requests]


def send(parts: list[bytes]) -> tuple[Seen, bytes]:
    """Return what the targets saw and what the client got."""
    with stage() as set_:
        answers = set_.origin = Answers(echo)
        client = set_.client()
        for part in parts:
            client.feed(part)
            set_.loop.run()
        set_.check_quiet()
        assert set_.finished() == len(answers.requests) == set_.place.count
        return seen(answers), client.take()


@HALF
@given(st.lists(requests(), min_size=1, max_size=3), CUTS)
def test_any_cut_of_requests_gives_the_same_requests_and_answers_in_order(made: list[bytes], cuts: list[int]) -> None:
    # The first comes again and again: read in full, then remembered, then remembered beside others.
    stream = [numbered(request, number) for number, request in enumerate([*made, made[0], made[0]])]
    data = b"".join(stream)
    requests_seen, answer = expected = send([data])
    serials = [b"%d" % number for number in range(len(stream))]
    assert [dict(headers)[b"X-Serial"] for _, headers, _ in requests_seen] == serials
    assert re.findall(rb"X-Serial: (\d+)", answer) == serials
    for request, (_, _, body) in zip(stream, requests_seen):
        wanted = whole_request(request)
        assert wanted is not None and body == wanted[1]
    assert send(pieces(data, cuts)) == expected


def answers_to(data: bytes, *, to_head: bool = False) -> list[tuple[bytes, http1.Headers, bytes]]:
    """Return (status, headers, body) of every whole response in `data`; raises BadMessage if anything else is there."""
    found = []
    while data:
        end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            raise http1.BadMessage("a head without an end")
        head = http1.response_head(data[:end])
        data = data[end:]
        status = head.start[0]
        length = http1.body_length(head)
        body = b""
        if to_head or status in (b"204", b"304") or status < b"200":
            pass
        elif length is None:
            body, data = unchunked(data)
        else:
            if length < 0 or len(data) < length:
                raise http1.BadMessage("a body without an end")
            body, data = data[:length], data[length:]
        found.append((status, head.headers, body))
    return found


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """Return (body, what follows it)."""
    whole = whole_request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    if whole is None:
        raise http1.BadMessage("a chunked body without an end")
    return whole[1], data[whole[2] - 56 :]


def receive(parts: list[bytes]) -> list[tuple[bytes, http1.Headers, bytes]]:
    """Return what a client reads of a response in `parts`; the next request is answered on the same connection."""
    with stage() as set_:
        client = set_.ask()
        for part in parts:
            set_.answer(part)
        got = client.take()
        set_.upstreams[0].on_write = Answers(echo)
        set_.upstreams[0].take()
        client.feed(numbered(GET, 7))
        set_.loop.run()
        assert dict(answers_to(client.take())[0][1])[b"X-Serial"] == b"7"
        assert len(set_.upstreams) == 1
        set_.check_quiet()
        return answers_to(got)


@HALF
@given(responses(), CUTS)
def test_any_cut_of_a_response_gives_the_same_response_and_keeps_the_connection(made: bytes, cuts: list[int]) -> None:
    expected = receive([made])
    assert receive(pieces(made, cuts)) == expected
    (status, headers, body), sent = expected[-1], answers_to(made)[-1]
    assert (status, body) == (sent[0], sent[2])
    assert [field for field in sent[1] if field[0][:2] == b"x-"] == [
        field for field in headers if field[0][:2] == b"x-"
    ]


REASON = re.compile(rb'Proxy-Status: balancer; error=\w+; details="(\w+)"')


def strict(transport: FakeTransport) -> bool:
    """Return whether the bytes that a target got are whole requests in one unambiguous form; raises BadMessage."""
    data = bytes(transport.received)
    while data:
        whole = whole_request(data)
        if whole is None:
            return False
        data = data[whole[2] :]
    return True


@HALF
@given(mutated(requests()), CUTS)
def test_a_damaged_request_is_refused_with_a_word_or_passed_on_in_one_form(made: bytes, cuts: list[int]) -> None:
    with stage() as set_:
        answers = set_.origin = Answers(echo)
        client = set_.client()
        for part in pieces(made, cuts):
            client.feed(part)
            set_.loop.run()
        set_.go(35)  # what is unfinished gets the time it may take, and its end
        got = client.take()
        reason = REASON.search(got)
        assert all(strict(upstream) or upstream.lost for upstream in set_.upstreams)
        if reason is None:
            event("served" if answers.requests else "closed without a word")
        else:
            event(reason[1].decode())
            assert reason[1] != b"internal_error"
            assert client.saw_eof
            of_the_body = (b"bad_chunk", b"client_body_timeout", b"client_too_slow", b"header_too_large")
            if reason[1] not in (*of_the_body, b"client_header_timeout"):
                # A fault of the head: nothing of this request went anywhere. What came before it was served.
                assert all(strict(upstream) for upstream in set_.upstreams)
        client.feed_reset()
        set_.check_quiet()
        assert set_.finished() == set_.place.count


@HALF
@given(mutated(responses()), CUTS, st.booleans())
def test_a_damaged_response_ends_in_a_whole_answer_or_in_a_broken_connection(
    made: bytes, cuts: list[int], ends: bool
) -> None:
    with stage() as set_:
        client = set_.ask()
        target = set_.upstreams[0]
        for part in pieces(made, cuts):
            target.feed(part)
            set_.loop.run()
        if ends:
            target.feed_eof()
        set_.go(65)
        got = client.take()
        assert b"internal_error" not in got
        try:
            answers_to(got)
        except http1.BadMessage:
            assert client.was_reset, got  # the client must not take it for whole
        # Nobody else gets any of it.
        set_.origin = Answers(echo)
        if not target.lost:
            target.on_write = set_.origin
            target.take()
        other = set_.client()
        other.feed(numbered(GET, 9))
        set_.loop.run()
        status, headers, _ = answers_to(other.take())[0]
        assert (status, dict(headers)[b"X-Serial"]) == (b"200", b"9")
        client.feed_reset()
        set_.check_quiet()
        assert set_.finished() == 2


def play(made: list[bytes], *, remember: bool) -> list[tuple[bytes, list[bytes], list[bytes]]]:
    """Return, for each of `made`, each on a connection of its own: what the client got, what the targets got."""
    sent = []
    with stage(remember=remember) as set_:
        for head in made:
            answers = set_.origin = Answers(echo)
            for upstream in set_.upstreams:
                upstream.on_write = answers
            client = set_.ask(head)
            # A request whose body never comes leaves its bytes with the target.
            left = [bytes(upstream.received) for upstream in set_.upstreams]
            sent.append((client.take(), answers.raw, left))
            client.feed_reset()
            set_.loop.run()
    return sent


@HALF
@given(st.lists(st.one_of(heads(), mutated(heads())), min_size=1, max_size=3))
def test_memory_on_and_off_send_the_same_bytes_both_ways(made: list[bytes]) -> None:
    assert play(made * 3, remember=True) == play(made * 3, remember=False)
