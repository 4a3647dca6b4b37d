"""http probe: does the target answer one request as expected."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import cast

import httptools

from balancer.control.probes import search
from balancer.control.probes.job import KEPT, Job, Seen, failed
from balancer.model.names import ProbeResult

MOST = 64 * 1024  # bytes of a body that are looked at; by a pattern fewer
MOST_HEAD = 64 * 1024  # bytes of an answer before its body
USER_AGENT = "balancer-health"


class HttpProbe:
    """Asks on a new connection each time; follows no redirect, keeps no cookie, unpacks nothing.

    Two thousand of them a second are usual where targets are many: nothing is made for one that is not needed.
    """

    async def close(self) -> None:
        """Nothing is kept."""

    async def probe(self, job: Job) -> Seen:
        """Send the check's request and judge the answer, all within the check's timeout. Raises LocalTrouble."""
        loop = asyncio.get_running_loop()
        asking = _Asking(loop, job)
        try:
            async with asyncio.timeout(job.check.timeout):
                await loop.create_connection(lambda: asking, job.ip, job.port)
                await asking.over
        except (OSError, ValueError) as error:
            return failed(error)
        finally:
            asking.close()
        return asking.judge()


class _Asking(asyncio.Protocol):
    """One request and its answer, read as far as the check needs it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        self.over: asyncio.Future[None] = loop.create_future()
        self._job = job
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._status = 0
        self._head = 0  # bytes that came before the body
        self._body = bytearray()
        self._measured = False  # the answer says how long its body is
        self._drain = False
        self._most = 0  # bytes of the body that are wanted, once the head is there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes
        self._transport.write(request(self._job))

    def data_received(self, data: bytes) -> None:
        if self.over.done():
            return
        self._head += len(data) if not self._status else 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end()
        except httptools.HttpParserError as error:
            self._end(ValueError(str(error) or "the answer is not HTTP"))
        else:
            if self._head > MOST_HEAD and not self._status:
                self._end(ValueError("the head of the answer does not end"))

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._status and not self._measured and error is None:  # such a body ends so
            self._end()
        else:
            self._end(error or ValueError("the connection closed before the end of an answer"))

    # The parser's calls

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._measured = True
        elif lower == b"x-balancer-drain":
            self._drain = value == b"1"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._measured = self._drain = False
            return
        self._status = status
        if not self._expected():
            self._most = KEPT
        elif self._job.check.expect_body:
            self._most = MOST
        if not self._most or self._job.check.method == "HEAD":
            self._end()

    def on_body(self, data: bytes) -> None:
        if self._status:
            self._body += data
            if len(self._body) >= self._most:
                self._end()

    def on_message_complete(self) -> None:
        if self._status:
            self._end()

    def _end(self, error: Exception | None = None) -> None:
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)

    def close(self) -> None:
        """End the connection."""
        if self.over.done() and not self.over.cancelled():
            self.over.exception()  # it may be that nobody waited for it
        if self._transport is not None:
            self._transport.close()

    # What it means

    def _expected(self) -> bool:
        return any(low <= self._status <= high for low, high in self._job.check.expected_statuses)

    def judge(self) -> Seen:
        """Return what the answer says of the target."""
        check, body = self._job.check, bytes(self._body[: self._most])
        if not self._expected():
            return Seen(ProbeResult.BAD_STATUS, f"status {self._status}", _text(body), self._drain)
        if check.expect_body and (fault := _fault(check.expect_body, body)):
            return Seen(ProbeResult.BAD_BODY, fault, _text(body[:KEPT]), self._drain)
        return Seen(ProbeResult.OK, f"status {self._status}", drain=self._drain)


@lru_cache(maxsize=32 * 1024)
def request(job: Job) -> bytes:
    """Return the request of a check; a header that the check names replaces ours, but for Host and Connection."""
    fields = {"User-Agent": USER_AGENT, **dict(job.check.headers)}
    fields = {name: value for name, value in fields.items() if name.lower() not in ("host", "connection")}
    written = {name.lower() for name, _ in job.check.headers}
    if "user-agent" in written:
        fields = {name: value for name, value in fields.items() if value != USER_AGENT or name != "User-Agent"}
    lines = [f"{job.check.method} {job.check.path} HTTP/1.1", f"Host: {job.host}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    if job.check.method in ("POST", "PUT", "PATCH") and "content-length" not in written:
        lines.append("Content-Length: 0")
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode("utf-8", "surrogateescape")


def _fault(expected: str, body: bytes) -> str:
    """Return what is wrong with a body, "" if it is as expected."""
    try:
        has = search.found(expected[1:], body) if expected.startswith("~") else expected.encode() in body
    except search.TooLong:
        return f"the search for {expected!r} in the body took too long"
    return "" if has else f"the body has no {expected!r}"


def _text(body: bytes) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in body.decode("utf-8", "replace"))
