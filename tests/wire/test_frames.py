"""WebSocket frames of every kind, sound and broken: a tunnel passes each on, both ways, and changes no byte.

What Autobahn's cases ask of a proxy: after the 101 it is a pipe, whatever it carries.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import simple
from tests.support.raw import RawClient
from tests.support.stream import Cut, Stream
from tests.support.upstream import Upstream

MASK = b"\x37\xfa\x21\x3d"
OFFER = (
    b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG, GOES_ON = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """Return a frame. Source: RFC 6455, 5.2."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    length = len(payload)
    if length < 126:
        head = bytes((first, (0x80 if masked else 0) | length))
    elif length < 65536:
        head = bytes((first, (0x80 if masked else 0) | 126)) + struct.pack("!H", length)
    else:
        head = bytes((first, (0x80 if masked else 0) | 127)) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


FRAMES = {
    "text": frame(TEXT, b"hello"),
    "text, empty": frame(TEXT),
    "text of 125 bytes": frame(TEXT, b"*" * 125),
    "text of 126 bytes": frame(TEXT, b"*" * 126),
    "text of 65535 bytes": frame(TEXT, b"*" * 65535),
    "text of 65537 bytes": frame(TEXT, b"*" * 65537),
    "text in utf-8": frame(TEXT, "Hellö — κόσμε".encode()),
    "text that is no utf-8": frame(TEXT, b"\xce\xba\xed\xa0\x80edited"),
    "text that is half a character": frame(TEXT, b"\xf0\x90", final=False) + frame(GOES_ON, b"\x80\x80"),
    "binary": frame(BINARY, bytes(range(256))),
    "binary of a mebibyte": frame(BINARY, bytes(range(256)) * 4096),
    "fragments": frame(TEXT, b"a", final=False) + frame(GOES_ON, b"b", final=False) + frame(GOES_ON, b"c"),
    "empty fragments": frame(TEXT, final=False) + frame(GOES_ON, final=False) + frame(GOES_ON),
    "a fragment that goes on from nothing": frame(GOES_ON, b"x"),
    "ping": frame(PING, b"are you there"),
    "ping of 126 bytes, which is too long": frame(PING, b"*" * 126),
    "ping between fragments": frame(TEXT, b"a", final=False) + frame(PING, b"p") + frame(GOES_ON, b"b"),
    "pong that nobody asked for": frame(PONG, b"x"),
    "ten pings": b"".join(frame(PING, b"%d" % number) for number in range(10)),
    "a fragmented ping, which is an error": frame(PING, b"x", final=False),
    "a frame without a mask": frame(TEXT, b"x", masked=False),
    "close": frame(CLOSE),
    "close with half a code": frame(CLOSE, b"\x03"),
    "close with a reason": closing(1000, b"bye"),
    "close with a reason that is no utf-8": closing(1000, b"\xce\xba\xff"),
    "a frame after a close": closing(1000) + frame(TEXT, b"late"),
    "a length in more bytes than it needs": bytes((0x81, 0xFE)) + struct.pack("!H", 5) + MASK + b"hello",
    "a length of 2^63": bytes((0x82, 0xFF)) + struct.pack("!Q", 1 << 63) + MASK,
    "no frame at all": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "line ends and zeros": b"\r\n\r\n0\r\n\r\n\x00\x00\xff",
    **{f"reserved bits {bits}": frame(TEXT, b"x", reserved=bits) for bits in range(1, 8)},
    **{f"opcode {code}": frame(code, b"x") for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"close {code}": closing(code) for code in (0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1011, 1016, 3000, 4999)},
}


class Pipe(Upstream):
    """Switches protocols, then sends every byte back; `got` is what arrived on each connection."""

    def __init__(self) -> None:
        self.got: dict[int, bytearray] = {}
        super().__init__()

    def serve(self, stream: Stream, number: int) -> None:
        try:
            stream.read_until(b"\r\n\r\n")
        except Cut:
            return
        stream.send(SWITCH)
        self.got[number] = got = bytearray()
        got += stream.take(len(stream.buffer))
        stream.send(bytes(got))
        stream.sock.settimeout(10)
        while data := stream.sock.recv(65536):
            got += data
            stream.sock.sendall(data)


@pytest.fixture(scope="module")
def pipe() -> Iterator[Pipe]:
    with Pipe() as made:
        yield made


@pytest.fixture(scope="module")
def address(pipe: Pipe) -> Iterator[tuple[str, int]]:
    with Balancer(simple(pipe.address)) as balancer:
        yield balancer.address()


def echoed(address: tuple[str, int], pieces: list[bytes]) -> bytes:
    """Return what a tunnel brings back of `pieces`, sent one after the other."""
    with RawClient(address, timeout=10) as client:
        client.send(OFFER)
        assert client.recv_response().status == 101
        back = b""
        for piece in pieces:
            client.send(piece)
            back += client.read_exactly(len(piece))
        client.half_close()
        assert client.read_to_end() == b""
    return back


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_a_frame_passes_both_ways_untouched(data: bytes, pipe: Pipe, address: tuple[str, int]) -> None:
    for pieces in ([data], [data[:1], data[1:3], data[3:]]):
        assert echoed(address, [piece for piece in pieces if piece]) == data
        assert bytes(pipe.got[max(pipe.got)]) == data


def test_any_bytes_in_pieces_of_any_size_pass_both_ways_untouched(pipe: Pipe, address: tuple[str, int]) -> None:
    data = os.urandom(300_000)
    edges = [0, 1, 2, 3, 125, 126, 127, 128, 4095, 4096, 65535, 65536, 65537, 131072, 299_999, 300_000]
    assert echoed(address, [data[start:end] for start, end in itertools.pairwise(edges)]) == data
    assert bytes(pipe.got[max(pipe.got)]) == data
