"""What holds for any bytes as a chunked body, however they are cut."""

from __future__ import annotations

from itertools import pairwise

from balancer.data.http.fields import Bad
from balancer.data.http.framing import LAST_CHUNK, ChunkReader, chunk
from balancer.model.reason import Reason
from tests.support import http1

CUTS = 4  # bytes at the start of the input that say where it is cut


def read(parts: list[bytes], fault: Reason = Reason.BAD_CHUNK) -> tuple[bytes, bytes, object]:
    """Return (payload, rest, done or the reason of the refusal) of a body that arrives in `parts`."""
    reader = ChunkReader(fault)
    payload, rest = b"", b""
    try:
        for part in parts:
            if reader.done:
                rest += part
                continue
            taken, rest = reader.feed(part)
            payload += b"".join(taken)
            while getattr(reader, "waiting", False):  # it takes only so many chunks in a turn
                taken, rest = reader.feed(b"")
                payload += b"".join(taken)
    except Bad as bad:
        assert bad.detail
        return b"", b"", bad.reason
    return payload, rest, reader.done


def strictly(body: bytes) -> tuple[bytes, bytes] | None:
    """Return (payload, rest) of a whole chunked body as a plain reader sees it; None where it sees none."""
    payload, at = b"", 0
    while True:
        end = body.find(b"\r\n", at)
        if end < 0:
            return None
        try:
            size = http1.chunk_size(body[at:end])
        except http1.BadMessage:
            return None
        at = end + 2
        if not size:
            break
        if body[at + size : at + size + 2] != b"\r\n":
            return None
        payload += body[at : at + size]
        at += size + 2
    while (end := body.find(b"\r\n", at)) > at:
        at = end + 2
    return (payload, body[at + 2 :]) if end == at else None


def chunked(data: bytes) -> None:
    """Any cut gives the same payload, rest and verdict; a whole body is what a plain reader reads; round trip."""
    marks, body = data[:CUTS], data[CUTS:]
    whole = read([body])
    edges = sorted({mark * len(body) // 256 for mark in marks} | {0, len(body)})
    assert read([body[start:end] for start, end in pairwise(edges)]) == whole, "another cut, another verdict"
    assert read([body[at : at + 1] for at in range(len(body))]) == whole, "byte by byte, another verdict"
    response = read([body], Reason.BAD_RESPONSE)
    assert (response[2] is True) is (whole[2] is True), "the two sides judge apart"
    if whole[2] is True:
        plain = strictly(body)
        assert plain is not None, "a plain reader sees no whole body"
        assert plain == whole[:2], "a plain reader sees another body"
    if whole[2] is True and whole[0]:
        assert read([b"".join(chunk([whole[0]], len(whole[0]))) + LAST_CHUNK]) == (whole[0], b"", True)
    if whole[2] is False and body:
        assert strictly(body) is None, "waits for more of what is whole"
