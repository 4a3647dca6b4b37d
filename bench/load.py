"""The cases, and one slice of one of them: wrk against a proxy, and what the proxy used of its core meanwhile."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import machine
from proxies import BODY, LARGE, Running, Unfit

SCRIPT = Path(__file__).resolve().parent / "load.lua"
HEAD = 700  # bytes at most that a response head may have


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of load."""

    key: str
    title: str
    connections: int = 64
    body: int = BODY


CASES = (
    Case("same", "one request head, of a browser (372 bytes)"),
    Case("zipf", "varied heads: 1 000 paths x 200 clients, both zipf-distributed"),
    Case("unique", "no head ever repeats: a new path and a new cookie each time"),
    Case("new-connections", "a new connection for each request"),
    Case("download", "1 MiB downloads", connections=16, body=LARGE),
)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice showed. Times in µs per request; shares of the slice's time on one core."""

    requests_per_second: float
    worker: float
    everything: float
    busy: float
    waited: float  # share in which the worker was ready and did not run
    lost: float  # share of the core lost in the look before

    @property
    def disturbed(self) -> bool:
        return self.lost > machine.DISTURBED


_seeds = itertools.count(int(time.time()) % 1_000_000)


def warm_up(running: Running, case: Case, core: int) -> None:
    """Load for a second, and forget it."""
    _wrk(running, case, core, 1)


def measure(running: Running, case: Case, cores: machine.Cores, seconds: int, patience: machine.Patience) -> Slice:
    """Wait for quiet, then load for `seconds`; raises Unfit if any answer was not what it should be."""
    lost = patience.wait_for_quiet(cores)
    others = [pid for pid in running.pids if pid not in running.workers]
    before, before_others = machine.used(running.workers), machine.used(others)
    requests, elapsed = _wrk(running, case, cores.load, seconds)
    worker, rest = machine.used(running.workers).since(before), machine.used(others).since(before_others)
    return Slice(
        requests_per_second=requests / elapsed,
        worker=worker.cpu / requests * 1e6,
        everything=(worker.cpu + rest.cpu) / requests * 1e6,
        busy=(worker.cpu + rest.cpu) / elapsed,
        waited=worker.waited / elapsed,
        lost=lost,
    )


def _wrk(running: Running, case: Case, core: int, seconds: int) -> tuple[int, float]:
    """Return the number of requests that were answered, all of them well, and the seconds it took."""
    url = f"http://127.0.0.1:{running.plan.port}/"
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{case.connections}", f"-d{seconds}", "--timeout", "10"]
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), url, "--", case.key, str(next(_seeds))], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Unfit(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    requests = int(result["requests"])
    title = f"{running.plan.title}, {case.key}"
    if not requests or result["bad_status"] or result["errors"]:
        raise Unfit(f"{title}: {requests} requests, {result['bad_status']} bad answers, {result['errors']} errors")
    size = result["bytes"] / requests - case.body
    # What wrk has read of answers that are not complete at the end counts as bytes, too.
    if not 0 < size < HEAD + case.connections * case.body / requests:
        raise Unfit(f"{title}: {result['bytes'] / requests:.0f} bytes a response cannot be head and body")
    return requests, result["us"] / 1e6
