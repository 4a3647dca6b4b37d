"""Product: the balancer itself, as `balancer run` starts it, and what its admin server says."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import IO, Any

import aiohttp

from balancer.demo.child import Child, died_of
from balancer.demo.places import HOME, HOST, configuration

READY_WITHIN = 30.0  # seconds
STOP_WITHIN = 12.0  # seconds: longer than the `stop_timeout` of the demo's configuration
_TAIL = 20  # lines of its log that are shown when it ends


class Ended(Exception):
    """The balancer, or what the demo cannot do without, has ended by itself; `code` is the demo's exit code."""

    def __init__(self, told: str, code: int) -> None:
        super().__init__(told)
        self.code = code


class Product:
    """The balancer as a child. Everything is learnt from its admin server, nothing from its inside."""

    def __init__(self, port: int, admin_port: int, log: Path) -> None:
        self.config = configuration()
        self.admin = f"http://{HOST}:{admin_port}"
        self.listener = f"http://{HOST}:{port}"
        self._environment = {"DEMO_LISTEN": f"{HOST}:{port}", "DEMO_ADMIN": f"{HOST}:{admin_port}"}
        self._log = log
        self._child: Child | None = None

    async def start(
        self, addresses: dict[str, str], access_log: int | IO[bytes], session: aiohttp.ClientSession
    ) -> None:
        """Start it with the addresses of the targets by name, and wait until it is ready."""
        with self._log.open("ab") as errors:
            self._child = Child(
                ["balancer", "run", str(self.config)],
                home=HOME,
                out=access_log,
                errors=errors,
                environment=self._environment | {f"DEMO_{name.upper()}": to for name, to in addresses.items()},
                at_our_end=signal.SIGTERM,
            )
        until = time.monotonic() + READY_WITHIN
        while not await self._ready(session):
            self.check()
            if time.monotonic() > until:
                raise Ended(f"the balancer was not ready within {READY_WITHIN:g} s\n{last_words(self._log)}", 70)
            await asyncio.sleep(0.05)

    async def _ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.admin}/readyz", timeout=aiohttp.ClientTimeout(total=2.0)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def check(self) -> None:
        """Raise Ended if it does not run any more."""
        code = self._child.exit_code if self._child is not None else None
        if code is not None:
            # Exit code 1 is a fault in the configuration, which is the reader's to edit; anything else is ours.
            raise Ended(f"the balancer has ended ({died_of(code)})\n{last_words(self._log)}", 1 if code == 1 else 70)

    async def ask(self, session: aiohttp.ClientSession) -> tuple[dict[str, Any], str]:
        """Return what `/api/v1/status` and `/metrics` say; raise ClientError or TimeoutError if they are silent."""
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with session.get(f"{self.admin}/api/v1/status", timeout=timeout, raise_for_status=True) as answer:
            status = await answer.json()
        async with session.get(f"{self.admin}/metrics", timeout=timeout, raise_for_status=True) as answer:
            return status, await answer.text()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop it: SIGTERM, and SIGKILL if it takes too long or somebody is in a hurry."""
        if self._child is None:
            return
        self._child.send(signal.SIGTERM)
        until = time.monotonic() + STOP_WITHIN
        while self._child.exit_code is None and time.monotonic() < until and not hurry.is_set():
            await asyncio.sleep(0.02)
        self._child.kill()


def last_words(log: Path) -> str:
    """Return the end of a log, "" if there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL:])
    except OSError:
        return ""
