"""What `slow.py` and `crowd.py` share: one worker on one core, everybody else on the other, and one good client."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator

from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.faults import quiet_port
from tests.support.kernel import cpu_seconds, resident_bytes
from tests.support.openloop import OpenLoop
from tests.support.process import Proc
from tests.support.report import Report
from tests.support.waiting import pace, wait_for

RATE = 100  # requests/s of the good client
MIB = 1024 * 1024


@contextlib.contextmanager
def scene(targets: int) -> Iterator[Balancer]:
    """Run a balancer with one worker on the first CPU; this process and what it starts later stay on the second."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("two CPUs are needed: one for the balancer, one for its clients and targets")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.sched_setaffinity(0, {cpus[1]})
    ports = [quiet_port() for _ in range(targets)]
    with contextlib.ExitStack() as stack:
        for port in ports:
            origin = stack.enter_context(Proc([sys.executable, "-m", "bench.origin", str(port)]))
            wait_for(lambda origin=origin: origin.out.read_text(), 10, "a target listens")  # type: ignore[misc]
        config = configs.simple(*(f"127.0.0.1:{port}" for port in ports), policy="least_conn")
        config["access_log"] = "off"
        yield stack.enter_context(Balancer(config, before=["taskset", "-c", str(cpus[0])]))


class Horde(Proc):
    """Very many clients in a process of their own."""

    def __init__(self, kind: str, address: tuple[str, int], count: int) -> None:
        argv = [sys.executable, "-m", "bench.hordes", kind, address[0], str(address[1]), str(count)]
        super().__init__(argv, commanded=True)

    def counts(self) -> dict[str, int]:
        """Return what it said last."""
        lines = self.out.read_text().splitlines()
        found: dict[str, int] = json.loads(lines[-1]) if lines else {"open": 0, "begun": 0, "ended": 0}
        return found


def good_client(address: tuple[str, int], seconds: float) -> Report:
    """Let the good client ask at its rate for so long, on a few connections."""
    return OpenLoop(address, rate=RATE, duration=seconds, host="bench", deadline=10.0).run()


def told(report: Report) -> str:
    """Return the figures of a load in a line."""
    ends = {str(word): count for word, count in [*report.statuses.items(), *report.lost.items()]}
    latency = f"p50 {report.p50 * 1e3:.2f} ms, p99 {report.p99 * 1e3:.2f} ms, max {report.worst * 1e3:.1f} ms"
    return f"{latency}, {ends} (generator late by {report.lateness_p99 * 1e3:.1f} ms)"


def stands(quiet: Report, busy: Report) -> bool:
    """Return whether the good client is served as it was: p99 within twice, or 5 ms more."""
    return busy.failed == 0 and busy.p99 <= max(2 * quiet.p99, quiet.p99 + 0.005)


def idle_cpu(pid: int, seconds: float = 3.0) -> float:
    """Return the share of a core that a process uses while nothing is asked of it."""
    before = cpu_seconds(pid)
    began = time.monotonic()
    pace(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


__all__ = [
    "MIB",
    "Horde",
    "cpu_seconds",
    "good_client",
    "idle_cpu",
    "pace",
    "resident_bytes",
    "scene",
    "stands",
    "told",
    "wait_for",
]
