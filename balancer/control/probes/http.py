"""http probe: does the target answer one request as expected."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache

import aiohttp

from balancer.control.probes.job import KEPT, Job, Seen, failed
from balancer.model.names import ProbeResult

MOST = 64 * 1024  # bytes of a body that are looked at
USER_AGENT = "balancer-health"


class HttpProbe:
    """Asks on a new connection each time; follows no redirect, keeps no cookie, unpacks nothing."""

    def __init__(self) -> None:
        """Open the session (inside a running loop)."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        )

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def probe(self, job: Job) -> Seen:
        """Send the check's request and judge the answer, all within the check's timeout. Raises LocalTrouble."""
        try:
            async with asyncio.timeout(job.check.timeout):
                return await self._ask(job)
        except aiohttp.ClientConnectorError as error:
            return failed(error.os_error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return failed(error)

    async def _ask(self, job: Job) -> Seen:
        check = job.check
        address = f"[{job.ip}]" if ":" in job.ip else job.ip
        headers = {"User-Agent": USER_AGENT, **dict(check.headers), "Host": job.host, "Connection": "close"}
        async with self._session.request(
            check.method, f"http://{address}:{job.port}{check.path}", headers=headers, allow_redirects=False
        ) as response:
            drain = response.headers.get("X-Balancer-Drain") == "1"
            expected = any(low <= response.status <= high for low, high in check.expected_statuses)
            if not expected:
                body = await _read(response, KEPT)
                return Seen(ProbeResult.BAD_STATUS, f"status {response.status}", _text(body), drain)
            if check.expect_body:
                body = await _read(response, MOST)
                if not _matches(check.expect_body, body):
                    return Seen(
                        ProbeResult.BAD_BODY, f"the body has no {check.expect_body!r}", _text(body[:KEPT]), drain
                    )
            response.close()
            return Seen(ProbeResult.OK, f"status {response.status}", drain=drain)


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    while len(body) < most:
        piece = await response.content.read(most - len(body))
        if not piece:
            break
        body += piece
    response.close()
    return bytes(body)


def _matches(expected: str, body: bytes) -> bool:
    if expected.startswith("~"):
        return _pattern(expected[1:]).search(body.decode("utf-8", "replace")) is not None
    return expected.encode() in body


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _text(body: bytes) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in body.decode("utf-8", "replace"))
