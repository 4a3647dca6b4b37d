"""Chunked bodies: what is read, and every refusal with its reason."""

from __future__ import annotations

import pytest

from balancer.data.http.fields import Bad
from balancer.data.http.framing import (
    MAX_CHUNKS,
    MAX_EXTENSION,
    MAX_EXTENSIONS,
    MAX_PIECES,
    MAX_TRAILER_FIELDS,
    MAX_TRAILERS,
    ChunkReader,
    chunk,
)
from balancer.model.reason import Reason


def read(body: bytes, fault: Reason = Reason.BAD_CHUNK) -> tuple[bytes, bytes, bool]:
    reader = ChunkReader(fault)
    return *fed(reader, body), reader.done


def fed(reader: ChunkReader, data: bytes) -> tuple[bytes, bytes]:
    pieces, rest = reader.feed(data)
    assert all(pieces), "an empty piece"
    return b"".join(pieces), rest


@pytest.mark.parametrize(
    ("body", "payload", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc", b""),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", b""),
        (b"0003\r\nabc\r\n000\r\n\r\n", b"abc", b""),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (b"a\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n", b"0123456789", b"GET / HTTP/1.1\r\n"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
        (b'1;a=b;c="d;e\\"f";g\r\nx\r\n0;last\r\n\r\n', b"x", b""),
        (b"1;a = b\r\nx\r\n0\r\n\r\n", b"x", b""),
        (b"1;" + b"e" * (MAX_EXTENSION - 1) + b"\r\nx\r\n0\r\n\r\n", b"x", b""),
        (b"0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n", b"", b""),
        (b"0\r\n" + b"X: y\r\n" * MAX_TRAILER_FIELDS + b"\r\n", b"", b""),
    ],
)
def test_a_chunked_body_is_its_payload(body: bytes, payload: bytes, rest: bytes) -> None:
    assert read(body) == (payload, rest, True)


MALFORMED = [
    b"\r\n",
    b"x\r\n",
    b"0x1\r\na\r\n",
    b"+1\r\na\r\n",
    b"-1\r\na\r\n",
    b"1_0\r\n",
    b" 1\r\na\r\n",
    b"1 \r\na\r\n",
    b"1 ;a\r\nb\r\n",
    b"1\t\r\na\r\n",
    b"g\r\n",
    b"1" * 17 + b"\r\n",
    b"1;\r\na\r\n",
    b"1;a b\r\n",
    b'1;a="b\r\n',
    b"1;a=\x00\r\n",
    b"1;a\x00\r\n",
    b"1;a\rb\r\n",
    b"1;a\nb\r\n",
    b'1;a="\n"\r\n',
    b"1,a\r\n",
    b"1;;a\r\n",
    b"1\na\n0\n\n",
    b"1\r\na\n",
    b"1\r\nab\r\n",
    b"1\r\na0\r\n",
    b"1\r\na\r0\r\n",
    b"1\r\na\n\r\n0\r\n\r\n",
    b"1;" + b"e" * MAX_EXTENSION + b"\r\n",
    b"0\r\nno colon\r\n",
    b"0\r\n folded: x\r\n",
    b"0\r\nX : y\r\n",
    b"0\r\nX: a\x00\r\n",
    b"0\r\nX: a\rb\r\n",
    b"0\r\nX: a\nY: b\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\ntransfer-encoding: chunked\r\n\r\n",
    b"0\r\n: x\r\n",
    b"\x00\r\n",
]


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize("fault", [Reason.BAD_CHUNK, Reason.BAD_RESPONSE])
def test_a_malformed_chunk_is_refused_with_the_fault_of_its_side(body: bytes, fault: Reason) -> None:
    with pytest.raises(Bad) as refused:
        read(body, fault)
    assert refused.value.reason is fault
    assert refused.value.detail


@pytest.mark.parametrize(
    "body",
    [
        b"0\r\n" + b"X: y\r\n" * (MAX_TRAILER_FIELDS + 1) + b"\r\n",
        b"0\r\nX: " + b"y" * MAX_TRAILERS + b"\r\n\r\n",
        b"0\r\nX: " + b"y" * (MAX_TRAILERS + 1),
        b"0\r\n" + b"".join(b"X-%d: %b\r\n" % (i, b"y" * 1000) for i in range(9)),
    ],
)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Reason.BAD_CHUNK, Reason.HEADER_TOO_LARGE), (Reason.BAD_RESPONSE, Reason.RESPONSE_HEADER_TOO_LARGE)],
)
def test_trailers_beyond_their_limit_are_too_large(body: bytes, fault: Reason, reason: Reason) -> None:
    with pytest.raises(Bad) as refused:
        read(body, fault)
    assert refused.value.reason is reason


