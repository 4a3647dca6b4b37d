"""The fuzz targets by name: the function that holds for any bytes, where its seeds come from, its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import bodies, heads, settings, wire
from tests.wire import cases_request, cases_response

CORPUS = Path(__file__).parent / "corpus"
CONFIG = Path(__file__).parents[2] / "config"
SEED_LIMIT = 20_000  # bytes


def _requests() -> Iterator[bytes]:
    yield from (case.data for case in cases_request.CASES)
    yield from (case.data for case in cases_request.UNFINISHED)


def _request_lines() -> Iterator[bytes]:
    yield from {data.partition(b"\r\n")[0] for data in _requests()}


def _responses() -> Iterator[bytes]:
    yield from (case.data.replace(b"{mark}", b"m") + b"".join(case.apart) for case in cases_response.CASES)


def _chunked() -> Iterator[bytes]:
    for data in (*_requests(), *_responses()):
        head, _, body = data.partition(b"\r\n\r\n")
        if b"chunked" in head and body:
            yield b"\x40\x80\xa0\xc0" + body


def _configurations() -> Iterator[bytes]:
    yield from (file.read_bytes() for file in sorted(CONFIG.rglob("*.yaml")))


def _rules() -> Iterator[bytes]:
    yield from (bytes((start * step) % 251 for start in range(40)) for step in range(1, 24))


def _matchers() -> Iterator[bytes]:
    for line in _request_lines():
        parts = line.split(b" ")
        yield parts[1 if len(parts) > 1 else 0] + b"\na.test:80\nq=abc&x=1"
    yield from (b"/\n" + text for text in (rb"^/(a+)+$", rb"[a-z]{2,5}(x|y)*", rb"(?i)x", rb"\d+\.\w*$", b"["))


@dataclass(frozen=True, slots=True)
class Target:
    """`hold` raises AssertionError, or anything, where what it promises does not hold."""

    name: str
    hold: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    longest: int = 4096
    words: tuple[str, ...] = ()  # for the dictionary of the fuzzer

    def inputs(self) -> list[tuple[str, bytes]]:
        """Return (name, bytes) of every seed, and of every file that is kept for this target."""
        kept = sorted((CORPUS / self.name).glob("*"))
        made = [(f"seed {number}", data) for number, data in enumerate(self.seeds()) if len(data) <= SEED_LIMIT]
        return made + [(file.name, file.read_bytes()) for file in kept]


_HTTP = (
    *(
        "HTTP/1.1",
        "HTTP/1.0",
        "GET ",
        "POST ",
        "Host: a",
        "Content-Length: ",
        "Transfer-Encoding: chunked",
        "http://a/",
    ),
    *("\\x0d\\x0a", "\\x0d\\x0a\\x0d\\x0a", "\\x0a", "\\x0d", "\\x00", "\\x0b", "\\xff", ", ", ";", "%2e%2e", "gzip"),
    *(
        "Connection: ",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "close",
        "keep-alive",
        "X-Forwarded-For: ",
        "0\\x0d",
    ),
)
_YAML = (
    *("listeners:", "target_groups:", "rules:", "name: ", "address: ", "targets:", "- ", "\\x0a  ", "{", "}", "[", "]"),
    *("match:", "action:", "forward: ", "timeouts:", "limits:", "zones:", "retry:", "&a ", "*a", "!!", "${A:-b}"),
)


def _cut(messages: Callable[[], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
    """Return seeds that begin with the bytes that say where they are cut."""
    return lambda: (b"\x40\x80\xc0" + data for data in messages())


TARGETS = {
    target.name: target
    for target in (
        Target("request-line", heads.request_line, _request_lines, 1024, _HTTP),
        Target("request-head", heads.request_head, _requests, words=_HTTP),
        Target("response-head", heads.response_head, _responses, words=_HTTP),
        Target("chunked", bodies.chunked, _chunked, 1024, (";a=b", "\\x0d\\x0a", "0\\x0d\\x0a\\x0d\\x0a", "\\x22")),
        Target("configuration", settings.configuration, _configurations, words=_YAML),
        Target("router", settings.router, _rules, 128),
        Target("matchers", settings.matchers, _matchers, 512, ("%2e", "%2F", "//", "/../", "[::1]", "(a+)+", "{2,}")),
        Target("client-bytes", wire.client_bytes, _cut(_requests), words=_HTTP),
        Target("target-bytes", wire.target_bytes, _cut(_responses), words=_HTTP),
    )
}
