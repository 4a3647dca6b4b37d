"""Every case of the wire tables, without sockets: the same outcome wherever the bytes are cut, read or remembered."""

from __future__ import annotations

import pytest

from balancer.model.snapshot import ClientTimeouts
from tests.fuzz.wire import outcome_of, sent
from tests.support import http1
from tests.unit.data.stage import GET, OK, Answers, Stage, stage
from tests.wire import cases_request, cases_response

LONGEST = 600  # bytes of a case that is cut at every place that matters
NOW = 0.3  # seconds: every case is a whole message
EVERY = 64  # bytes between two cuts where no line ends


def places(data: bytes) -> list[int]:
    """Return where to cut: around every line end, and here and there."""
    edges = {0, 1, len(data) - 1, *range(0, len(data), EVERY)}
    for at, byte in enumerate(data):
        if byte in b"\r\n":
            edges |= {at, at + 1}
    return sorted(at for at in edges if 0 < at < len(data))


SHORT = [case for case in cases_request.CASES if len(case.data) <= LONGEST]


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_a_request_means_the_same_wherever_it_is_cut(case: cases_request.Case) -> None:
    data = case.data.replace(b"{id}", b"mark")
    whole = sent([data], remember=True)
    with stage(remember=False) as set_:
        bytewise = [data[at : at + 1] for at in range(len(data))]
        assert outcome_of(set_, bytewise, NOW) == whole, "byte by byte"
        for at in places(data):
            assert outcome_of(set_, [data[:at], data[at:]], NOW) == whole, f"cut at {at}: {data[:at]!r}"


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_a_request_means_the_same_each_time_on_memory_that_warms_up(case: cases_request.Case) -> None:
    data = case.data.replace(b"{id}", b"mark")
    outcomes = []
    with stage() as set_:
        for _ in range(4):  # unknown, seen once, kept, and kept but cut
            outcomes.append(outcome_of(set_, [data], NOW))
        outcomes.append(outcome_of(set_, [data[:-1], data[-1:]], NOW))
    assert outcomes[1:] == outcomes[:1] * 4


@pytest.mark.parametrize("blanks", [1, 2])
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "between"])
def test_empty_lines_begin_no_request_wherever_they_are_cut(before: bytes, blanks: int) -> None:
    lines = b"\r\n" * blanks
    cuts = [[lines], *([lines[:at], lines[at:]] for at in range(1, len(lines))), [bytes([byte]) for byte in lines]]
    timeouts = ClientTimeouts(request_header=2.0, first_byte=30.0, keep_alive=30.0)
    with stage(timeouts=timeouts, log=True) as set_:
        set_.origin = Answers(lambda head, body: OK)
        for parts in cuts:
            set_.lines.clear()
            client = set_.client()
            for part in ([before] if before else []) + parts:
                client.feed(part)
                set_.loop.run()
            answered = client.take()
            set_.go(5.0)
            assert (client.take(), client.is_closing()) == (b"", False), parts
            client.feed(GET)
            set_.loop.run()
            assert (answered + client.take()).count(b"200 OK") == len(set_.lines) == (2 if before else 1), parts
            client.feed(lines[:-1])
            set_.go(30.5)
            assert client.lost and not client.take(), "it rests as any other"


# What is read after the head has gone on cannot take it back: there the outcome depends on when the fault arrived.
ANSWERS = [
    case
    for case in cases_response.CASES
    if len(case.data) <= LONGEST and case.method == "GET" and case.outcome in ("delivered", "failed")
    if not case.unsolicited
]


def received(set_: Stage, parts: list[bytes], end: str) -> list[bytes]:
    """Return the status lines that a client gets of a response in parts, and a body that was sized."""
    client = set_.ask()
    target = next(one for one in set_.upstreams if one.received)
    target.received.clear()
    for part in parts:
        target.feed(part)
        set_.loop.run()
    if end == "fin" and not target.lost:
        target.feed_eof()
    elif end == "rst" and not target.lost:
        target.feed_reset()
    set_.go(NOW)
    got = client.take()
    statuses = []
    while b"\r\n\r\n" in got:
        head = http1.response_head(got[: got.find(b"\r\n\r\n") + 4])
        statuses.append(b" ".join(head.start))
        got = got[len(head.raw) :]
        if int(head.start[0]) >= 200:
            break
    sized = b"request_id" not in got and b"\r\n" not in got
    client.feed_reset()
    set_.go(6)  # longer than upstream_idle
    assert all(one.lost for one in set_.upstreams)
    set_.upstreams.clear()
    set_.check_quiet()
    return [*statuses, got if sized else b""]


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.name)
def test_a_response_means_the_same_wherever_it_is_cut(case: cases_response.Case) -> None:
    data = case.data.replace(b"{mark}", b"mark")
    bytewise = [data[at : at + 1] for at in range(len(data))]
    with stage() as set_:
        whole = received(set_, [data] if data else [], case.end)
        assert received(set_, bytewise, case.end) == whole, "byte by byte"
        for at in places(data):
            assert received(set_, [data[:at], data[at:]], case.end) == whole, f"cut at {at}: {data[:at]!r}"
