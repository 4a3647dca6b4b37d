"""`make bench-scale`: control with ten thousand targets in two hundred groups and five thousand rules.

generate -> read and check -> start -> probes for a while -> /metrics -> reloads under load -> probes by HTTP
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from statistics import median, pstdev

import heads
import machine
import needs
import proxies

RESULTS = Path(__file__).resolve().parent / "results"
WEB, ADMIN, TARGETS = 18186, 18187, 18196
INTERVAL = 5.0  # seconds between two probes of a target
RATE = 1000  # requests/s while the configuration changes
START = 120.0  # seconds until it must be ready
_READ = """
import time, sys
from pathlib import Path
from balancer.config.load import load
best = []
for _ in range(3):
    began = time.process_time()
    loaded = load(Path(sys.argv[1]), {})
    best.append(time.process_time() - began)
    assert loaded.snapshot is not None, loaded.faults[:3]
print(min(best))
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything."""

    targets: int
    groups: int
    rules: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure beside its target: at most `most`."""

    what: str
    value: float
    most: float
    unit: str
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.most

    def line(self) -> str:
        return (
            f"{self.what:<52}{self.value:>10.1f} {self.unit:<4} of {self.most:>7.0f}  "
            f"{'met' if self.met else 'MISSED':<8}{self.note}"
        )


def configuration(size: Size, check: str, weight: int = 1, workers: int = 1) -> str:
    """Return a configuration of that size; `weight` is the first target's, `check` tcp or http."""
    checks = "{type: tcp}" if check == "tcp" else "{type: http, path: /healthz}"
    rules = "".join(
        f'      - {{match: {{hosts: ["shop-{n % 500}.example.com"], paths: ["/v{n % 10}/service-{n}/"]}}, '
        f"action: {{forward: group-{n % size.groups}}}}}\n"
        for n in range(size.rules - 1)
    )
    parts = [
        f"admin: {{address: 127.0.0.1:{ADMIN}}}\nworkers: {workers}\naccess_log: off\n"
        f"listeners:\n  - name: web\n    address: 127.0.0.1:{WEB}\n    rules:\n{rules}"
        "      - action: {forward: group-0}\ntarget_groups:\n"
    ]
    each = size.targets // size.groups
    for group in range(size.groups):
        parts.append(f"  - name: group-{group}\n    policy: least_conn\n    health_check: {checks}\n    targets:\n")
        for number in range(group * each, group * each + each):
            address = f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}:{TARGETS}"
            own = weight if number == 0 else 1
            parts.append(
                f'      - {{name: t{number}, address: "{address}", zone: zone-{"abc"[number % 3]}, weight: {own}}}\n'
            )
    return "".join(parts)


