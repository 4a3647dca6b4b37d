"""A proxy as one writes it in an afternoon: aiohttp's server in front of aiohttp's client, on uvloop.

    aiohttp_proxy.py PORT WORKERS LOG TARGETS

LOG is a file for the access log, or `off`; TARGETS a file with one host:port a line. It does what our defaults do on
the way through: least connections, a pool, X-Forwarded-*, X-Request-ID; both bodies are streamed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict

HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "TE", "Trailer", "Proxy-Connection")
LINE = (
    '{"time":"%s","request_id":"%s","listener":"web","client":"%s","method":"%s","host":"%s","path":"%s","status":%d,'
    '"source":"upstream","reason":"","target_group":"bench","target":"%s","zone":"default","duration_ms":%.3f,'
    '"connect_ms":0,"first_byte_ms":%.3f,"bytes_in":%d,"bytes_out":%d,"retries":0,"upstream_status":%d,"detail":""}\n'
)


class Proxy:
    """One worker."""

    def __init__(self, port: int, log: str, targets: list[str]) -> None:
        self.port, self.targets = str(port), targets
        self.active = dict.fromkeys(targets, 0)
        self.serial, self.turn = itertools.count(1), itertools.count()
        self.log = None if log == "off" else Path(log).open("a", buffering=64 * 1024)  # noqa: SIM115 (as long as we run)
        self.session: aiohttp.ClientSession | None = None

    def pick(self) -> str:
        """Return a target with the fewest requests, ties in turn."""
        start = next(self.turn) % len(self.targets)
        return min(self.targets[start:] + self.targets[:start], key=self.active.__getitem__)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Carry one request."""
        assert self.session is not None
        began = time.perf_counter()
        name = f"{os.getpid()}-{next(self.serial)}"
        headers = CIMultiDict(request.headers)
        for hop in HOP_BY_HOP:
            headers.popall(hop, None)
        client = request.remote or ""
        headers["X-Forwarded-For"] = headers["X-Real-IP"] = client
        headers["X-Forwarded-Host"], headers["X-Forwarded-Port"] = request.host, self.port
        headers["X-Forwarded-Proto"], headers["X-Request-ID"] = "http", name
        target = self.pick()
        self.active[target] += 1
        try:
            async with self.session.request(
                request.method,
                f"http://{target}{request.raw_path}",
                headers=headers,
                data=request.content.iter_any() if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                first = time.perf_counter()
                out = CIMultiDict(answer.headers)
                for hop in HOP_BY_HOP:
                    out.popall(hop, None)
                out["X-Request-ID"] = name
                response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=out)
                await response.prepare(request)
                sent = 0
                async for piece in answer.content.iter_any():
                    sent += len(piece)
                    await response.write(piece)
                await response.write_eof()
        finally:
            self.active[target] -= 1
        if self.log is not None:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            took, waited = (time.perf_counter() - began) * 1e3, (first - began) * 1e3
            who = (stamp, name, client, request.method, request.host, request.path, answer.status, target)
            self.log.write(LINE % (*who, took, waited, request.content_length or 0, sent, answer.status))
        return response

    async def run(self) -> None:
        """Serve until told to stop."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=None)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=60)
        skipped = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, skip_auto_headers=skipped
        ) as self.session:
            server = web.Server(self.serve, keepalive_timeout=75, access_log=None)
            loop, stop = asyncio.get_running_loop(), asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            listening = await loop.create_server(server, "127.0.0.1", int(self.port), backlog=4096, reuse_port=True)
            await stop.wait()
            listening.close()
            await server.shutdown(1)


def main() -> None:
    """Start the workers and wait for them."""
    port, workers, log, targets = sys.argv[1:]
    names = Path(targets).read_text().split()
    children = []
    for _ in range(int(workers)):
        pid = os.fork()
        if pid == 0:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(Proxy(int(port), log, names).run())
            os._exit(0)
        children.append(pid)

    def pass_on(number: int, _frame: object) -> None:
        for pid in children:
            os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
