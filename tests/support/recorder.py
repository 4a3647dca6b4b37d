"""Recorder: an upstream that keeps every byte it gets, reads it strictly, and answers with the mark of the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.support import http1
from tests.support.http1 import BadMessage, Head
from tests.support.stream import Body, Cut, Stream
from tests.support.upstream import Upstream
from tests.support.waiting import wait_for


@dataclass(slots=True)
class Seen:
    """One request as it arrived; `number` counts connections, `serial` requests (complete or not) of this recorder."""

    number: int
    serial: int
    head: Head
    body_read: Body

    @property
    def method(self) -> str:
        """The method."""
        return self.head.start[0].decode()

    @property
    def target(self) -> str:
        """The request target as sent."""
        return self.head.start[1].decode("latin-1")

    @property
    def body(self) -> bytes:
        """The body, decoded."""
        return self.body_read.data

    @property
    def complete(self) -> bool:
        """Whether the body is whole."""
        return self.body_read.complete

    def get(self, name: str) -> str | None:
        """Return a field that may stand there once."""
        value = self.head.get(name)
        return None if value is None else value.decode("latin-1")

    def all(self, name: str) -> list[str]:
        """Return the values of all lines of a field."""
        return [value.decode("latin-1") for value in self.head.all(name)]

    @property
    def mark(self) -> str:
        """The value of X-Test-Id, or nothing."""
        return self.get("x-test-id") or ""

    @property
    def names(self) -> list[str]:
        """Field names in order, lower case."""
        return [name.decode().lower() for name, _ in self.head.headers]


Answer = Callable[["Seen"], "bytes | Iterable[bytes]"]


class Recorder(Upstream):
    """Answers 200 with `X-Echo-Id` (the request's X-Test-Id), `X-Serial`, `X-Recorder`; the body echoes the request's.

    `answer` replaces that: it returns the bytes of a response, or several to be sent one after the other. What is not
    a request in the one accepted form lands in `faults`. `on_expect` is sent when a head has Expect: 100-continue.
    """

    def __init__(
        self,
        name: str = "recorder",
        *,
        answer: Answer | None = None,
        on_expect: bytes = b"HTTP/1.1 100 Continue\r\n\r\n",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.name, self.answer, self.on_expect = name, answer, on_expect
        self.requests: list[Seen] = []
        self._by_mark: dict[str, list[Seen]] = {}
        self.heads: list[Head] = []
        self.faults: list[str] = []
        self.bytes_by_connection: dict[int, bytearray] = {}
        super().__init__(host, port)

    @property
    def connections(self) -> int:
        """Connections that have carried at least a byte."""
        return sum(1 for log in list(self.bytes_by_connection.values()) if log)

    @property
    def complete(self) -> list[Seen]:
        """The requests that arrived whole."""
        return [one for one in list(self.requests) if one.complete]

    def marked(self, mark: str) -> list[Seen]:
        """Return the requests, whole or not, that carry a mark."""
        return list(self._by_mark.get(mark, ()))

    def wait_for(self, mark: str, deadline: float = 5.0, since: int = 0) -> Seen:
        """Wait for the first request with a mark whose serial is at least `since`."""

        def found() -> list[Seen]:
            return [one for one in self.marked(mark) if one.serial >= since]

        return wait_for(found, deadline, f"request {mark} at {self.name}")[0]

    def serve(self, stream: Stream, number: int) -> None:
        self.bytes_by_connection[number] = stream.log
        while True:
            try:
                raw = stream.read_until(b"\r\n\r\n")
            except Cut as cut:
                if cut.got:
                    self.faults.append(f"connection {number}: ended inside a head: {cut.got!r}")
                return
            try:
                seen = self._read(stream, number, raw)
            except BadMessage as fault:
                self.faults.append(f"connection {number}: {fault}")
                return
            if not seen.complete:
                return
            made = (self.answer or self.echo)(seen)
            for piece in (made,) if isinstance(made, bytes) else made:
                stream.send(piece)
            if "close" in ",".join(seen.all("connection")).lower() or seen.head.minor == 0:
                return

    def _read(self, stream: Stream, number: int, raw: bytes) -> Seen:
        head = http1.request_head(raw)
        self.heads.append(head)
        length = http1.body_length(head)
        if b"100-continue" in head.all("expect") and self.on_expect:
            stream.send(self.on_expect)
        body = Body(complete=True) if length in (-1, 0) else stream.read_body(length)
        with self.lock:
            seen = Seen(number, len(self.requests), head, body)
            self.requests.append(seen)
            self._by_mark.setdefault(seen.mark, []).append(seen)
        return seen

    def echo(self, seen: Seen) -> bytes:
        """Return the default answer."""
        body = seen.body or f"{self.name}/{seen.serial}".encode()
        made = respond(200, body, f"X-Echo-Id: {seen.mark}", f"X-Serial: {seen.serial}", f"X-Recorder: {self.name}")
        return made[: made.index(b"\r\n\r\n") + 4] if seen.method == "HEAD" else made


def respond(status: int, body: bytes = b"", *headers: str, phrase: str = "Said", length: bool = True) -> bytes:
    """Return a response of one spelling, with a Content-Length unless told otherwise."""
    lines = [f"HTTP/1.1 {status} {phrase}", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
