"""A zone failed on purpose: nobody notices, the guard rail holds, and the report is true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.openloop import OpenLoop
from tests.support.raw import RawClient, request
from tests.support.recorder import Recorder, Seen, respond
from tests.support.targets import Cheap, alternating, backend_of, config_of, running_for, site, zones_in
from tests.support.waiting import wait_for

pytestmark = pytest.mark.chaos
RATE = 200
AWAY = 1.0  # seconds within which the zone gets nothing new


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Cheap]]:
    with site("a", "b", "c") as made:
        yield made


@pytest.fixture(scope="module")
def running(targets: dict[str, Cheap]) -> Iterator[Balancer]:
    with Balancer(config_of([*targets.values()]), workers=2) as made:
        yield made


@pytest.fixture
def balancer(running: Balancer, targets: dict[str, Cheap]) -> Iterator[Balancer]:
    """The balancer with every target healthy and no drill."""
    for one in targets.values():
        one.fail_health(0)
    over(running)  # one that runs is stopped before the configuration is another
    running.reload(config_of([*targets.values()]))
    for name in targets:
        running.wait_for_state("up", name, "healthy")
    wait_for(lambda: over(running), 20, "no drill is watched any more")
    yield running


def over(balancer: Balancer) -> bool:
    """Whether no drill runs; one that only watches the return is told to be done."""
    drill = balancer.status()["drill"]
    if drill is not None:
        balancer.get(f"/api/v1/drills/{drill['id']}/stop", "POST")
    return drill is None


def command(balancer: Balancer, *words: str, code: int = 0) -> str:
    """Run `balancer drill` against the balancer; return what it prints."""
    done = start(balancer, *words)
    out, err = done.communicate(timeout=60)
    assert done.returncode == code, (done.returncode, out, err)
    return out + err


def start(balancer: Balancer, *words: str) -> subprocess.Popen[str]:
    host, port = balancer.admin
    return subprocess.Popen(
        [sys.executable, "-m", "balancer", "drill", *words, "--admin", f"http://{host}:{port}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def post(balancer: Balancer, **wish: Any) -> tuple[int, dict[str, Any]]:
    code, body = balancer.get("/api/v1/drills", "POST", json.dumps(wish).encode())
    return code, json.loads(body)


def kept(balancer: Balancer) -> list[dict[str, Any]]:
    drills: list[dict[str, Any]] = json.loads(balancer.get("/api/v1/drills")[1])["drills"]
    return drills


def stage(balancer: Balancer) -> str | None:
    drill = balancer.status()["drill"]
    return drill["stage"] if drill is not None else None


def why_not(balancer: Balancer, target: str) -> str:
    """Return what `explain` says of a target that a request did not go to."""
    with RawClient(balancer.address()) as client:
        request_id = client.ask(request()).head.get("x-request-id") or b""
    code, body = balancer.get(f"/api/v1/requests/{request_id.decode()}")
    assert code == 200, body
    return str(next(one["why"] for one in json.loads(body)["targets"] if one["target"] == target))


def load(balancer: Balancer, path: str = "/") -> OpenLoop:
    shape: dict[str, Any] = {"rate": RATE, "duration": 60, "method": alternating, "body": b"x", "deadline": 10}
    return OpenLoop(balancer.address(), tag=backend_of, path=path, **shape).start()


def test_a_drill_costs_nobody_anything_and_its_report_is_true(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    loop = load(balancer)
    running_for(loop, 1.0)
    before = {name: one.counts()["total"] for name, one in targets.items()}
    drill = start(balancer, "zone-a", "--for", "4s", "--before", "2s", "--yes", "--json")
    wait_for(lambda: stage(balancer) == "running", 10, "the zone is failed")
    began = loop.elapsed()
    assert balancer.metrics().sum("drill_active", zone="zone-a") == 1
    assert balancer.metrics().sum("drill_active", zone="zone-b") == 0
    shown = balancer.target("up", "a1")
    assert (shown["state"], shown["drilled"]) == ("healthy", True)
    assert "its zone is failed on purpose" in why_not(balancer, "a1")
    assert "another drill is not over yet" in post(balancer, zone="zone-b")[1]["detail"]
    wait_for(lambda: stage(balancer) == "returning", 10, "it serves again")
    ended = loop.elapsed()
    out, err = drill.communicate(timeout=30)
    assert drill.returncode == 0, err
    report = json.loads(out)
    result = loop.stop()
    print(json.dumps(report, indent=1), result)
    assert result.failed == 0, result
    assert zones_in(result.between(began + AWAY, ended - 0.5).tags) == {"b", "c"}
    assert zones_in(result.between(ended + AWAY, 60).tags) == {"a", "b", "c"}
    assert (report["end"], report["stage"]) == ("time_over", "done")
    assert report["left_s"] <= AWAY and report["back_s"] <= AWAY and report["share_back_s"] <= AWAY
    phases = report["phases"]
    for name, seconds in (("before", 2), ("during", 4), ("after", 5)):
        phase = phases[name]
        assert seconds - 0.2 <= phase["seconds"] <= seconds + 1.5, phase
        assert abs(phase["requests"] - RATE * phase["seconds"]) <= 0.15 * RATE * phase["seconds"] + 10, phase
        assert (phase["failures"], phase["reasons"]) == (0, {})
        assert 0 < phase["p50_ms"] <= phase["p99_ms"]
    assert phases["during"]["zones"]["zone-a"] < 5 and 45 < phases["during"]["zones"]["zone-b"] < 55
    assert 30 < phases["before"]["zones"]["zone-a"] < 37 and 30 < phases["after"]["zones"]["zone-a"] < 37
    counted = sum(phase["requests"] for phase in phases.values())
    grown = sum(one.counts()["total"] - before[name] for name, one in targets.items())
    assert counted <= grown, "no request is counted twice"
    assert kept(balancer)[0] == report, "it is kept as it was printed"
    assert report["id"] in command(balancer, "--list")
    told = command(balancer, "--show", report["id"])
    assert "until its time was over" in told and "ZONE-A" in told
    for event in ("drill began", "drill ended", "drill is over"):
        wait_for(lambda: event in balancer.log_text(), 5, event)  # noqa: B023


def test_requests_that_run_in_the_zone_finish(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    loop = OpenLoop(balancer.address(), rate=20, duration=30, path="/slow?ms=2500", deadline=10, tag=backend_of).start()
    running_for(loop, 1.0)
    assert post(balancer, zone="zone-a", before="0s", **{"for": "4s"})[0] == 200
    wait_for(lambda: stage(balancer) == "running", 5, "the zone is failed")
    began = loop.elapsed()
    wait_for(lambda: targets["a1"].counts()["active"] == 0, 5, "it is empty")
    running_for(loop, began + 3.0)
    report = loop.stop()
    print(report)
    assert report.failed == 0, report
    assert "a1" in report.between(0, began).tags
    assert "a1" not in report.between(began + AWAY, began + 3).tags
    retries = balancer.metrics().sum("retries_total", reason="rescue") - balancer.baseline.sum(
        "retries_total", reason="rescue"
    )
    assert retries == 0, "what waits there is not moved"
    command(balancer, "--stop")


def test_a_drill_is_refused_where_the_rest_cannot_carry_the_load(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    targets["b1"].fail_health(-1)
    balancer.wait_for_state("up", "b1", "unhealthy")
    code, problem = post(balancer, zone="zone-a")
    assert code == 409
    assert problem["refusals"] == ["up: the rest would carry 70 of 100: 1 of 2 of its weight (zone-b 0/1, zone-c 1/1)"]
    assert "the rest would carry 70 of 100" in command(balancer, "zone-a", "--yes", code=1)
    assert post(balancer, zone="zone-a", dry_run=True)[0] == 409
    balancer.reload(config_of([targets["a1"]]))
    wait_for(lambda: len(balancer.group("up")["targets"]) == 1, 10, "the others are gone")
    assert "zone-a is its only zone" in command(balancer, "zone-a", "--dry-run", code=1)
    assert balancer.status()["drill"] is None


def test_a_wish_that_cannot_be_understood_is_a_problem(balancer: Balancer) -> None:
    assert "did you mean 'zone-a'?" in command(balancer, "zone-aa", "--yes", code=1)
    assert "add --yes" in command(balancer, "zone-a", code=2)
    assert "would happen" in command(balancer, "zone-a", "--dry-run")
    assert "there is no target group 'none' (there are up)" in command(
        balancer, "zone-a", "--group", "none", "--dry-run", code=1
    )
    assert "no drill runs" in command(balancer, "--stop", code=1)
    for wish in ({"zone": "zone-a", "for": "2h"}, {"zone": "zone-a", "for": "60"}, {"zone": "zone-a", "x": 1}, {}):
        assert post(balancer, **wish)[0] == 400, wish
    assert balancer.get("/api/v1/drills/none")[0] == 404
    assert balancer.status()["drill"] is None


def test_the_guard_rail_ends_a_drill_when_the_rest_fails(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    drill = start(balancer, "zone-a", "--for", "30s", "--before", "0s", "--yes", "--json")
    wait_for(lambda: stage(balancer) == "running", 10, "the zone is failed")
    targets["b1"].fail_health(-1)
    wait_for(lambda: stage(balancer) == "returning", 10, "the guard rail has ended it")
    wait_for(lambda: not balancer.target("up", "a1")["drilled"], 2, "it serves again")
    out, _ = drill.communicate(timeout=30)
    assert drill.returncode == 1
    report = json.loads(out)
    assert (report["end"], report["detail"]) == ("guard_rail", "up: zone-b was lost too")


def test_the_guard_rail_ends_a_drill_when_requests_fail(balancer: Balancer) -> None:
    """The rest is healthy by its checks, and cannot bear the load: only its answers tell."""
    failing: list[str] = []

    def answer(seen: Seen) -> bytes:
        return respond(500 if failing and int(seen.mark[-1]) % 2 else 200, b"ok", f"X-Echo-Id: {seen.mark}")

    with Recorder("r1", answer=answer) as one, Recorder("r2", answer=answer) as other:
        made = configs.group("up", one.address, other.address, health_check="off")
        made["targets"][1]["zone"] = "zone-b"
        balancer.reload({"listeners": [configs.listener("web", [configs.forward("up")])], "target_groups": [made]})
        loop = OpenLoop(balancer.address(), rate=50, duration=60, path="/x").start()
        running_for(loop, 0.5)
        assert post(balancer, zone="zone-a", before="1s", max_failures=10, **{"for": "30s"})[0] == 200
        wait_for(lambda: stage(balancer) == "running", 10, "the zone is failed")
        failing.append("from now on")
        wait_for(lambda: stage(balancer) == "returning", 15, "the guard rail has ended it")
        failing.clear()
        loop.stop()
        report = kept(balancer)[0]
        assert (report["end"], report["phases"]["before"]["failures"]) == ("guard_rail", 0)
        assert "requests failed" in report["detail"] and "10 % more may" in report["detail"]
        assert report["phases"]["during"]["failures"] >= 3


def test_a_drill_ends_safely_when_control_is_killed(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    loop = load(balancer)
    post(balancer, zone="zone-a", before="1s", **{"for": "60s"})
    wait_for(lambda: stage(balancer) == "running", 10, "the zone is failed")
    wait_for(lambda: kept(balancer)[0]["phases"]["during"]["seconds"] > 1, 5, "it runs for a while")
    control = balancer.control_pid()
    os.kill(control, signal.SIGKILL)
    killed = loop.elapsed()
    wait_for(lambda: loop_back(balancer, control), 30, "control is back")
    wait_for(lambda: not balancer.target("up", "a1")["drilled"], 5, "the zone serves again")
    back = loop.elapsed()
    running_for(loop, back + 1.0)
    result = loop.stop()
    print(f"killed {killed:.2f} back {back:.2f}", result)
    assert result.failed == 0, result
    assert zones_in(result.between(back + 0.2, 60).tags) == {"a", "b", "c"}
    report = kept(balancer)[0]
    assert (report["stage"], report["end"]) == ("done", "control_lost")
    assert report["phases"]["before"]["requests"] > 0 and report["phases"]["during"]["requests"] > 0
    balancer.told("drill was ended: control was replaced")


def loop_back(balancer: Balancer, before: int) -> bool:
    try:
        return balancer.control_pid() != before
    except (OSError, AssertionError):
        return False


def test_a_drill_ends_by_itself_when_control_stands_still(balancer: Balancer) -> None:
    """Workers hold to the time on the board: a control process that is stopped for good fails no zone for ever."""
    loop = load(balancer)
    post(balancer, zone="zone-a", before="0s", **{"for": "60s"})
    wait_for(lambda: stage(balancer) == "running", 10, "the zone is failed")
    control = balancer.control_pid()
    os.kill(control, signal.SIGSTOP)
    stopped = loop.elapsed()
    running_for(loop, stopped + 8.0)  # the lease of 5 s is over, or the supervisor has replaced it
    report = loop.stop()
    print(report)
    assert report.failed == 0, report
    assert "a" in zones_in(report.between(stopped + 7.0, 60).tags)
    wait_for(lambda: loop_back(balancer, control), 30, "control was replaced")


def test_a_first_zone_comes_back_late_and_slowly_after_its_drill(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    zones = {"mode": "active_backup", "order": ["zone-a", "zone-b"], "failback_delay": "1s", "failback_ramp": "2s"}
    balancer.reload(config_of([*targets.values()], zones=zones))
    loop = load(balancer)
    running_for(loop, 0.5)
    assert post(balancer, zone="zone-a", before="1s", **{"for": "2s"})[0] == 200
    wait_for(lambda: stage(balancer) == "running", 10, "the zone is failed")
    began = loop.elapsed()
    wait_for(lambda: stage(balancer) == "returning", 10, "it serves again")
    ended = loop.elapsed()
    wait_for(lambda: stage(balancer) is None, 30, "the drill is over")
    result = loop.stop()
    report = kept(balancer)[0]
    print(json.dumps(report, indent=1), result)
    assert result.failed == 0, result
    assert zones_in(result.between(0, began - 0.5).tags) == {"a"}
    assert zones_in(result.between(began + AWAY, ended).tags) == {"b"}
    assert report["phases"]["before"]["zones"]["zone-a"] == 100
    assert report["back_s"] >= 1.0, "nothing before the delay is over"
    assert 2.9 <= report["share_back_s"] <= 3.0 + 2 * AWAY


def test_stopping_brings_the_zone_back_at_once(balancer: Balancer) -> None:
    post(balancer, zone="zone-a", before="0s", **{"for": "60s"})
    wait_for(lambda: stage(balancer) == "running", 5, "the zone is failed")
    assert "until it was stopped" in command(balancer, "--stop")
    assert not balancer.target("up", "a1")["drilled"]
    assert kept(balancer)[0]["end"] == "stopped"