def test_extensions_are_bounded_over_the_whole_body() -> None:
    reader = ChunkReader(Reason.BAD_CHUNK)
    piece = b"1;" + b"e" * 200 + b"\r\nx\r\n"
    with pytest.raises(Bad) as refused:
        for _ in range(MAX_EXTENSIONS // 201 + 1):
            reader.feed(piece)
    assert refused.value.reason is Reason.BAD_CHUNK


@pytest.mark.parametrize(
    "start",
    [
        b"x",
        b"1 ",
        b"-",
        b"1" * 17,
        b"1\n",
        b"1\r\na\n",
        b"1\r\nab",
        b"\r\r",
        b"1;" + b"e" * 400,
        b"0\r\nX\n",
        b"0\r\n" + b"X" * 9000,
        b"\n",
    ],
)
def test_what_no_further_byte_can_mend_is_refused_at_once(start: bytes) -> None:
    if start == b"1 ":  # white space before an extension: refused when the line ends
        start += b";a\r\n"
    with pytest.raises(Bad):
        read(start)


@pytest.mark.parametrize(
    "start",
    [b"", b"1", b"F" * 16, b"1\r", b"1;a", b'1;a="', b"1\r\n", b"1\r\na", b"1\r\na\r", b"0\r\n", b"0\r\nX", b"0\r\n\r"],
)
def test_an_unfinished_body_waits(start: bytes) -> None:
    reader = ChunkReader(Reason.BAD_CHUNK)
    assert reader.feed(start)[1] == b""
    assert not reader.done


def test_after_the_end_everything_is_rest() -> None:
    reader = ChunkReader(Reason.BAD_CHUNK)
    assert fed(reader, b"0\r\n\r\n") == (b"", b"")
    assert fed(reader, b"0\r\n\r\n") == (b"", b"0\r\n\r\n")


def test_the_middle_of_a_large_chunk_is_passed_on_without_a_copy() -> None:
    reader = ChunkReader(Reason.BAD_CHUNK)
    reader.feed(b"40000\r\n")
    data = bytes(256 * 1024)
    assert reader.feed(data)[0][0] is data
    assert fed(reader, b"\r\n0\r\n\r\n") == (b"", b"") and reader.done


def test_large_chunks_that_come_together_are_passed_on_without_a_copy() -> None:
    reader = ChunkReader(Reason.BAD_CHUNK)
    data = b"2000\r\n" + b"a" * 8192 + b"\r\n1\r\nb\r\n3000\r\n" + b"c" * 8192
    taken, rest = reader.feed(data)
    assert [bytes(piece) for piece in taken] == [b"a" * 8192, b"b", b"c" * 8192] and rest == b""
    assert [isinstance(piece, memoryview) and piece.obj is data for piece in taken] == [True, False, True]


def test_many_pieces_are_one() -> None:
    reader = ChunkReader(Reason.BAD_CHUNK)
    taken, _ = reader.feed((b"1000\r\n" + b"a" * 4096 + b"\r\n") * (MAX_PIECES + 1))
    assert taken == [b"a" * 4096 * (MAX_PIECES + 1)]


def test_a_chunk_is_written_with_its_size_in_hexadecimal() -> None:
    assert b"".join(chunk([b"x" * 20, b"y" * 6], 26)) == b"1a\r\n" + b"x" * 20 + b"y" * 6 + b"\r\n"
    assert b"".join(chunk([b"x"], 1, last=True)) == b"1\r\nx\r\n0\r\n\r\n"


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b"01\r\nx\r\n", b"1;a\r\nx\r\n", b"fF\r\n" + b"y" * 255 + b"\r\n"])
def test_a_read_full_of_small_chunks_is_taken_in_many_turns(piece: bytes) -> None:
    count = 3 * MAX_CHUNKS + 5
    reader = ChunkReader(Reason.BAD_CHUNK)
    taken, rest = fed(reader, piece * count + b"0\r\n\r\nafter")
    payload, turns = [taken], 1
    while reader.waiting:
        assert not rest
        taken, rest = fed(reader, b"")
        payload.append(taken)
        turns += 1
    assert reader.done and rest == b"after" and turns == 4
    assert b"".join(payload) == piece.partition(b"\r\n")[2][:-2] * count


def test_a_read_that_ends_with_the_last_chunk_of_a_turn_leaves_nothing_waiting() -> None:
    reader = ChunkReader(Reason.BAD_CHUNK)
    assert fed(reader, b"1\r\nx\r\n" * MAX_CHUNKS) == (b"x" * MAX_CHUNKS, b"")
    assert not reader.waiting and not reader.done
    assert fed(reader, b"0\r\n\r\n") == (b"", b"") and reader.done
