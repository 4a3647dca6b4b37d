"""Workers and control are killed and frozen under load: only what is inside a dead worker is lost, and is counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.balancer import Balancer
from tests.support.kernel import started, tcp_sockets
from tests.support.metrics import Metrics
from tests.support.openloop import OpenLoop
from tests.support.process import ROOT
from tests.support.raw import Cut, RawClient, Response, request
from tests.support.targets import SLACK, Cheap, backend_of, config_of, running_for, site
from tests.support.waiting import wait_for

pytestmark = pytest.mark.chaos
RATE = 200
HELD = 8  # slow requests at once
AT_ONCE = 0.25  # seconds in which the supervisor notices a death and starts a successor, whatever imports take then


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Cheap]]:
    with site("a", "b", "c") as made:
        yield made


@pytest.fixture(scope="module")
def balancer(targets: dict[str, Cheap]) -> Iterator[Balancer]:
    """Two workers for all tests here: who loses one gets another."""
    with Balancer(config_of([*targets.values()]), workers=2) as made:
        yield made


@pytest.fixture(autouse=True)
def everybody_is_well(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    """Begin each test with three healthy targets."""
    for one in targets.values():
        if not one.running:
            one.restart()
    for name in targets:
        balancer.wait_for_state("up", name, "healthy")


def patience(seconds: float, *modules: str) -> float:
    """Return how long a process that imports `modules` may take to be there where it takes `seconds` on a free core.

    On a machine that has other things to do, three times what the imports alone take now.
    """
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], cwd=ROOT, check=True)
    return max(seconds, 3 * (time.monotonic() - began))


def load(balancer: Balancer, duration: float) -> OpenLoop:
    return OpenLoop(balancer.address(), rate=RATE, duration=duration, deadline=10.0, tag=backend_of).start()


def worker_of(client: RawClient, workers: list[int]) -> int:
    """Return the pid of the worker that holds the other end of a connection; 0 while it waits in a queue."""
    return next((pid for pid in workers if any(one.remote == client.local for one in tcp_sockets(pid))), 0)


def held_in(balancer: Balancer, worker: int, milliseconds: int) -> list[RawClient]:
    """Return clients whose slow request is under way in that worker; others that were needed for it are closed."""
    held: list[RawClient] = []
    workers = balancer.worker_pids()
    while len(held) < HELD:
        client = RawClient(balancer.address(), timeout=10)
        if wait_for(lambda client=client: worker_of(client, workers), 5, "somebody accepts") == worker:  # type: ignore[misc]
            held.append(client)
        else:
            client.close()
    for client in held:
        client.send(request("GET", f"/slow?ms={milliseconds}"))
    return held


def active_in(balancer: Balancer, worker: int) -> int:
    """Return the requests inside a worker."""
    return sum(one["active_requests"] for one in balancer.status()["workers"] if one["pid"] == worker)


def place_of(balancer: Balancer, worker: int) -> int:
    """Return the place that a worker fills."""
    return sum(one["place"] for one in balancer.status()["workers"] if one["pid"] == worker)


def successor(balancer: Balancer, worker: int, place: int) -> dict[str, Any] | None:
    """Return the worker that has taken the place of a lost one and runs a snapshot, if there is one by now."""
    found = next((one for one in balancer.status()["workers"] if one["place"] == place), None)
    return found if found is not None and found["pid"] != worker and found["revision"] else None


def counted(metrics: Metrics, reason: str) -> float:
    return metrics.sum("failures_total", reason=reason)


def expect_no_way_back(before: Metrics, after: Metrics) -> None:
    """Assert that no counter has become smaller."""
    ends = ("_total", "_count", "_sum", "_bucket")
    fallen = {
        key: (value, after.samples.get(key))
        for key, value in before.samples.items()
        if key[0].endswith(ends) and after.samples.get(key, -1.0) < value
    }
    assert not fallen, fallen


# Workers


def test_exactly_what_was_inside_a_killed_worker_is_lost_and_counted(balancer: Balancer) -> None:
    victim, other = balancer.worker_pids()
    doomed, spared = held_in(balancer, victim, 5000), held_in(balancer, other, 1500)
    wait_for(lambda: (active_in(balancer, victim), active_in(balancer, other)) == (HELD, HELD), 5, "all are inside")
    before = balancer.metrics()
    balancer.kill(victim)
    for client in doomed:
        with pytest.raises(Cut):
            client.recv_response()
        client.close()
    for client in spared:
        assert client.recv_response().status == 200
        client.close()
    wait_for(lambda: counted(balancer.metrics(), "worker_lost") > counted(before, "worker_lost"), 5, "they are counted")
    after = balancer.metrics()
    assert counted(after, "worker_lost") - counted(before, "worker_lost") == HELD
    assert after.sum("worker_restarts_total") - before.sum("worker_restarts_total") == 1
    assert after.sum("active_requests") == 0
    expect_no_way_back(before, after)


def test_killed_workers_under_load_cost_only_what_was_inside_and_are_replaced_within_a_second(
    balancer: Balancer,
) -> None:
    before = balancer.metrics()
    loop = load(balancer, 4.0)
    kills: list[float] = []
    begun: list[float] = []
    took: list[float] = []
    bounds: list[float] = []
    for victim in reversed(balancer.worker_pids()):
        place = place_of(balancer, victim)
        held = held_in(balancer, victim, 5000)
        wait_for(lambda victim=victim: active_in(balancer, victim) >= HELD, 5, "all are inside")  # type: ignore[misc]
        kills.append(loop.elapsed())
        killed = time.time()
        balancer.kill(victim)
        there = wait_for(lambda victim=victim, place=place: successor(balancer, victim, place), 5, "a successor")  # type: ignore[misc]
        begun.append(started(there["pid"]) - killed)
        took.append(time.time() - killed - begun[-1])
        said = balancer.told(f"worker was lost place={place} pid={victim} ")
        # At once; where the one before it in this place has died young too, a tenth of a second later.
        assert said[0].endswith(("restart_in=0s", "restart_in=0.1s")), balancer.log_text()[-2000:]
        assert -0.01 < datetime.fromisoformat(said[0].split(" ", 1)[0]).timestamp() - killed < AT_ONCE
        bounds.append(patience(1.0, "balancer.process.worker", "balancer.data.live"))
        for client in held:
            with pytest.raises(Cut):
                client.recv_response()
            client.close()
    report = loop.finish()
    after = balancer.metrics()
    lost = counted(after, "worker_lost") - counted(before, "worker_lost")
    print(f"begun after {begun} s, there {took} s of {bounds} later, {lost:.0f} counted as lost\n{report}")
    assert all(one < AT_ONCE for one in begun), begun
    assert all(one < bound for one, bound in zip(took, bounds)), (took, bounds)
    # What fails was begun before a kill and cut by it. (Bytes that the dead worker had not read were not inside it.)
    assert report.duplicates == 0
    assert all(one.cause and any(one.sent <= at + 0.1 <= one.done + 0.2 for at in kills) for one in report.failures)
    assert 2 * HELD <= lost <= 2 * HELD + len(report.failures)
    assert len(report.failures) <= 10, report
    expect_no_way_back(before, after)
    assert serving(balancer) == set(balancer.worker_pids())


def serving(balancer: Balancer) -> set[int]:
    """Return the workers that accept new connections."""
    workers = balancer.worker_pids()
    clients = [RawClient(balancer.address()) for _ in range(20)]
    found = {wait_for(lambda one=one: worker_of(one, workers), 5, "accepted") for one in clients}  # type: ignore[misc]
    for client in clients:
        client.close()
    return found


def test_connections_in_the_queue_of_a_killed_worker_are_answered(balancer: Balancer) -> None:
    victim, other = balancer.worker_pids()
    balancer.kill(victim, signal.SIGSTOP)  # so that connections wait in its queue
    clients = [RawClient(balancer.address(), timeout=10) for _ in range(50)]
    for client in clients:
        client.send(request())
    waiting = [client for client in clients if worker_of(client, [other]) == 0]
    before = balancer.metrics()
    balancer.kill(victim)
    killed = time.monotonic()
    answers = [client.recv_response() for client in clients]
    took = time.monotonic() - killed
    print(f"{len(waiting)} waited, all are answered {took:.2f} s after the kill")
    assert {one.status for one in answers} == {200}
    assert len(waiting) > 5
    assert took < SLACK + patience(1.0, "balancer.process.worker", "balancer.data.live")
    assert counted(balancer.metrics(), "worker_lost") == counted(before, "worker_lost")
    for client in clients:
        client.close()


def test_a_frozen_worker_is_replaced_and_who_waits_for_it_is_answered(balancer: Balancer) -> None:
    victim, other = balancer.worker_pids()
    before = balancer.metrics()
    inside = held_in(balancer, victim, 1000)
    wait_for(lambda: active_in(balancer, victim) == HELD, 5, "all are inside")
    balancer.kill(victim, signal.SIGSTOP)
    frozen = time.monotonic()
    clients = [RawClient(balancer.address(), timeout=10) for _ in range(30)]
    for client in clients:
        client.send(request())
    waiting = [client for client in clients if worker_of(client, [other]) == 0]
    answers: list[Response] = [client.recv_response() for client in clients]
    took = time.monotonic() - frozen
    print(f"{len(waiting)} waited, all are answered {took:.2f} s after the freeze")
    assert {one.status for one in answers} == {200}
    assert 3.0 < took < 5.0 + patience(1.0, "balancer.process.worker", "balancer.data.live")
    for client in [*inside, *clients]:
        client.close()
    after = balancer.metrics()
    assert counted(after, "worker_lost") - counted(before, "worker_lost") == HELD
    assert victim not in balancer.worker_pids()
    wait_for(lambda: "silent for" in balancer.log_text(), 5, "the log says so")
    expect_no_way_back(before, after)


# Control


def test_a_killed_control_costs_nothing_and_finds_everything_as_it_was(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    targets["c1"].kill()
    balancer.wait_for_state("up", "c1", "unhealthy")
    loop = load(balancer, 3.0)
    running_for(loop, 0.5)
    before, status = balancer.metrics(), balancer.status()
    killed = time.monotonic()
    balancer.kill(status["control"]["pid"])
    after = wait_for(lambda: back(balancer, status["control"]["pid"]), 10, "another control")
    took = time.monotonic() - killed
    report = loop.finish()
    print(f"control was back after {took:.2f} s\n{report}")
    assert report.failed == 0, report
    assert took < patience(2.0, "balancer.control.main")
    for key in ("version", "loaded_at", "hash"):
        assert after["config"][key] == status["config"][key], key
    assert after["listeners"] == status["listeners"]
    assert [one["pid"] for one in after["workers"]] == [one["pid"] for one in status["workers"]]

    def states(of: dict[str, Any]) -> dict[str, tuple[str, str]]:
        # The board keeps instants of the monotonic clock in milliseconds: the last digit of a wall time may differ.
        return {one["name"]: (one["state"], one["since"][:-3]) for one in of["target_groups"][0]["targets"]}

    assert {name: state for name, (state, _) in states(after).items()} == {
        "a1": "healthy",
        "b1": "healthy",
        "c1": "unhealthy",
    }
    kept, seen = states(status), states(after)
    assert {name: abs(tenths(seen[name][1]) - tenths(kept[name][1])) <= 1 for name in kept} == dict.fromkeys(kept, True)
    now = balancer.metrics()
    expect_no_way_back(before, now)
    assert now.sum("requests_total", code="2xx") - before.sum("requests_total", code="2xx") >= RATE * 2
    assert now.sum("config_version") == before.sum("config_version")


def tenths(since: str) -> int:
    """Return the time of day of an RFC 3339 time that ends in tenths of a second, in tenths."""
    hours, minutes, seconds = since[11:19].split(":")
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 10 + int(since[20])


def back(balancer: Balancer, pid: int) -> dict[str, Any] | None:
    """Return the status that another control than `pid` gives."""
    try:
        status = balancer.status()
    except (OSError, AssertionError):
        return None
    return status if status["control"]["pid"] != pid else None


def test_a_target_that_is_lost_while_control_is_away_is_still_routed_around(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    before = balancer.metrics()
    control = balancer.control_pid()
    loop = load(balancer, 2.5)
    running_for(loop, 0.5)
    balancer.kill(control, signal.SIGSTOP)  # killed it would be back too soon to show anything
    lost = loop.elapsed()
    targets["b1"].kill()
    report = loop.finish()
    with open(f"/proc/{control}/stat") as stat:
        assert stat.read().rpartition(")")[2].split()[0] == "T", "control was away all the time"
    os.kill(control, signal.SIGKILL)
    wait_for(lambda: back(balancer, control), 10, "another control")
    now = balancer.metrics()
    retried = now.sum("retries_total", target_group="up") - before.sum("retries_total", target_group="up")
    print(f"{retried:.0f} retries\n{report}")
    assert report.failed == 0, report
    assert "b1" in report.between(0, lost).tags
    assert set(report.between(lost + 0.5, 2.5).tags) == {"a1", "c1"}
    # Each worker finds it out by three failures of its own, and asks nobody.
    assert 3 <= retried <= 30
    wait_for(lambda: "ejected for this worker group=up target=b1" in balancer.log_text(), 5, "the log says so")
