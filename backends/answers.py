"""What a demo backend answers, path by path.

    /healthz          {"status": "ok"}, for health checks
    /slow?ms=500      the usual answer, later
    /status/404       the usual answer under that status
    /bytes/1000000    that many bytes, byte i is i mod 256; ?chunked=1: without a length; ?ms=5: a rest each 64 KiB
    /echo             the request body as it comes, for any method
    /sse?n=5&ms=200   server-sent events
    /ws               a WebSocket echo
    /count            requests seen so far, by the first word of the path, without /healthz, /count and /fail
    /fail?mode=hang   the failure switch (POST; see `backends.faults`), or its position (GET)
    anything else     the usual answer: {name, zone, method, path, query, headers, body_bytes, count} as JSON

Every answer carries `X-Backend` and `X-Zone`. `count` is the number of requests seen, this one included.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from backends import faults
from backends.faults import Fault, Mode, Switch
from backends.query import whole

_BLOCK: Final = bytes(range(256)) * 256
_NO_BODY: Final = frozenset({204, 205, 304})
_MAX_WAIT_MS: Final = 3_600_000
_MAX_BYTES: Final = 1 << 50


class Backend:
    """One demo backend: who it is, what it has seen, how it fails. `serve` answers any request."""

    def __init__(self, name: str, zone: str) -> None:
        self.name = name
        self.zone = zone
        self.seen: Counter[str] = Counter()
        self.switch = Switch()
        self.stopping = asyncio.Event()
        self._sockets: set[web.WebSocketResponse] = set()
        self._marks = {"X-Backend": name, "X-Zone": zone}
        self._traffic: dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = {
            "slow": self._slow,
            "status": self._status,
            "bytes": self._bytes,
            "echo": self._echo,
            "sse": self._sse,
            "ws": self._ws,
        }

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Never raises on what a client may send."""
        word = request.path.split("/", 2)[1] if request.path.startswith("/") else ""
        if word == "count":
            return self._json({"name": self.name, "zone": self.zone, "total": self.seen.total(), "kinds": self.seen})
        if word == "fail":
            return self._fail(request)
        health = word == "healthz"
        if not health:
            self.seen[word if word in self._traffic else "any"] += 1
        fault = self.switch.met(health)
        try:
            if fault is not None:
                failed = await self._misbehave(request, fault)
                if failed is not None:
                    return failed
            if health:
                return self._json({"status": "ok"})
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            return await self._traffic.get(word, self._usual)(request)
        except ValueError as error:
            return self._json({"error": str(error)}, 400)

    async def stop(self) -> None:
        """Let go of what would never end by itself: requests that hang, event streams, WebSockets."""
        self.stopping.set()
        self.switch.turn(None)
        await asyncio.gather(*(ws.close(code=WSCloseCode.GOING_AWAY) for ws in self._sockets), return_exceptions=True)

    # the paths

    async def _usual(self, request: web.BaseRequest, status: int = 200) -> web.StreamResponse:
        size = 0
        if request.can_read_body:
            async for chunk in request.content.iter_any():
                size += len(chunk)
        if status in _NO_BODY:
            return web.Response(status=status, headers=self._marks)
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path, _, query = request.raw_path.partition("?")
        said = {"name": self.name, "zone": self.zone, "method": request.method, "path": path, "query": query}
        return self._json({**said, "headers": headers, "body_bytes": size, "count": self.seen.total()}, status)

    async def _slow(self, request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(whole(request.query.get("ms", "1000"), "ms", 0, _MAX_WAIT_MS) / 1000)
        return await self._usual(request)

    async def _status(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._usual(request, whole(_second_word(request), "the status", 200, 599))

    async def _bytes(self, request: web.BaseRequest) -> web.StreamResponse:
        left = whole(_second_word(request), "the size", 0, _MAX_BYTES)
        rest = whole(request.query.get("ms", "0"), "ms", 0, _MAX_WAIT_MS) / 1000
        response = web.StreamResponse(headers={**self._marks, "Content-Type": "application/octet-stream"})
        if request.query.get("chunked") != "1":
            response.content_length = left
        await response.prepare(request)
        while left and request.method != "HEAD":
            # Whole blocks but for the last, so that the pattern of bytes runs on.
            await response.write(_BLOCK if left >= len(_BLOCK) else _BLOCK[:left])
            left = max(0, left - len(_BLOCK))
            if rest:
                await asyncio.sleep(rest)
        await response.write_eof()
        return response

    async def _echo(self, request: web.BaseRequest) -> web.StreamResponse:
        kind = request.headers.get("Content-Type", "application/octet-stream")
        response = web.StreamResponse(headers={**self._marks, "Content-Type": kind})
        if request.content_length is not None or not request.can_read_body:
            response.content_length = request.content_length or 0
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            if request.method != "HEAD":
                await response.write(chunk)
        await response.write_eof()
        return response

    async def _sse(self, request: web.BaseRequest) -> web.StreamResponse:
        events = whole(request.query.get("n", "5"), "n", 0, 1_000_000)
        rest = whole(request.query.get("ms", "200"), "ms", 0, _MAX_WAIT_MS) / 1000
        headers = {**self._marks, "Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for number in range(1, events + 1):
            if number > 1 and await self._stops_within(rest):
                break
            data = json.dumps({"name": self.name, "zone": self.zone, "n": number})
            await response.write(f"id: {number}\nevent: tick\ndata: {data}\n\n".encode())
        await response.write_eof()
        return response

    async def _ws(self, request: web.BaseRequest) -> web.StreamResponse:
        # Nothing may change the frames on their way back: no compression, no limit of our own.
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        socket.headers.update(self._marks)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
        finally:
            self._sockets.discard(socket)
        return socket

    # the switch

    def _fail(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            try:
                self.switch.turn(faults.read(request.query))
            except ValueError as error:
                return self._json({"error": str(error)}, 400)
        return self._json({"name": self.name, "zone": self.zone, "fail": str(self.switch.fault or "off")})

    async def _misbehave(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse | None:
        """Return the answer that the fault gives, or None where the request is to be served after all."""
        if fault.mode is Mode.HANG:
            await self.switch.changed()
            if not self.stopping.is_set():
                return None
        elif fault.mode in {Mode.STATUS, Mode.HEALTHZ}:
            return self._json({"status": "failing on purpose"}, fault.status)
        if request.transport is not None:
            faults.cut(request.transport, reset=fault.mode is Mode.RESET)
        # Nobody is left to read it: aiohttp asks for an answer all the same.
        return web.Response(status=503)

    # small parts

    def _json(self, said: dict[str, Any], status: int = 200) -> web.Response:
        if status in _NO_BODY:
            return web.Response(status=status, headers=self._marks)
        body = json.dumps(said).encode() + b"\n"
        return web.Response(body=body, status=status, headers=self._marks, content_type="application/json")

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.stopping.wait()
        except TimeoutError:
            return False


def _second_word(request: web.BaseRequest) -> str:
    return request.path.split("/", 3)[2] if request.path.count("/") > 1 else ""
