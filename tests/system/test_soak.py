"""Very many requests through two workers: client, metrics, access log and targets count the same, and nothing grows.

The short run belongs to the ordinary suite, the long one to `make soak`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.balancer import Balancer
from tests.support.kernel import descriptors_by_kind, resident_bytes
from tests.support.metrics import Metrics
from tests.support.process import ROOT
from tests.support.targets import Cheap, config_of, site
from tests.support.waiting import wait_for

pytestmark = pytest.mark.chaos
CONNECTIONS = 64
WARM = 5_000
READING = 240.0  # seconds for the whole access log
MIB = 1024 * 1024
LONG = [pytest.mark.soak, pytest.mark.timeout(600, func_only=True)]


@dataclass(slots=True)
class Logged:
    """What the access log says of a run."""

    lines: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    ids: set[str] = field(default_factory=set)
    odd: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Cheap]]:
    with site("a", "b", "c") as made:
        yield made


def volley(balancer: Balancer, total: int) -> dict[str, Any]:
    """Send so many requests and return what the client says."""
    host, port = balancer.address()
    argv = [sys.executable, "-m", "tests.support.volley", host, str(port), str(total), str(CONNECTIONS)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=570)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def read_log(balancer: Balancer, skip: int, lines: int) -> Logged:
    """Wait until the access log has `lines` lines behind the first `skip` bytes, and read them one by one."""
    logged = Logged()
    rest = b""
    with balancer.out.open("rb") as log:
        log.seek(skip)

        def read() -> bool:
            nonlocal rest
            while piece := log.read(8 * MIB):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    take(logged, json.loads(line))
            return logged.lines >= lines and not rest

        wait_for(read, READING, lambda: f"{logged.lines} of {lines} lines in the access log, and {rest!r}")
    return logged


def take(logged: Logged, line: dict[str, Any]) -> None:
    logged.lines += 1
    logged.statuses[line["status"]] += 1
    logged.targets[line["target"]] += 1
    logged.bytes_in += line["bytes_in"]
    logged.bytes_out += line["bytes_out"]
    logged.ids.add(line["request_id"])
    if (line["source"], line["reason"], line["retries"]) != ("upstream", "", 0) and len(logged.odd) < 20:
        logged.odd.append(str(line))


@pytest.mark.parametrize("total", [20_000, pytest.param(1_000_000, marks=LONG)])
def test_everybody_counts_the_same_to_the_request(targets: dict[str, Cheap], total: int) -> None:
    with Balancer(config_of([*targets.values()]), workers=2) as balancer:
        for name in targets:
            balancer.wait_for_state("up", name, "healthy")
        volley(balancer, WARM)
        settled(balancer)
        tree = {"supervisor": balancer.pid, "control": balancer.control_pid()}
        tree |= {f"worker {number}": pid for number, pid in enumerate(balancer.worker_pids())}
        sizes = {name: resident_bytes(pid) for name, pid in tree.items()}
        kinds = {name: descriptors_by_kind(pid) for name, pid in tree.items()}
        before, seen = balancer.metrics(), {name: one.counts() for name, one in targets.items()}
        skip = balancer.out.stat().st_size

        client = volley(balancer, total)
        assert client["faults"] == []

        settled(balancer)
        after, counts = balancer.metrics(), {name: one.counts() for name, one in targets.items()}
        logged = read_log(balancer, skip, total)
        print(f"{total} requests, {total / client['seconds']:.0f}/s: {client}")
        for name, pid in tree.items():
            now = resident_bytes(pid)
            print(f"{name}: {sizes[name] / MIB:.1f} -> {now / MIB:.1f} MiB")
            assert now - sizes[name] < 5 * MIB, name
            assert not descriptors_by_kind(pid) - kinds[name], name

        def grown(name: str, **labels: str) -> int:
            return round(after.sum(name, **labels) - before.sum(name, **labels))

        statuses = {int(status): count for status, count in client["statuses"].items()}
        assert sum(statuses.values()) == total
        # Requests: in all, by status, by target.
        assert logged.lines == len(logged.ids) == total
        assert logged.odd == []
        assert logged.statuses == statuses
        assert grown("requests_total") == total
        for code in ("2xx", "4xx"):
            assert (
                grown("requests_total", code=code, source="upstream")
                == statuses[int(code[0]) * 100 + 4 * (code == "4xx")]
            )
        for name in targets:
            taken = counts[name]["total"] - seen[name]["total"]
            assert (grown("requests_total", target=name), logged.targets[name]) == (taken, taken), name
        assert grown("request_duration_seconds_count") == grown("upstream_first_byte_seconds_count") == total
        # Bytes of bodies.
        for ours, theirs, said in (("request", "bytes_in", "bytes_sent"), ("response", "bytes_out", "bytes_received")):
            at_targets = sum(counts[name][theirs] - seen[name][theirs] for name in targets)
            assert grown(f"{ours}_bytes_total") == at_targets == client[said] == getattr(logged, theirs), ours
        # And nothing else.
        for name in ("failures_total", "retries_total", "access_log_dropped_total", "worker_restarts_total"):
            assert grown(name) == 0, name


def settled(balancer: Balancer) -> None:
    """Wait until nothing is under way and nobody is connected."""

    def quiet() -> bool:
        now: Metrics = balancer.metrics()
        return now.sum("active_requests") == now.sum("active_connections", listener="web") == 0

    wait_for(quiet, 10, "quiet")
