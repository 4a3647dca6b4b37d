"""What clients send: request heads as files for the load generator, each behind its length."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterable
from pathlib import Path

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1 Version/17.5",
    "Mozilla/5.0 (X11; CrOS x86_64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
)
PATHS, CLIENTS, DRAWS = 1000, 200, 60_000
SERIAL = "@" * 16  # the generator puts another number here each time


def path_of(number: int) -> str:
    """Return the path of an item of the shop, without its query."""
    return f"/shop/category-{number % 37}/item-{number:04d}"


def head(target: str, client: int, *, method: str = "GET", session: str = "", fields: str = "") -> bytes:
    """Return a request head as a browser sends it; `fields`: further lines, each with its CR LF."""
    cookie = session or f"{client * 2654435761 % 2**32:08x}{client * 40503 % 2**32:08x}"
    return (
        f"{method} {target} HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: {AGENTS[client % len(AGENTS)]}\r\n"
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n"
        f"Accept-Encoding: gzip, deflate, br\r\nCookie: session={cookie}; theme=dark\r\n{fields}\r\n"
    ).encode()


def _shop(number: int, client: int, fields: str = "") -> bytes:
    return head(f"{path_of(number)}?page={number % 5 + 1}", client, fields=fields)


def _zipf() -> Iterable[bytes]:
    """Yield the same draws in every run: 1 000 paths x 200 clients, the n-th with a probability as 1/n."""
    draw = random.Random(1)
    made: dict[tuple[int, int], bytes] = {}

    def drawn(count: int) -> list[int]:
        sums = list(itertools.accumulate(1 / n for n in range(1, count + 1)))
        return draw.choices(range(1, count + 1), cum_weights=sums, k=DRAWS)

    for pair in zip(drawn(PATHS), drawn(CLIENTS)):
        if pair not in made:
            made[pair] = _shop(*pair)
        yield made[pair]


def _body(size: int, chunked: bool) -> list[bytes]:
    framing = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {size}\r\n"
    fields = f"Content-Type: application/octet-stream\r\n{framing}"
    return [head("/upload", 7, method="POST", fields=fields)]


def write(folder: Path, kind: str, *, size: int = 0, chunked: bool = False) -> Path:
    """Return the file of heads of a kind: same, zipf, unique, close, down, up; written once into `folder`."""
    path = folder / f"heads-{kind}-{size}-{chunked:d}"
    if not path.exists():
        kinds: dict[str, Iterable[bytes]] = {
            "same": [_shop(42, 7)],
            "zipf": _zipf() if kind == "zipf" else (),
            "unique": [head(f"/shop/item-{SERIAL}?page=1", 7, session=SERIAL)],
            "close": [_shop(42, 7, "Connection: close\r\n")],
            "down": [head(f"/{'chunked' if chunked else 'bytes'}/{size}", 7)],
            "up": _body(size, chunked),
        }
        path.write_bytes(b"".join(struct.pack("=I", len(one)) + one for one in kinds[kind]))
    return path
