"""One slice of one case: the generator against a proxy, and what the proxy used of its core meanwhile."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import heads
import machine
from cases import Case
from proxies import Running, Unfit

WARM = 0.2  # seconds of load before a slice counts
_WRK = str(Path(__file__).resolve().with_name("wrk.py"))
_serials = itertools.count(int(time.time() * 1000) << 20, 1 << 32)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice showed. CPU times in µs per request; shares of the slice's time on one core.

    `latency` and `late` (how late the generator itself was) in µs at 50, 99, 99.9 and 100 %.
    """

    requests_per_second: float
    worker: float
    everything: float
    busy: float
    busiest: float  # share of the busier worker in the CPU time of all workers
    rss: int  # bytes of the workers
    waited: float  # share in which the worker was ready and did not run
    lost: float  # share of the core lost in the look before
    latency: tuple[float, ...] = ()
    late: tuple[float, ...] = ()
    overloaded: bool = False  # open loop: the rate could not be carried

    @property
    def disturbed(self) -> bool:
        return self.lost > machine.DISTURBED


@dataclass(frozen=True, slots=True)
class Generator:
    """The load generator: its program, its core, and where files of heads are kept."""

    program: Path
    cores: machine.Cores
    folder: Path
    patience: machine.Patience

    def measure(self, running: Running, case: Case, seconds: float, rate: float = 0.0) -> Slice:
        """Wait for quiet, warm up, load for `seconds`; raises Unfit if any answer was not what it should be."""
        lost = self.patience.wait_for_quiet(self.cores)
        others = [pid for pid in running.pids if pid not in running.workers]
        with self._start(running, case, seconds, rate) as process:
            assert process.stdout is not None and process.stdin is not None
            if process.stdout.readline() != "ready\n":
                raise Unfit(f"{running.plan.title}, {case.key}: {_complaint(process)}")
            each, before_others = machine.used_each(running.workers), machine.used(others)
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
            now, rest = machine.used_each(running.workers), machine.used(others).since(before_others)
            if not line:
                raise Unfit(f"{running.plan.title}, {case.key}: {_complaint(process)}")
        spent = [now[key].since(each.get(key, machine.Used(0.0, 0.0))) for key in now]
        cpu, waited = sum(one.cpu for one in spent), sum(one.waited for one in spent)
        result = json.loads(line)
        requests, took = result["requests"], result["seconds"]
        overloaded = bool(rate and (result["errors"] or requests / took < 0.9 * rate))
        if not requests or result["bad"] or (result["errors"] and not rate):
            raise Unfit(
                f"{running.plan.title}, {case.key}: {requests} requests, {result['bad']} bad answers, "
                f"{result['errors']} errors\n{running.complaint()}"
            )
        return Slice(
            requests_per_second=requests / took,
            worker=cpu / requests * 1e6,
            everything=(cpu + rest.cpu) / requests * 1e6,
            busy=(cpu + rest.cpu) / took,
            busiest=max((one.cpu for one in spent), default=0.0) / cpu if cpu else 0.0,
            rss=sum(map(machine.rss, running.workers)),
            waited=waited / took / max(1, len(running.workers)),
            lost=lost,
            latency=tuple(result["latency"]) if rate else (),
            late=tuple(result["late"]) if rate else (),
            overloaded=overloaded,
        )

    def _start(self, running: Running, case: Case, seconds: float, rate: float) -> subprocess.Popen[str]:
        body = case.up if case.heads == "up" else case.down
        file = heads.write(self.folder, case.heads, size=body, chunked=case.chunked)
        warm = WARM if rate else max(WARM, case.connections / 5000, 0.5 * (case.heads == "zipf"))
        options = {
            "connections": case.connections,
            "seconds": seconds,
            "warm": warm,
            "rate": f"{rate:.0f}",
            "close": int(case.heads == "close"),
            "body": case.up,
            "chunked": int(case.chunked and case.up > 0),
            "expect": case.down,
            "serial": next(_serials),
        }
        program = [sys.executable, _WRK, str(self.program)] if case.wrk else [str(self.program)]
        where = ["127.0.0.1", str(running.plan.port), str(file)]
        return subprocess.Popen(
            [
                "taskset",
                "-c",
                str(self.cores.load),
                *program,
                *where,
                *(f"{key}={own}" for key, own in options.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _complaint(process: subprocess.Popen[str]) -> str:
    process.kill()
    assert process.stderr is not None
    return f"the load generator: {process.stderr.read().strip() or 'ended'}"
