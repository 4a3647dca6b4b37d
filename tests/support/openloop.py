"""OpenLoop: a client that sends each request when it is due, whatever became of the ones before, and counts every loss.

Latency runs from the moment a request was *due*, so a stall of the balancer is seen by every request that fell into it.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

import uvloop

from tests.support.loopclient import LoopConnection, Tag
from tests.support.report import Report, Sample

MakeRequest = Callable[[int, bytes], bytes]


class _Run:
    """The state of one run, all of it on one event loop."""

    def __init__(self, plan: OpenLoop) -> None:
        self.plan, self.require_mark, self.tag = plan, plan.require_mark, plan.tag
        self.idle: deque[LoopConnection] = deque()
        self.busy: dict[int, LoopConnection] = {}
        self.extra = self.idle_closed = self.opened = 0
        self.open_now = 0
        self.waiting = 0
        self.started = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self.started

    def release(self, connection: LoopConnection) -> None:
        self.idle.append(connection)

    def gone(self, connection: LoopConnection) -> None:
        self.open_now -= 1
        if connection in self.idle:
            self.idle.remove(connection)
            self.idle_closed += 1

    def finish(self, sample: Sample, cause: str) -> None:
        sample.done, sample.cause = self.now(), cause
        self.busy.pop(sample.index, None)

    def take(self) -> LoopConnection | None:
        """Return the most recently used idle connection that is still open."""
        while self.idle:
            connection = self.idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        return None

    def begin(self, sample: Sample, connection: LoopConnection) -> None:
        mark = b"ol-%b-%d" % (self.plan.run_id, sample.index)
        data = self.plan.make_request(sample.index, mark)
        sample.method = data.split(b" ", 1)[0].decode()
        self.busy[sample.index] = connection
        connection.send(sample, mark, data)

    async def begin_on_a_new_one(self, sample: Sample) -> None:
        connection = await self.connect(sample)
        if connection is not None:
            self.begin(sample, connection)

    async def connect(self, sample: Sample) -> LoopConnection | None:
        if self.open_now >= self.plan.max_connections:
            self.finish(sample, "no free connection")
            return None
        self.open_now += 1
        sample.sent = self.now()
        try:
            async with asyncio.timeout(self.plan.deadline):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: LoopConnection(self), *self.plan.address
                )
        except (OSError, TimeoutError) as fault:
            self.open_now -= 1
            self.finish(sample, f"connect: {type(fault).__name__}")
            return None
        self.opened += 1
        return connection

    async def pace(self) -> list[Sample]:
        plan = self.plan
        total = round(plan.rate * plan.duration)
        samples: list[Sample] = []
        tasks: set[asyncio.Task[None]] = set()
        self.started = time.monotonic()
        expired = 0
        for index in range(total):
            due = index / plan.rate
            while (ahead := due - self.now()) > 0:
                await asyncio.sleep(ahead)
            if plan.stopping.is_set():
                break
            sample = Sample(index, "", due)
            samples.append(sample)
            if (connection := self.take()) is not None:
                self.begin(sample, connection)
            else:
                task = asyncio.ensure_future(self.begin_on_a_new_one(sample))
                tasks.add(task)
                task.add_done_callback(lambda done: tasks.discard(done) if done.exception() is None else None)
            while samples[expired].done >= 0 and expired < index:
                expired += 1
            self.expire(samples, expired)
        while any(one.done < 0 for one in samples):
            self.expire(samples, 0)
            if tasks and all(task.done() for task in tasks):
                break
            await asyncio.sleep(0.002)
        if tasks:
            await asyncio.gather(*tasks)
        leaving, self.idle = self.idle, deque()
        for connection in leaving:
            connection.drop()
        await asyncio.sleep(0)
        return samples

    def expire(self, samples: list[Sample], start: int) -> None:
        limit = self.now() - self.plan.deadline
        for sample in samples[start:]:
            if sample.due > limit:
                return
            if sample.done < 0 and (connection := self.busy.get(sample.index)) is not None:
                connection.give_up("no answer in time")


class OpenLoop:
    """A load of `rate` requests/s for `duration` s; `run()`, or `start()` … `finish()` around a fault.

    `make_request(index, mark)` returns the bytes of a request; the mark should be in it (the default puts it in
    `X-Test-Id`), and an answer that carries another request's mark is counted as mismatched. `deadline` seconds after
    it was due a request counts as lost. `tag(head, body)` puts a word on each answer (`report.tags` counts them).
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        rate: float,
        duration: float,
        method: str | Callable[[int], str] = "GET",
        path: str | Callable[[int], str] = "/",
        host: str = "test",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        make_request: MakeRequest | None = None,
        deadline: float = 5.0,
        max_connections: int = 1000,
        require_mark: bool = False,
        tag: Tag | None = None,
    ) -> None:
        self.address, self.rate, self.duration = address, rate, duration
        self.deadline, self.max_connections, self.require_mark, self.tag = deadline, max_connections, require_mark, tag
        self.run_id = b"%08x" % random.getrandbits(32)
        self.stopping = threading.Event()
        self.make_request = make_request or self._maker(method, path, host, headers or {}, body)
        self._thread: threading.Thread | None = None
        self._report: Report | None = None
        self._fault: BaseException | None = None
        self._run: _Run | None = None

    @staticmethod
    def _maker(
        method: str | Callable[[int], str],
        path: str | Callable[[int], str],
        host: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> MakeRequest:
        fixed = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

        def make(index: int, mark: bytes) -> bytes:
            verb = method if isinstance(method, str) else method(index)
            where = path if isinstance(path, str) else path(index)
            has_body = verb in ("POST", "PUT", "PATCH")
            length = f"Content-Length: {len(body)}\r\n" if has_body else ""
            head = f"{verb} {where} HTTP/1.1\r\nHost: {host}\r\nX-Test-Id: {mark.decode()}\r\n{fixed}{length}\r\n"
            return head.encode("latin-1") + (body if has_body else b"")

        return make

    def run(self) -> Report:
        """Run to the end and return the report."""
        return self.start().finish()

    def start(self) -> OpenLoop:
        """Begin in a thread of its own."""
        self._thread = threading.Thread(target=self._main, name="open-loop", daemon=True)
        self._thread.start()
        return self

    def elapsed(self) -> float:
        """Return seconds since the first request was due, on the clock of the samples."""
        return self._run.now() if self._run is not None else 0.0

    def stop(self) -> Report:
        """Send nothing more, wait for what is under way, return the report."""
        self.stopping.set()
        return self.finish()

    def finish(self) -> Report:
        """Wait for the end of the run and return the report."""
        assert self._thread is not None, "start() first"
        self._thread.join(self.duration + 3 * self.deadline + 30)
        if self._fault is not None:
            raise self._fault
        assert self._report is not None, "the generator did not end"
        return self._report

    def _main(self) -> None:
        gc.freeze()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self._run = run = _Run(self)
                began_wall = time.time()
                samples = runner.run(run.pace())
                self._report = Report(samples, self.rate, run.extra, run.idle_closed, run.opened, began_wall)
        except BaseException as fault:
            self._fault = fault
        finally:
            gc.unfreeze()


__all__ = ["OpenLoop", "Report", "Sample"]
