"""Changes to bytes that tend to hurt parsers, by a seeded generator: for where no coverage guides the fuzzer."""

from __future__ import annotations

import random

ODD = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\t", b" ", b":", b";", b",", b"\x00", b"\x0b", b"\x7f", b"\xa0", b"\xff"]
ODD += [b"0", b"-", b"+", b"0x", b"chunked", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1"]


def mutate(data: bytes, others: list[bytes], chance: random.Random, longest: int = 4096) -> bytes:
    """Return `data` with one to four changes: a byte, a bit, a piece out, twice or from elsewhere, something odd."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((1, 2, 8, 64)))
        match chance.randint(0, 5):
            case 0:
                data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
            case 1:
                data = data[:at] + chance.choice(ODD) + data[at:]
            case 2:
                data = data[:at] + data[end:]
            case 3:
                data = data[:end] + data[at:end] + data[end:]
            case 4:
                other = chance.choice(others)
                start = chance.randint(0, len(other))
                data = data[:at] + other[start : start + chance.choice((4, 32, 256))] + data[end:]
            case _:
                data = data[:at] + _flipped(data[at : at + 1], chance) + data[at + 1 :]
    return data[:longest]


def _flipped(piece: bytes, chance: random.Random) -> bytes:
    return bytes(byte ^ (1 << chance.randrange(8)) for byte in piece)
