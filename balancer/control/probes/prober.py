"""prober: runs every target's checks, each when it is due, none waiting behind another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from balancer.control import log
from balancer.control.facts import Instant, Key, Probe
from balancer.control.probes import tcp
from balancer.control.probes.http import HttpProbe
from balancer.control.probes.job import Job, LocalTrouble, Seen
from balancer.control.probes.schedule import Schedule
from balancer.model.names import CheckType

MOST_STARTS = 64  # probes begun in one turn of the loop: what else control does must not wait for thousands
LONGEST_SLEEP = 0.25  # seconds; also how finely a stall of this process is noticed


class Prober:
    """Keeps the probes of the present targets going.

    `report` gets each result; `delay` then says in how many seconds the target wants the next one.
    """

    def __init__(
        self,
        report: Callable[[Key, Probe], None],
        delay: Callable[[Key], float],
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`at_once`: the most probes that may run at the same time; `clock` is monotonic."""
        self._clock = clock
        self._report = report
        self._delay = delay
        self._slots = asyncio.Semaphore(at_once)
        self._schedule: Schedule[Job] = Schedule()
        self._subscribers: dict[Job, set[Key]] = {}
        self._jobs: dict[Key, Job] = {}
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._http: HttpProbe | None = None
        self._expected = clock()  # when the loop below should turn at the latest
        self._stalls: list[tuple[float, float]] = []  # (when it was noticed, seconds late)
        self._complained = 0.0

    def assign(self, wanted: Mapping[Key, Job]) -> None:
        """Probe exactly these from now on; what was probed before the same way goes on undisturbed."""
        others = [key for key, job in self._jobs.items() if (new := wanted.get(key)) is not job and new != job]
        for key in others:
            job = self._jobs.pop(key)
            self._subscribers[job].discard(key)
            if not self._subscribers[job]:
                del self._subscribers[job]
                self._schedule.forget(job)
        fresh: list[Job] = []
        for key, job in wanted.items():
            if key in self._jobs:
                continue
            self._jobs[key] = job
            if job not in self._subscribers:
                self._subscribers[job] = set()
                if job not in self._running:
                    fresh.append(job)
            self._subscribers[job].add(key)
        self._schedule.begin(fresh, self._clock())
        self._wake.set()

    def hurry(self, key: Key) -> None:
        """Probe a target at once, rather than when it is due."""
        job = self._jobs.get(key)
        if job is not None and job not in self._running:
            self._schedule.begin([job], self._clock())
            self._wake.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        self._http = HttpProbe()
        try:
            while True:
                now = self._clock()
                self._note_stall(now)
                for job in self._schedule.take(now, MOST_STARTS):
                    if job in self._subscribers and job not in self._running:
                        self._running[job] = asyncio.create_task(self._probe(job))
                due = self._schedule.next_at()
                wait = LONGEST_SLEEP if due is None else min(LONGEST_SLEEP, max(0.0, due - now))
                self._expected = now + wait
                self._wake.clear()
                try:
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            await self._http.close()

    async def _probe(self, job: Job) -> None:
        """Probe once, and see to it that the target is probed again whatever comes of that."""
        try:
            await self._probe_once(job)
        except Exception:
            log.LOG.exception("a probe failed here address=%s", log.quoted(f"{job.ip}:{job.port}"))
            if job in self._subscribers:
                self._schedule.again(job, self._clock(), job.check.interval, regular=True)
                self._wake.set()

    async def _probe_once(self, job: Job) -> None:
        started = self._clock()
        seen: Seen | None = None
        try:
            async with self._slots:
                started = self._clock()
                seen = await self._seen(job)
        except LocalTrouble as trouble:
            if started - self._complained > 10:
                self._complained = started
                log.warn("a probe could not be made here", error=trouble)
        finally:
            self._running.pop(job, None)
        ended = self._clock()
        if seen is None or self._stalled(job, started, ended):
            if job in self._subscribers:
                self._schedule.again(job, ended, job.check.fast_interval, regular=False)
        else:
            self._deliver(job, seen, started, ended)
        due = self._schedule.next_at()
        if due is not None and due < self._expected:  # else the loop is awake in time
            self._wake.set()

    async def _seen(self, job: Job) -> Seen:
        if job.check.type is CheckType.TCP or self._http is None:
            return await tcp.probe(job)
        return await self._http.probe(job)

    def _deliver(self, job: Job, seen: Seen, started: float, ended: float) -> None:
        probe = Probe(Instant(ended, time.time()), seen.result, seen.detail, ended - started, seen.body, seen.drain)
        delays: list[float] = []
        for key in sorted(self._subscribers.get(job, ())):
            self._report(key, probe)
            delays.append(self._delay(key))
        if job in self._subscribers and delays:
            regular = min(delays) > job.check.fast_interval
            self._schedule.again(job, ended, min(delays), regular=regular)

    # A host or container that was asleep: what ended then says nothing about targets.

    def _note_stall(self, now: float) -> None:
        late = now - self._expected
        if late > LONGEST_SLEEP:
            self._stalls = [*self._stalls[-15:], (now, late)]

    def _stalled(self, job: Job, started: float, ended: float) -> bool:
        late = ended - self._expected
        return late > job.check.interval or any(
            noticed >= started and seconds > job.check.interval for noticed, seconds in self._stalls
        )
