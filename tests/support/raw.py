"""RawClient: a client that sends exactly the bytes it is given and reads exactly one message at a time."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.support import http1
from tests.support.http1 import BadMessage, Head
from tests.support.stream import Body, Cut, End, Stream

Address = tuple[str, int]


@dataclass(slots=True)
class Response:
    """One final response and the 1xx ones before it; `framing` is length, chunked, close or none."""

    head: Head
    body_read: Body
    framing: str
    interim: tuple[Head, ...]
    end: End

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.head.start[0])

    @property
    def body(self) -> bytes:
        """The body, decoded."""
        return self.body_read.data

    @property
    def complete(self) -> bool:
        """Whether the framing says that nothing is missing."""
        return self.body_read.complete

    def get(self, name: str) -> str | None:
        """Return a field that may stand there once."""
        value = self.head.get(name)
        return None if value is None else value.decode("latin-1")

    def all(self, name: str) -> list[str]:
        """Return the values of all lines of a field."""
        return [value.decode("latin-1") for value in self.head.all(name)]

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        """Whether the response says that the connection ends after it."""
        tokens = b",".join(self.head.all("connection")).lower().replace(b" ", b"").split(b",")
        return b"close" in tokens or (self.head.minor == 0 and b"keep-alive" not in tokens)


class RawClient(Stream):
    """A connection to `address`; use as a context manager. `source` binds the local address."""

    def __init__(
        self, address: Address, timeout: float = 5.0, source: str | None = None, receive_buffer: int = 0
    ) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            sock.bind((source, 0))
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        super().__init__(sock, timeout)

    @property
    def local(self) -> Address:
        """This end's address."""
        name: Address = self.sock.getsockname()
        return name

    def recv_head(self, timeout: float | None = None) -> Head:
        """Read one response head, 1xx or final, strictly."""
        return http1.response_head(self.read_until(b"\r\n\r\n", timeout))

    def recv_response(self, method: str = "GET", timeout: float | None = None) -> Response:
        """Read the 1xx heads and the final response to a `method` request, and not a byte more.

        Raises Cut when the connection ends before the head is whole, BadMessage when the bytes are not in the one
        accepted form. A body that is cut short gives `complete == False`.
        """
        interim = []
        while True:
            head = self.recv_head(timeout)
            status = int(head.start[0])
            if status >= 200 or status == 101:
                break
            if head.all("content-length") or head.all("transfer-encoding"):
                raise BadMessage(f"a {status} with a body framing: {head.raw!r}")
            interim.append(head)
        length = http1.body_length(head)
        if status == 101 or status == 204:
            if length != -1:
                raise BadMessage(f"a {status} with a body framing: {head.raw!r}")
            return Response(head, Body(complete=True), "none", tuple(interim), self.end)
        if method == "HEAD" or status == 304:
            return Response(head, Body(complete=True), "none", tuple(interim), self.end)
        body = self.read_body(length, timeout)
        framing = "chunked" if length is None else "close" if length < 0 else "length"
        return Response(head, body, framing, tuple(interim), self.end)

    def ask(self, data: bytes, timeout: float | None = None) -> Response:
        """Send one request and read its response."""
        self.send(data)
        return self.recv_response(data.split(b" ", 1)[0].decode("latin-1"), timeout)

    def expect_closed(self, timeout: float | None = None) -> End:
        """Assert that the connection ends without another byte; return how (`fin` or `reset`)."""
        rest = self.read_to_end(timeout)
        assert not rest, f"bytes after the last message: {rest[:300]!r}"
        return self.end

    def has_nothing(self) -> bool:
        """Return whether neither a byte nor an end has arrived by now."""
        if self.buffer or self.end != "open":
            return False
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        return False


def request(
    method: str = "GET",
    target: str = "/",
    *headers: str,
    host: str | None = "test",
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """Return a request of one spelling; a body gets a Content-Length unless a header names the framing."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += headers
    named = {line.partition(":")[0].lower() for line in headers}
    if body and not named & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def ask(address: Address, data: bytes, timeout: float = 5.0) -> Response:
    """Send one request on a connection of its own and return the response."""
    with RawClient(address, timeout) as client:
        return client.ask(data)


__all__ = ["Address", "BadMessage", "Body", "Cut", "Head", "RawClient", "Response", "ask", "request"]
