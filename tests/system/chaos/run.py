"""`make chaos`: CHAOS_SECONDS (900) of mixed faults under load, by CHAOS_SEED (drawn and printed unless given)."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.faults import quiet_port
from tests.support.http1 import chunked
from tests.support.kernel import descriptor_count, descriptors_by_kind, resident_bytes
from tests.support.openloop import OpenLoop
from tests.support.relay import Relays
from tests.support.report import Report
from tests.support.targets import CHECK, noticed_when_silent, site
from tests.support.waiting import pace, wait_for
from tests.system.chaos.faults import Chaos, Place
from tests.system.chaos.verdict import Verdict, during, whole_or_not

RATE = 120
DEADLINE = 15.0
MIB = 1024 * 1024
GROWN = 24 * MIB  # that a process may have grown by
TIMEOUTS = {"connect": "500ms", "response_header": "3s", "response_idle": "2s"}
QUIET = 20.0  # seconds until everything is well again, on a busy machine


def config_of(places: dict[str, Place]) -> dict[str, Any]:
    """Return the configuration: a target is spoken to through the relay before it."""
    targets = [configs.target(one.name, f"127.0.0.1:{one.port}", one.zone) for one in places.values()]
    group = {"name": "up", "health_check": CHECK, "timeouts": dict(TIMEOUTS), "drain_timeout": "2s", "targets": targets}
    group["passive"] = {"base_ejection": "2s"}
    return {"workers": 2, "listeners": [configs.listener("web", [configs.forward("up")])], "target_groups": [group]}


class Load:
    """Requests of several kinds, drawn by a seed: short, with a body, whole or in chunks, slow, streams."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.kinds = [
            chance.choices(("get", "post", "put", "chunked", "slow", "stream"), (5, 2, 1, 1, 1, 1))[0]
            for _ in range(997)
        ]
        self.loop: OpenLoop | None = None

    def mark(self, index: int) -> str:
        """Return the mark of a request."""
        assert self.loop is not None
        return f"ol-{self.loop.run_id.decode()}-{index}"

    def make(self, index: int, mark: bytes) -> bytes:
        """Return the bytes of a request."""
        fields = b"Host: chaos\r\nX-Test-Id: %b\r\n" % mark
        match self.kinds[index % len(self.kinds)]:
            case "post":
                return b"POST /post HTTP/1.1\r\n%bContent-Length: 64\r\n\r\n" % fields + bytes(64)
            case "put":  # may be sent again
                return b"PUT /put HTTP/1.1\r\n%bContent-Length: 5000\r\n\r\n" % fields + bytes(5000)
            case "chunked":
                body = chunked(*[bytes(700)] * (1 + index % 4))
                return b"POST /chunked HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % fields + body
            case "slow":
                return b"GET /slow?ms=%d HTTP/1.1\r\n%b\r\n" % (50 + index % 7 * 50, fields)
            case "stream":
                return b"GET /stream?ms=30 HTTP/1.1\r\n%b\r\n" % fields
            case "get":
                return b"GET /%d HTTP/1.1\r\n%b\r\n" % (index % 50, fields)
            case other:
                raise ValueError(f"nobody knows how to make {other!r}")


@contextlib.contextmanager
def scene() -> Iterator[tuple[Balancer, dict[str, Place], Relays, dict[str, Any]]]:
    """Run six targets in three zones, a relay before each, and a balancer with two workers."""
    with site("a", "b", "c", each=2) as targets:
        places = {name: Place(name, one.zone, one, quiet_port()) for name, one in targets.items()}
        pairs = [(("127.0.0.1", one.port), (one.process.host, one.process.port)) for one in places.values()]
        config = config_of(places)
        with Relays(pairs) as relays, Balancer(config, workers=2) as balancer:
            for name in places:
                balancer.wait_for_state("up", name, "healthy")
            yield balancer, places, relays, config


def all_well(balancer: Balancer, places: dict[str, Place]) -> bool:
    """Return whether both workers run and every target is healthy."""
    try:
        status = balancer.status()
    except (OSError, AssertionError):
        return False
    states = [one["state"] for one in status["target_groups"][0]["targets"]]
    return states == ["healthy"] * len(places) and all(one["revision"] for one in status["workers"])


def calm(balancer: Balancer, load: Load, seconds: float) -> Report:
    """Run the same load without faults."""
    loop = OpenLoop(balancer.address(), rate=RATE, duration=seconds, make_request=load.make, tag=whole_or_not)
    return loop.run()


def sizes(balancer: Balancer) -> dict[str, tuple[int, int, dict[str, int]]]:
    """Return resident bytes, descriptors, and those that are no TCP socket by kind, of every process by its role."""
    pids = {"supervisor": balancer.pid, "control": balancer.control_pid()}
    pids |= {f"worker {number}": pid for number, pid in enumerate(balancer.worker_pids())}
    return {
        name: (resident_bytes(pid), descriptor_count(pid), dict(descriptors_by_kind(pid))) for name, pid in pids.items()
    }