class Bench:
    """The running pieces: origin, balancer, and where they write."""

    def __init__(self, here: Path, size: Size, cores: machine.Cores, python: str) -> None:
        self.here, self.size, self.cores, self.python = here, size, cores, python
        self.config = here / "balancer.yaml"
        self.log = here / "balancer.log"
        self.counts = here / "counts"
        self.figures: list[Figure] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self._weight = 1

    def say(self, what: str, value: float, most: float, unit: str, note: str = "") -> None:
        """Keep a figure and print it."""
        self.figures.append(Figure(what, value, most, unit, note))
        print(self.figures[-1].line(), flush=True)

    def write(self, check: str = "tcp") -> None:
        """Write the configuration, another one each time, in one step."""
        self._weight += 1
        fresh = self.config.with_suffix(".new")
        fresh.write_text(configuration(self.size, check, self._weight))
        fresh.replace(self.config)

    def start(self) -> None:
        """Start origin and balancer; return when it is ready and every target is healthy."""
        pin = ["taskset", "-c", str(self.cores.load)]
        with self.counts.open("wb") as out:
            self._started.append(
                subprocess.Popen([*pin, str(needs.compiled("origin")), str(TARGETS), "1", "lo"], stdout=out)
            )
        environment = os.environ | {"PYTHONPATH": str(proxies.ROOT)}
        began = time.monotonic()
        with self.log.open("wb") as out:
            command = [self.python, "-m", "balancer", "run", str(self.config)]
            self.balancer = subprocess.Popen(command, stderr=out, env=environment, start_new_session=True)
        self._started.append(self.balancer)
        self.wait(lambda: _get("/readyz") is not None, "ready")
        ready = time.monotonic() - began
        self.wait(lambda: self._healthy() == self.size.targets, "healthy")
        print(f"ready after {ready:.1f} s, all healthy after {time.monotonic() - began:.1f} s", flush=True)

    def control(self) -> int:
        """Return the process that is control now."""
        tree = machine.tree(self.balancer.pid)
        found = next((pid for pid in tree if machine.name(pid).startswith("balancer-c")), None)
        if found is None:
            raise proxies.Unfit(f"control is not there:\n{self.log.read_text(errors='replace')[-1500:]}")
        return found

    def _healthy(self) -> int:
        return self.log.read_text(errors="replace").count("target became healthy")

    def wait(self, done: object, what: str) -> None:
        """Wait until something is so; raises Unfit."""
        until = time.monotonic() + START
        while not done():  # type: ignore[operator]
            if self.balancer.poll() is not None or time.monotonic() > until:
                raise proxies.Unfit(f"not {what}:\n{self.log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.1)

    def probes(self, check: str, most: float, seconds: float) -> None:
        """Measure what probing costs control, and how evenly probes are spread."""
        control = self.control()
        before, since = machine.used([control]), time.monotonic()
        lines = len(self.counts.read_text().splitlines())
        time.sleep(seconds)
        took = time.monotonic() - since
        share = machine.used([control]).since(before).cpu / took * 100
        counts = [int(line.split()[1]) for line in self.counts.read_text().splitlines()[lines:-1]]
        each = len(counts) / seconds
        wide = [sum(counts[n : n + 5]) for n in range(0, len(counts) - 4, 5)]  # half a second each
        rate = sum(counts) / len(counts) * each
        due = self.size.targets / INTERVAL
        self.say(f"control while it probes by {check}", share, most, "%", f"{rate:.0f} probes/s, {due:.0f} due")
        uneven = max(wide) / median(wide) * 100 - 100
        self.say(f"busiest half second above the median, {check}", uneven, 50, "%", f"deviation {pstdev(wide):.0f}")

    def metrics(self) -> None:
        """Measure a scrape."""
        times, body = [], b""
        for _ in range(3):
            began = time.perf_counter()
            body = _get("/metrics") or b""
            times.append(time.perf_counter() - began)
        series = [line for line in body.splitlines() if line and not line.startswith(b"#")]
        self.say("/metrics", min(times) * 1000, 300, "ms", f"{len(series)} series, {len(body) / 1024**2:.1f} MiB")

    def reloads(self, count: int) -> None:
        """Change the configuration under load: how long it takes, and how late requests get."""
        told: list[tuple[int, int]] = []
        quiet = self._load(3.0)
        seconds = count * 6.0
        load = self._start_load(seconds)
        for _ in range(count):
            told = self._written()
            time.sleep(0.5)
        result = _result(load)
        published = [own for _, own in told[-count:]]
        read = [own for own, _ in told[-count:]]
        self.say("reload: read and checked, beside the traffic", median(read), 2000, "ms", f"{min(read)}–{max(read)}")
        self.say("reload: published after that", median(published), 200, "ms", f"{min(published)}–{max(published)}")
        late = result["latency"][3] / 1000
        note = (
            f"99.9 % {result['latency'][2] / 1000:.1f}; without reloads at most {quiet['latency'][3] / 1000:.1f}; "
            f"the generator itself at most {result['late'][3] / 1000:.1f}; {result['errors']} lost, {result['bad']} bad"
        )
        self.say(f"latest request in {count} reloads", late, 50, "ms", note)

    def _written(self, check: str = "tcp") -> list[tuple[int, int]]:
        """Write another configuration and wait until it runs; return what was told of all reloads so far."""
        before = len(self._told())
        self.write(check)
        self.wait(lambda: len(self._told()) > before, "reloaded")
        return self._told()

    def _told(self) -> list[tuple[int, int]]:
        text = self.log.read_text(errors="replace")
        found = re.findall(r"configuration was reloaded.*?read=\"?(\d+)ms\"?.*?published=\"?(\d+)ms", text)
        return [(int(read), int(published)) for read, published in found]

    def _start_load(self, seconds: float) -> subprocess.Popen[str]:
        file = heads.write(self.here, "same")
        command = ["taskset", "-c", str(self.cores.load), str(needs.compiled("load")), "127.0.0.1", str(WEB), str(file)]
        options = [f"rate={RATE}", f"seconds={seconds}", "connections=32"]
        load = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert load.stdout is not None and load.stdin is not None
        load.stdout.readline()
        load.stdin.write("go\n")
        load.stdin.flush()
        return load

    def _load(self, seconds: float) -> dict[str, list[float]]:
        return _result(self._start_load(seconds))

    def http(self) -> None:
        """Change every check to HTTP and measure again."""
        self._written("http")
        time.sleep(2 * INTERVAL)

    def stop(self) -> None:
        """End what was started."""
        for process in reversed(self._started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _result(load: subprocess.Popen[str]) -> dict[str, list[float]]:
    out, _ = load.communicate("")
    found: dict[str, list[float]] = json.loads(out)
    return found


def _get(path: str) -> bytes | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}{path}", timeout=30) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


def main() -> int:
    """Return the exit code: 1 when something is lacking, unfit, or over its target."""
    parser = argparse.ArgumentParser(
        prog="bench/scale.py", description="Control at scale, each figure beside its target."
    )
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--rules", type=int, default=5_000)
    parser.add_argument("--reloads", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long probes are watched (10)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs ours (this one)")
    given = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    size = Size(given.targets, given.groups, given.rules)
    try:
        needs.provide(["taskset"])
        about = machine.describe(given.python, proxies.ROOT)
        about["size"] = f"{size.targets} targets in {size.groups} groups, {size.rules} rules"
        print("\n".join(f"{key:<10}{value}" for key, value in about.items()), flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            bench = Bench(Path(folder), size, machine.cores(), given.python)
            try:
                _run(bench, given.reloads, given.seconds)
            finally:
                bench.stop()
    except (needs.Lacking, machine.NoCores, proxies.Unfit) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _keep(about, bench.figures)
    return 0 if all(figure.met for figure in bench.figures) else 1


def _run(bench: Bench, reloads: int, seconds: float) -> None:
    bench.write()
    environment = os.environ | {"PYTHONPATH": str(proxies.ROOT)}
    done = subprocess.run(
        [bench.python, "-c", _READ, str(bench.config)], capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        raise proxies.Unfit(done.stderr[-600:])
    bench.say("configuration read and checked", float(done.stdout) * 1000, 2000, "ms", "CPU time, best of 3")
    bench.start()
    time.sleep(INTERVAL)
    bench.probes("tcp", 30, seconds)
    bench.metrics()
    bench.reloads(reloads)
    bench.http()
    bench.probes("http", 60, seconds)


def _keep(about: dict[str, str], figures: list[Figure]) -> None:
    RESULTS.mkdir(exist_ok=True)
    lines = ["# Control at scale", "", "Written by `make bench-scale`.", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in about.items()]
    lines += ["", "| | figure | target | | |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.what} | {one.value:.1f} {one.unit} | ≤ {one.most:g} {one.unit} | {'met' if one.met else '**missed**'} "
        f"| {one.note} |"
        for one in figures
    ]
    page = RESULTS / "latest-scale.md"
    page.write_text("\n".join(lines) + "\n")
    print(f"kept in {page}")


if __name__ == "__main__":
    os.environ.pop("BALANCER_ADMIN", None)
    sys.exit(main())
