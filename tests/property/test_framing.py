"""What a chunked body means does not depend on how it arrives."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from balancer.data.http.fields import Bad
from balancer.data.http.framing import LAST_CHUNK, ChunkReader, chunk
from balancer.model.reason import Reason
from tests.property.messages import CUTS, pieces
from tests.support import http1

SIZES = st.sampled_from([1, 2, 3, 7, 15, 16, 17, 255, 1000])
TOKEN = st.text("abcXYZ019-_.!", min_size=1, max_size=6).map(str.encode)
QUOTED = st.text("ab \t;=\\", max_size=6).map(lambda text: b'"' + text.replace("\\", "\\\\").encode() + b'"')
EXTENSION = st.tuples(TOKEN, st.one_of(st.just(b""), TOKEN.map(b"=".__add__), QUOTED.map(b"=".__add__))).map(b"".join)
EXTENSIONS = st.lists(EXTENSION, max_size=2).map(lambda parts: b"".join(b";" + part for part in parts))
TRAILERS = st.lists(st.tuples(TOKEN, TOKEN).map(lambda field: b"x-%b: %b\r\n" % field), max_size=3).map(b"".join)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return (payload, the chunked body that carries it), with odd spellings of what is legal."""
    payload = b""
    body = b""
    for size in draw(st.lists(SIZES, max_size=5)):
        piece = draw(st.binary(min_size=size, max_size=size)) if size < 20 else bytes(size)
        zeros = b"0" * draw(st.integers(0, 3))
        spelled = b"%x" % size if draw(st.booleans()) else b"%X" % size
        body += zeros + spelled + draw(EXTENSIONS) + b"\r\n" + piece + b"\r\n"
        payload += piece
    return payload, body + b"0" + draw(EXTENSIONS) + b"\r\n" + draw(TRAILERS) + b"\r\n"


def verdict(parts: list[bytes], fault: Reason = Reason.BAD_CHUNK) -> tuple[bytes, bytes, object]:
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
    except Bad as bad:
        return b"", b"", bad.reason
    return payload, rest, reader.done


@given(bodies(), st.binary(max_size=20), CUTS)
def test_any_cut_gives_the_same_payload_and_rest(made: tuple[bytes, bytes], after: bytes, cuts: list[int]) -> None:
    payload, body = made
    assert verdict(pieces(body + after, cuts)) == (payload, after, True)


@given(bodies(), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=3), CUTS)
@example((b"a", b"1\r\na\r\n0\r\n\r\n"), [(1, 0x20)], [2])
@example((b"a", b"1\r\na\r\n0\r\n\r\n"), [(2, 0x0D)], [2])
def test_any_cut_gives_the_same_verdict_on_a_broken_body(
    made: tuple[bytes, bytes], changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    body = bytearray(made[1])
    for at, value in changes:
        body[at % len(body)] = value
    broken = bytes(body)
    whole, cut = verdict([broken]), verdict(pieces(broken, cuts))
    bytewise = verdict([broken[i : i + 1] for i in range(len(broken))])
    assert cut == whole
    assert bytewise == whole


@given(bodies(), st.integers(0, 3000))
def test_no_prefix_of_a_body_is_refused_or_taken_for_whole(made: tuple[bytes, bytes], at: int) -> None:
    body = made[1]
    assert verdict([body[: at % len(body)]])[2] is False


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), CUTS)
def test_what_is_written_is_read_again(payloads: list[bytes], cuts: list[int]) -> None:
    body = b"".join(piece for payload in payloads for piece in chunk([payload], len(payload))) + LAST_CHUNK
    assert verdict(pieces(body, cuts), Reason.BAD_RESPONSE) == (b"".join(payloads), b"", True)
    assert body == http1.chunked(*payloads)