def chaos(seconds: float, seed: int) -> Verdict:
    """Break things for so long; return the verdict."""
    load = Load(seed)
    with scene() as (balancer, places, relays, config):
        first = calm(balancer, load, 4.0)
        assert first.failed == 0, first
        before, start = balancer.metrics(), sizes(balancer)
        total = len(balancer.access_log())
        load.loop = loop = OpenLoop(
            balancer.address(),
            rate=RATE,
            duration=seconds,
            make_request=load.make,
            deadline=DEADLINE,
            tag=whole_or_not,
        )
        loop.start()
        wait_for(lambda: loop.elapsed() > 0, 5.0, "the load begins")
        state = Chaos(balancer, places, relays, config, random.Random(seed), loop.elapsed)
        while loop.elapsed() < seconds - 3.0:
            wait_until(loop.elapsed() + state.step(), loop, state)
        state.end()
        balancer.write(config)
        report = loop.finish()
        mended = time.monotonic()
        wait_for(lambda: all_well(balancer, places), QUIET + noticed_when_silent(), "everything is well again")
        print(f"well again {time.monotonic() - mended:.1f} s after the end of the load")
        verdict = judge(report, balancer, state, load, before, total)
        last = calm(balancer, load, 3.0)
        verdict.expect(last.failed == 0, f"after all was mended: {last}")
        if state.counts.get("mended"):
            verdict.expect(report.answered > 0.8 * report.sent, f"hardly anything was answered: {report}")
        compare(verdict, start, balancer)
        balancer.check_clean()
    return verdict


def wait_until(instant: float, loop: OpenLoop, state: Chaos) -> None:
    """Let the load run, and mend what is due meanwhile."""
    while loop.elapsed() < instant:
        pace(0.02)
        state.mend(loop.elapsed())


def judge(report: Report, balancer: Balancer, state: Chaos, load: Load, before: Any, skip: int) -> Verdict:
    """Hold what must hold of a run."""
    after = balancer.metrics()
    due = {one.request_id for one in report.samples if one.request_id and not during(one, state.worker_faults)}
    with contextlib.suppress(AssertionError):
        wait_for(
            lambda: due <= {line["request_id"] for line in balancer.access_log()}, 5.0, "the access log is written"
        )
    verdict = Verdict(report, balancer.access_log()[skip:], before, after)
    workers_lost = sum(state.counts.get(word, 0) for word in ("worker kill", "worker freeze"))
    verdict.every_failure_has_a_reason(state.worker_faults)
    verdict.nothing_is_wrong_crossed_or_cut_and_called_whole()
    verdict.nothing_is_doubled([place.process for place in state.places.values()], load.mark)
    verdict.log_and_client_agree(state.worker_faults)
    verdict.metrics_and_client_agree()
    verdict.lost_with_workers_is_counted(workers_lost)
    asked = verdict.explained(balancer, state.worker_faults)
    causes = report.lost | verdict.reasons
    print(f"{report.sent} requests, {len(report.failures)} failed: {dict(causes)}; {asked} explained")
    print(f"worker_lost {verdict.grown('failures_total', reason='worker_lost')}, retries ", end="")
    print({key: round(value) for key, value in after.by("reason", "retries_total").items() if value})
    print(f"events {dict(sorted(state.counts.items()))}; generator late by {report.lateness_p99 * 1e3:.1f} ms (p99)")
    verdict.events = state.events
    return verdict


def compare(verdict: Verdict, start: dict[str, tuple[int, int, dict[str, int]]], balancer: Balancer) -> None:
    """Memory and descriptors end where they began; a worker that is another one is held to the same bounds."""
    wait_for(lambda: balancer.metrics().sum("active_connections", listener="web") == 0, 10.0, "clients are gone")
    for name, (resident, descriptors, _) in sizes(balancer).items():
        was = start[name]
        print(f"{name}: {was[0] / MIB:.1f} -> {resident / MIB:.1f} MiB, {was[1]} -> {descriptors} descriptors")
        verdict.expect(resident - was[0] < GROWN, f"{name} grew from {was[0]} to {resident} bytes")

    def more() -> dict[str, tuple[int, int]]:
        """Return what there is more of than at the start, as (then, now)."""
        now = {name: kinds for name, (_, _, kinds) in sizes(balancer).items()}
        return {
            f"{name} {kind}": (start[name][2].get(kind, 0), count)
            for name, kinds in now.items()
            for kind, count in kinds.items()
            if count > start[name][2].get(kind, 0)
        }

    with contextlib.suppress(AssertionError):  # a probe that is under way holds one for a moment
        wait_for(lambda: not more(), 5.0, "no more than at the start")
    left = more()
    verdict.expect(not left, f"more is held than at the start: {left}")


def main() -> int:
    """Run and tell; return 1 if something did not hold."""
    seconds = float(os.environ.get("CHAOS_SECONDS") or 900)
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(1, 2**31))
    print(f"seed {seed}, {seconds:.0f} s, {RATE} requests/s", flush=True)
    verdict = chaos(seconds, seed)
    if verdict.wrong:
        print(*verdict.events, sep="\n")
        print(f"seed {seed}: {len(verdict.wrong)} things do not hold:", *verdict.wrong[:40], sep="\n- ")
        return 1
    print("everything holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
