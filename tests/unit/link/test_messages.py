"""Messages: one JSON object a packet, of a known kind, of a bounded size."""

from __future__ import annotations

import pytest

from balancer.link.messages import (
    KINDS,
    LIMIT,
    BadMessage,
    ControlStart,
    Place,
    WorkerStart,
    control_start,
    decode,
    encode,
    worker_start,
)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_survives_the_way(kind: str) -> None:
    message = {"is": kind, "revision": 7, "listeners": ["web", "wéb"], "text": "a\nb"}
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "packet",
    [b"", b"{", b"[]", b'"start"', b"{}", b'{"is": "dance"}', b'{"is": ["start"]}'[:-2], b"\xff\xfe", b"[" * 60_000],
    ids=["empty", "cut", "list", "text", "no kind", "unknown kind", "odd kind", "not UTF-8", "deep"],
)
def test_what_is_no_message_is_refused(packet: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(packet)


def test_a_packet_over_the_limit_is_refused_on_both_sides() -> None:
    with pytest.raises(BadMessage, match="at most 65536"):
        encode({"is": "offer", "text": "x" * LIMIT})
    with pytest.raises(BadMessage):
        decode(b'{"is": "offer", "text": "' + b"x" * LIMIT + b'"}')


def test_an_unknown_kind_is_not_said() -> None:
    with pytest.raises(BadMessage, match="'dance'"):
        encode({"is": "dance"})


def test_control_reads_what_there_is() -> None:
    message = {
        "is": "start",
        "places": [{"place": 0, "pid": 12, "revision": 3}],
        "listeners": {"web": "127.0.0.1:80"},
        "stopping": False,
    }
    assert control_start(message, b"s") == ControlStart((Place(0, 12, 3),), {"web": "127.0.0.1:80"}, False, b"s")
    with pytest.raises(BadMessage):
        control_start({"is": "start"}, None)


def test_a_worker_reads_what_it_is() -> None:
    message = {"is": "start", "place": 1, "places": 2, "revision": 3, "listeners": ["web", "db"]}
    assert worker_start(message) == WorkerStart(1, 2, 3, ("web", "db"))
    with pytest.raises(BadMessage):
        worker_start({"is": "start", "place": 1})
