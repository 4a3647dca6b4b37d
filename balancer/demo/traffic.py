"""Traffic: a little load of the demo's own, so that there is something to see, and to lose."""

from __future__ import annotations

import asyncio
import time
from collections import deque

import aiohttp

PER_SECOND = 20
PATIENCE = 30.0  # seconds for an answer: longer than a frozen zone can hold a request
RECENT = 10.0  # seconds that `slowest` looks back


class Traffic:
    """Sends requests at a steady rate, answered or not, and counts what became of them."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._running: set[asyncio.Task[None]] = set()
        self._took: deque[tuple[float, float]] = deque()  # (when, seconds)
        self.answered = 0
        self.failed = 0
        self.last_failure = ""

    @property
    def sent(self) -> int:
        """Requests sent, those that still wait for an answer included."""
        return self.answered + self.failed + len(self._running)

    def slowest(self) -> float:
        """Return the longest time that an answer of the last ten seconds has taken, in seconds."""
        while self._took and self._took[0][0] < time.monotonic() - RECENT:
            self._took.popleft()
        return max((seconds for _, seconds in self._took), default=0.0)

    async def run(self) -> None:
        """Send until cancelled; then let go of what still waits."""
        due = time.monotonic()
        try:
            while True:
                task = asyncio.create_task(self._one())
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                # Owed requests are not made up for after a pause: the demo, or the machine, was asleep.
                due = max(due + 1 / PER_SECOND, time.monotonic() - 1.0)
                await asyncio.sleep(due - time.monotonic())
        finally:
            for task in list(self._running):
                task.cancel()

    async def _one(self) -> None:
        began = time.monotonic()
        try:
            timeout = aiohttp.ClientTimeout(total=PATIENCE)
            async with self._session.get(self._url, timeout=timeout) as answer:
                await answer.read()
                fault = f"status {answer.status}" if answer.status >= 500 else ""
        except TimeoutError:
            fault = f"no answer within {PATIENCE:g} s"
        except aiohttp.ClientError as error:
            fault = str(error) or type(error).__name__
        ended = time.monotonic()
        self._took.append((ended, ended - began))
        if fault:
            self.failed += 1
            self.last_failure = fault
        else:
            self.answered += 1
