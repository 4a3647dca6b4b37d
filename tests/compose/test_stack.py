"""What a newcomer sees after `docker compose up`: six targets, a healthy container, figures that add up."""

from __future__ import annotations

import json
import time

import pytest

from tests.compose.stack import PER_ZONE, ZONES, Stack, docker, eventually, zones_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(480, func_only=True)]


def test_all_six_targets_serve(stack: Stack) -> None:
    loop = stack.load(rate=100, duration=2)
    report = loop.finish()
    assert report.failed == 0, report
    assert zones_of(report) == set(ZONES)
    assert len(report.tags) == len(ZONES) * PER_ZONE
    # Weights are equal, so no target may have a much larger share than the others.
    assert max(report.tags.values()) <= 1.5 * report.sent / len(report.tags), report.tags


def test_the_start_ends_with_the_sentence_that_says_it_works(stack: Stack) -> None:
    eventually(lambda: "6 of 6 targets healthy in 3 zones" in stack.log(), 10.0, "the last line of the start")


def test_the_container_is_healthy_and_its_commands_find_the_balancer(stack: Stack) -> None:
    (balancer,) = stack.containers("balancer")
    eventually(
        lambda: stack.inspect(balancer, "{{.State.Health.Status}}") == "healthy", 20.0, "the container is healthy"
    )
    stack.compose("exec", "-T", "balancer", "balancer", "health")
    said = json.loads(stack.compose("exec", "-T", "balancer", "balancer", "status", "--json"))
    assert said["version"] == stack.status()["version"]


def test_it_runs_as_nobody_in_particular_on_a_read_only_root(stack: Stack) -> None:
    look = (
        "import os, pathlib, resource\n"
        "status = pathlib.Path('/proc/1/status').read_text()\n"
        "fields = dict(line.split(':\\t', 1) for line in status.splitlines() if ':\\t' in line)\n"
        "def writable(folder):\n"
        "    try: pathlib.Path(folder, 'probe').write_text('x')\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print(fields['Uid'].split()[0], fields['CapEff'], fields['NoNewPrivs'],\n"
        "      [f for f in ('/', '/opt/venv', '/etc/balancer', '/tmp', '/run') if writable(f)])\n"
        "limits = pathlib.Path('/proc/1/limits').read_text().split('Max open files')[1].split()\n"
        "print(len(set(limits[:2])) == 1)\n"
    )
    said = stack.compose("exec", "-T", "balancer", "python", "-c", look).strip()
    assert said == "10001 0000000000000000 1 ['/tmp', '/run']\nTrue"


def test_the_image_is_small_and_holds_no_tool_of_its_making(stack: Stack) -> None:
    (balancer,) = stack.containers("balancer")
    image = stack.inspect(balancer, "{{.Image}}")
    layers = docker("history", "--format", "{{.Size}} {{.CreatedBy}}", "--human=false", image).splitlines()
    ours = sum(int(line.split()[0]) for line in layers if "/opt/venv" in line)
    assert 0 < ours < 80_000_000, layers
    held = stack.compose("exec", "-T", "balancer", "ls", "/opt/venv/bin")
    assert "balancer" in held
    assert "pip" not in held
    assert "hatch" not in held


def test_the_figures_agree_to_the_request(stack: Stack) -> None:
    """The client's count, our metrics by zone and target, and the backends' own counts are the same numbers."""
    backends = {name: stack.containers(f"backend-{name}") for name in "abc"}

    def counts() -> dict[str, int]:
        asked = {
            one: docker("exec", one, "python", "-m", "backends.probe", "/count")
            for ids in backends.values()
            for one in ids
        }
        return {said["name"]: said["total"] for said in map(json.loads, asked.values())}

    seen, before = counts(), stack.metrics()
    with stack.counted() as reports:
        reports.append(stack.load(rate=200, duration=4).finish())
    (report,) = reports
    assert report.failed == 0, report
    after = stack.metrics()
    retried = after.sum("retries_total") - before.sum("retries_total")
    assert retried == 0
    by_zone = after.by("zone", "requests_total", code="2xx", source="upstream")
    was = before.by("zone", "requests_total", code="2xx", source="upstream")
    for zone in ZONES:
        answered = sum(count for tag, count in report.tags.items() if tag.startswith(zone))
        assert by_zone[zone] - was.get(zone, 0) == answered
    per_target = sorted(
        count - before.by("target", "requests_total").get(target, 0)
        for target, count in after.by("target", "requests_total").items()
    )
    by_backend = {tag.partition("/")[2]: count for tag, count in report.tags.items()}
    grown = {name: total - seen[name] for name, total in counts().items()}
    assert grown == by_backend
    assert [count for count in per_target if count] == sorted(by_backend.values())


def test_a_machine_that_slept_wakes_up_with_the_workers_it_had(stack: Stack) -> None:
    (balancer,) = stack.containers("balancer")
    before = [(one["pid"], one["restarts"]) for one in stack.status()["workers"]]
    with stack.counted() as reports:
        loop = stack.load(rate=25, duration=18, deadline=30)
        eventually(lambda: loop.elapsed() >= 2, 10.0, "load")
        docker("pause", balancer)
        time.sleep(12)  # the length of the sleep is what is tried, not a wait for something
        docker("unpause", balancer)
        reports.append(loop.finish())
    (report,) = reports
    assert report.failed == 0, report
    assert report.worst < 12 + 3, report
    assert [(one["pid"], one["restarts"]) for one in stack.status()["workers"]] == before
    assert stack.get()[0] == 200


def test_stopping_under_load_answers_every_request_that_was_accepted(stack: Stack) -> None:
    (balancer,) = stack.containers("balancer")
    address = stack.address(balancer, "edge")
    # Straight to the container: the engine's own port forwarder accepts connections for a container that is gone.
    loop = stack.load(rate=100, duration=8, path="/slow?ms=700", to=(address, 8080))
    eventually(lambda: loop.elapsed() >= 2, 10.0, "load")
    began = time.monotonic()
    stack.compose("stop", "balancer")
    took = time.monotonic() - began
    report = loop.stop()
    assert stack.inspect(balancer, "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
    assert took < 35
    refused = [one for one in report.failures if one.cause.startswith("connect:")]
    assert report.failures == refused, report
    assert report.answered >= 180, report
    stack.compose("up", "-d", "--no-build", "balancer")
    stack.wait_ready()
    stack.wait_whole()
    assert stack.get()[0] == 200
