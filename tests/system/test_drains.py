"""Drained, removed, undrained, weighed: no client notices, and the operator's word outlives reloads and control."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
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
RATE = 300
UPGRADE = request(
    "GET",
    "/ws",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


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
    """The balancer with its three targets as at first, nobody ordered to anything."""
    running.reload(config_of([*targets.values()]))
    for name in targets:
        wait_for(lambda name=name: known(running, name), 10, f"{name} is a target")  # type: ignore[misc]
        command(running, "undrain", name, "--yes")
        command(running, "weight", name, "reset", "--yes")
        running.wait_for_state("up", name, "healthy")
    yield running


def known(balancer: Balancer, name: str) -> bool:
    return any(one["name"] == name and one["reason"] != "leaving" for one in balancer.group("up")["targets"])


def command(balancer: Balancer, *words: str, code: int = 0) -> str:
    """Run a command against the balancer; return what it prints."""
    host, port = balancer.admin
    done = subprocess.run(
        [sys.executable, "-m", "balancer", *words, "--admin", f"http://{host}:{port}"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def load(balancer: Balancer, **more: Any) -> OpenLoop:
    """Start a load that goes on until it is stopped."""
    return OpenLoop(
        balancer.address(),
        rate=RATE,
        duration=60,
        method=alternating,
        body=b"x" * 100,
        deadline=10,
        tag=backend_of,
        **more,
    ).start()


def asked(balancer: Balancer, count: int) -> Counter[str]:
    """Send so many requests over a connection; return how many each target answered."""
    with RawClient(balancer.address()) as client:
        return Counter(client.ask(request()).body.decode() for _ in range(count))


def test_a_drain_under_load_costs_nothing_and_the_target_can_be_removed_and_stopped(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    loop = load(balancer, path=lambda index: "/slow?ms=300" if index % 10 == 0 else "/")
    running_for(loop, 1.0)
    said = command(balancer, "drain", "a1", "--wait", "--yes")
    assert "nothing runs there any more" in said
    drained = loop.elapsed()
    assert balancer.target("up", "a1")["active_requests"] == 0
    before = targets["a1"].counts()["total"]
    running_for(loop, drained + 1.0)
    assert targets["a1"].counts()["total"] == before, "nothing new comes"
    assert targets["a1"].counts()["open"] == 1, "idle connections are closed at once; the one is this question"
    balancer.reload(config_of([targets["b1"], targets["c1"]]))
    wait_for(lambda: not known(balancer, "a1"), 5, "a1 is gone")
    targets["a1"].kill()
    running_for(loop, loop.elapsed() + 1.0)
    report = loop.stop()
    targets["a1"].restart()
    print(report)
    assert report.failed == 0, report
    assert zones_in(report.between(drained, 60).tags) == {"b", "c"}


def test_a_drained_target_serves_again_after_its_next_good_check(balancer: Balancer) -> None:
    command(balancer, "drain", "up/a1", "--yes")
    shown = balancer.target("up", "a1")
    assert (shown["state"], shown["reason"], shown["order"]["drain"]) == ("draining", "operator", True)
    assert shown["order"]["drain_since"] is not None and shown["drain_until"] is not None
    assert "draining" in command(balancer, "status")
    assert asked(balancer, 30).keys() == {"b1", "c1"}
    command(balancer, "undrain", "a1", "--yes")
    wait_for(lambda: balancer.target("up", "a1")["state"] == "healthy", 2, "it is checked at once")
    wait_for(lambda: asked(balancer, 3)["a1"], 2, "the worker has seen it at its next tick")
    assert asked(balancer, 30) == {"a1": 10, "b1": 10, "c1": 10}


def test_a_web_socket_gets_the_drain_time_and_is_then_closed_with_the_reason(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    balancer.reload(config_of([targets["a1"]], drain_timeout="2s"))
    with RawClient(balancer.address()) as client:
        client.send(UPGRADE)
        head = client.recv_head()
        request_id = (head.get("x-request-id") or b"").decode()
        balancer.reload(config_of([*targets.values()], drain_timeout="2s"))
        began = time.monotonic()
        command(balancer, "drain", "a1", "--yes")
        client.send(b"still here")
        assert client.read_exactly(10) == b"still here"
        client.expect_closed(10)
        took = time.monotonic() - began
    assert 1.8 <= took <= 5, took
    line = balancer.logged(request_id)
    assert (line["reason"], line["target"]) == ("target_removed", "a1")


def test_drains_and_weights_outlive_a_reload_and_the_death_of_control(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    loop = load(balancer)
    command(balancer, "drain", "a1", "--yes")
    command(balancer, "weight", "b1", "3", "--yes")
    drained = loop.elapsed()
    running_for(loop, drained + 0.5)
    edited = config_of([*targets.values()], slow_start="1s")
    balancer.write(edited)
    told = command(balancer, "plan", str(balancer.file))
    assert "kept up/a1 stays drained by the operator" in told and "kept up/b1 keeps the operator's weight 3" in told
    balancer.reload(edited)
    orders = [balancer.target("up", name)["order"] for name in ("a1", "b1")]
    control = balancer.control_pid()
    os.kill(control, signal.SIGKILL)
    wait_for(lambda: answers(balancer) and balancer.control_pid() != control, 10, "control is back")
    wait_for(lambda: "control started anew" in balancer.log_text(), 5, "control has taken over")
    assert [balancer.target("up", name)["order"] for name in ("a1", "b1")] == orders
    assert balancer.target("up", "a1")["reason"] == "operator"
    running_for(loop, loop.elapsed() + 1.0)
    report = loop.stop()
    print(report)
    assert report.failed == 0, report
    assert zones_in(report.between(drained + 0.1, 60).tags) == {"b", "c"}
    assert asked(balancer, 40) == {"b1": 30, "c1": 10}


def answers(balancer: Balancer) -> bool:
    try:
        return balancer.get("/healthz")[0] == 200
    except OSError:
        return False


def test_weights_apply_exactly_and_at_once(balancer: Balancer) -> None:
    command(balancer, "weight", "a1", "3", "--yes")
    command(balancer, "weight", "c1", "0", "--yes")
    assert asked(balancer, 400) == {"a1": 300, "b1": 100}
    assert balancer.target("up", "a1")["configured_weight"] == 1
    assert "3 (file: 1)" in command(balancer, "status")
    command(balancer, "weight", "a1", "reset", "--yes")
    command(balancer, "weight", "c1", "reset", "--yes")
    assert asked(balancer, 30) == {"a1": 10, "b1": 10, "c1": 10}


def test_commands_say_what_they_would_do_and_what_is_wrong(balancer: Balancer) -> None:
    assert "would happen: drain up/a1" in command(balancer, "drain", "a1", "--dry-run")
    assert "add --yes" in command(balancer, "drain", "a1", code=2)
    assert balancer.target("up", "a1")["state"] == "healthy"
    assert "did you mean 'a1'?" in command(balancer, "drain", "a11", "--yes", code=1)
    assert "is not a weight" in command(balancer, "weight", "a1", "x", code=2)
    document = json.loads(command(balancer, "drain", "a1", "--yes", "--json"))
    assert (document["name"], document["state"], document["order"]["drain"]) == ("a1", "draining", True)
    code, body = balancer.get("/api/v1/target_groups/up/targets/none/drain", "POST")
    assert (code, json.loads(body)["status"]) == (404, 404)
    assert balancer.get("/api/v1/target_groups/up/targets/a1/weight", "PUT", b'{"weight": 1001}')[0] == 400


def test_the_configuration_drains_and_disables(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    config = config_of([*targets.values()])
    config["target_groups"][0]["targets"][0]["drain"] = True
    config["target_groups"][0]["targets"][1]["disabled"] = True
    loop = load(balancer)
    running_for(loop, 0.5)
    balancer.reload(config)
    since = loop.elapsed()
    assert [balancer.target("up", name)["state"] for name in targets] == ["draining", "disabled", "healthy"]
    assert "disables it" in command(balancer, "undrain", "b1", "--yes", code=1)
    running_for(loop, since + 1.0)
    report = loop.stop()
    assert report.failed == 0, report
    assert zones_in(report.between(since + 0.1, 60).tags) == {"c"}
    command(balancer, "undrain", "a1", "--yes")
    balancer.wait_for_state("up", "a1", "healthy")


def test_a_target_may_ask_for_its_drain_by_its_probe_and_by_any_response(balancer: Balancer) -> None:
    asking: set[str] = set()

    def answer(seen: Seen) -> bytes:
        path = seen.target.split("?")[0]
        if path in asking:
            return respond(503 if path == "/healthz" else 200, b"ok", "X-Balancer-Drain: 1")
        return respond(200, b"ok")

    with Recorder("r1", answer=answer) as one, Recorder("r2") as other:
        check = {"type": "http", "path": "/healthz", "interval": "300ms", "timeout": "300ms", "fast_interval": "200ms"}
        made = configs.group("up", one.address, other.address, health_check=check)
        balancer.reload({"listeners": [configs.listener("web", [configs.forward("up")])], "target_groups": [made]})
        for name in ("up1", "up2"):
            balancer.wait_for_state("up", name, "healthy")
        asking.add("/healthz")
        wait_for(lambda: balancer.target("up", "up1")["reason"] == "asked_by_target", 2, "the probe has asked")
        asking.clear()
        balancer.wait_for_state("up", "up1", "healthy")
        asking.add("/x")
        with RawClient(balancer.address()) as client:
            answers_ = [client.ask(request("GET", "/x")) for _ in range(4)]
        assert all(got.status == 200 and not got.head.all("x-balancer-drain") for got in answers_)
        wait_for(lambda: balancer.target("up", "up1")["reason"] == "asked_by_target", 2, "a response has asked")

        def passed_over() -> bool:
            """Ten requests of a new connection: workers hear of it some milliseconds after control has decided."""
            served = len([seen for seen in one.requests if seen.target == "/x"])
            with RawClient(balancer.address()) as client:
                assert all(client.ask(request("GET", "/x")).status == 200 for _ in range(10))
            return len([seen for seen in one.requests if seen.target == "/x"]) == served

        wait_for(passed_over, 1, "no request goes to who asked for its drain")
        assert passed_over() and passed_over()
