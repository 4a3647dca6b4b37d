"""Every example configuration does what its first comment says: each is started, and what it is there for is seen."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.balancer import Balancer
from tests.support.failure import expect_failure
from tests.support.faults import refusing
from tests.support.process import ROOT
from tests.support.raw import RawClient, Response, ask, request
from tests.support.recorder import Recorder, Seen, respond
from tests.support.targets import Cheap
from tests.support.waiting import wait_for

EXAMPLES = ROOT / "config" / "examples"
DEMO = ROOT / "config" / "demo" / "demo.yaml"
Exercise = Callable[[], None]
EXERCISES: dict[str, Exercise] = {}


def example(name: str) -> Callable[[Exercise], Exercise]:
    """Say that a function exercises `config/examples/NAME.yaml`."""

    def said(exercise: Exercise) -> Exercise:
        EXERCISES[name] = exercise
        return exercise

    return said


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.stem)
def test_an_example_does_what_it_is_there_for(file: Path) -> None:
    assert file.suffix == ".yaml"
    assert file.stem in EXERCISES, "an example that nobody tries"
    EXERCISES[file.stem]()


def test_no_exercise_is_without_its_example() -> None:
    assert set(EXERCISES) == {file.stem for file in EXAMPLES.iterdir()}


# How they are started and asked


class Target(Recorder):
    """A target that is well and says its name, unless a test has it answer otherwise; `held` keeps its answers back."""

    def __init__(self, name: str) -> None:
        self.held = threading.Event()
        self.held.set()
        self.says: Callable[[Seen], bytes] = self.echo
        super().__init__(name, answer=self._answer)

    def _answer(self, seen: Seen) -> bytes:
        if seen.target == "/healthz":
            return respond(200, b"ok")
        self.held.wait(20)
        return self.says(seen)

    @property
    def traffic(self) -> list[Seen]:
        """The requests that are no health checks."""
        return [one for one in list(self.requests) if one.target != "/healthz"]

    def vanish(self) -> None:
        """Refuse everything from now on."""
        self.stop_listening()
        self.close_connections()


class Scene:
    """An example that runs in front of its targets."""

    def __init__(self, balancer: Balancer, *targets: Target) -> None:
        self.balancer, self.targets = balancer, targets

    def client(self) -> RawClient:
        """Return a connection to its listener."""
        return RawClient(self.balancer.address(), timeout=10)

    def ask(self, data: bytes) -> Response:
        """Send one request on a connection of its own."""
        return ask(self.balancer.address(), data)

    def spread(self, count: int) -> dict[str, int]:
        """Return who answers so many requests on one connection, so of one worker."""
        with self.client() as client:
            return dict(Counter(client.ask(request()).get("x-recorder") or "-" for _ in range(count)))


@contextlib.contextmanager
def running(name: str, *addresses: str, **env: str) -> Iterator[Scene]:
    """Run an example before three targets t1, t2, t3; `addresses` are of others that take their places from the first.

    The environment is what an example is told by: TARGET_1 …, PORT, ADMIN_PORT.
    """
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(Target(f"t{number}")) for number in (1, 2, 3)]
        ports = [address.rpartition(":")[2] for address in addresses] + [str(one.port) for one in targets]
        told = {f"TARGET_{number}": port for number, port in enumerate(ports[:3], 1)}
        told |= {"PORT": "0", "ADMIN_PORT": "{admin_port}", **env}
        text = (EXAMPLES / f"{name}.yaml").read_text()
        yield Scene(stack.enter_context(Balancer(text, env=told)), *targets)


# The examples


@example("round-robin")
def five_three_one() -> None:
    with running("round-robin") as scene:
        assert scene.spread(90) == {"t1": 50, "t2": 30, "t3": 10}


@example("least-conn")
def the_one_with_the_least_work_for_its_weight() -> None:
    with running("least-conn") as scene, contextlib.ExitStack() as clients:
        for one in scene.targets:
            one.held.clear()
        for number in range(1, 7):
            client = clients.enter_context(scene.client())
            client.send(request())
            wait_for(lambda number=number: sum(len(one.heads) for one in scene.targets) == number, 5, "it is there")  # type: ignore[misc]
        assert [len(one.traffic) for one in scene.targets] == [4, 2, 0]
        for one in scene.targets:
            one.held.set()


@example("canary")
def nine_to_one() -> None:
    with running("canary") as scene:
        assert scene.spread(100) == {"t1": 90, "t2": 10}


@example("rules")
def the_most_specific_match() -> None:
    api, shop = "api.example.com", "eu.shop.example"
    asked: list[tuple[bytes, str]] = [
        (request(), "t1"),
        (request("GET", "/", "X-Beta: 1"), "t3"),
        (request("GET", "/", "X-Beta: 2"), "t1"),
        (request("GET", "/x?preview=yes"), "t3"),
        (request("GET", "/v1/items", host=api), "t2"),
        (request("GET", "/v10", host=api), "t1"),
        (request("GET", "/", host=shop), "t2"),
        (request("GET", "/", host="shop.example"), "t1"),
        (request("GET", "/status"), "t2"),
        (request("GET", "/status/x"), "t1"),
        (request("GET", "/r12"), "t2"),
        (request("PUT", "/files/x", body=b"x"), "t2"),
    ]
    with running("rules") as scene, scene.client() as client:
        seen = [(data, client.ask(data).get("x-recorder")) for data, _ in asked]
        assert seen == asked


@example("redirect")
def redirects_keep_path_and_query() -> None:
    with running("redirect") as scene:
        old = scene.ask(request("POST", "/old/a?b=c", host="shop.example", body=b"x"))
        assert (old.status, old.get("location")) == (308, "https://shop.example/new/old/a?b=c")
        www = scene.ask(request("GET", "/x", host="www.example.com"))
        assert (www.status, www.get("location")) == (301, "https://example.com/x")
        secure = "secure.example.com"
        plain = scene.ask(request("GET", "/x?y=z", host=secure))
        assert (plain.status, plain.get("location")) == (308, "https://secure.example.com/x?y=z")
        assert scene.ask(request("GET", "/x?y=z", "X-Forwarded-Proto: https", host=secure)).status == 200
        assert scene.spread(2) == {"t1": 1, "t2": 1}


@example("fixed-response")
def answers_that_need_no_target() -> None:
    with running("fixed-response") as scene:
        closed = scene.ask(request("GET", "/shop/cart"))
        assert (closed.status, closed.get("content-type")) == (503, "text/html; charset=utf-8")
        assert closed.body == b"<h1>Back at noon</h1>\n"
        assert scene.ask(request("GET", "/robots.txt")).body == b"User-agent: *\nDisallow: /\n"
        assert not any(one.traffic for one in scene.targets)
        assert scene.spread(2) == {"t1": 1, "t2": 1}


@example("environment")
def values_from_outside() -> None:
    with running("environment", GREETING="good morning", HEALTH_PATH="/ping", HEALTH_INTERVAL="500ms") as scene:
        assert scene.ask(request("GET", "/version")).body == b"good morning, this costs 5 $\n"
        wait_for(lambda: any(one.target == "/ping" for one in scene.targets[0].requests), 5, "a check of that path")
        group = json.loads(scene.balancer.get("/api/v1/config")[1])["snapshot"]["snapshot"]["target_groups"][0]
        assert group["max_connections"] == 100, "what is not set has its default"


@example("health-http")
def an_http_check_looks_at_status_and_body() -> None:
    with running("health-http") as scene:
        first, second, _ = scene.targets
        scene.balancer.wait_for_state("demo", "a1", "healthy")
        check = next(one for one in first.requests if one.target == "/healthz")
        assert (check.get("host"), check.get("x-probe")) == ("app.internal", "balancer")
        second.answer = lambda _: respond(200, b"sick")
        scene.balancer.wait_for_state("demo", "a2", "unhealthy")
        assert scene.balancer.target("demo", "a2")["reason"] == "bad_body"
        assert scene.spread(4) == {"t1": 4}


@example("health-tcp")
def a_tcp_check_only_connects() -> None:
    with refusing() as nobody, running("health-tcp", nobody) as scene:
        scene.balancer.wait_for_state("demo", "a2", "healthy")
        scene.balancer.wait_for_state("demo", "a1", "unhealthy")
        assert scene.balancer.target("demo", "a1")["reason"] == "refused"
        assert scene.targets[0].accepted > 0
        assert not scene.targets[0].heads
        assert scene.spread(4) == {"t1": 4}


@example("health-off")
def without_checks_traffic_takes_a_target_out() -> None:
    with refusing() as nobody, running("health-off", nobody) as scene:
        assert scene.balancer.target("demo", "a1")["state"] == "healthy"
        assert scene.spread(4) == {"t1": 4}
        scene.balancer.wait_for_state("demo", "a1", "ejected")
        assert scene.targets[0].accepted == 1, "nobody but the one client came"


@example("passive-off")
def without_passive_checks_only_probes_take_a_target_out() -> None:
    with running("passive-off") as scene:
        scene.balancer.wait_for_state("demo", "a1", "healthy")
        scene.targets[0].says = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"
        failed = scene.spread(40)
        assert failed == {"t2": 20, "-": 20}
        assert scene.balancer.target("demo", "a1")["state"] == "healthy"


@example("retries")
def a_503_is_tried_elsewhere_if_it_may_be() -> None:
    with running("retries") as scene:
        scene.targets[0].says = lambda _: respond(503)
        with scene.client() as client:
            assert [client.ask(request()).status for _ in range(4)] == [200] * 4
            posted = [client.ask(request("POST", body=b"x")).status for _ in range(4)]
        assert sorted(posted) == [200, 200, 503, 503]


@example("queue")
def who_finds_every_target_full_waits_or_is_sent_away() -> None:
    with running("queue") as scene, contextlib.ExitStack() as stack:
        for one in scene.targets:
            one.held.clear()
        clients = [stack.enter_context(scene.client()) for _ in range(30)]
        for client in clients:
            client.send(request())

        def sent_away() -> float:
            return scene.balancer.metrics().sum("failures_total", reason="queue_full")

        # Two at each of two targets (two a worker, until workers see each other's), ten in line.
        wait_for(lambda: sent_away() >= 30 - 8 - 10, 5, "the others are sent away at once")
        for one in scene.targets:
            one.held.set()
        answers = [client.recv_response() for client in clients]
        refused = [one for one in answers if one.status != 200]
        assert len(refused) == sent_away() <= 30 - 4
        assert {(one.status, one.get("retry-after")) for one in refused} == {(503, "1")}


@example("limits-and-timeouts")
def limits_and_timeouts_of_both_sides() -> None:
    with running("limits-and-timeouts") as scene:
        large = scene.ask(request("POST", "/", f"Content-Length: {1024 * 1024 + 1}"))
        expect_failure(large, scene.balancer, "body_too_large", 413, times=0)
        long = scene.ask(request("GET", "/", f"X-Long: {'x' * 17_000}"))
        assert long.status == 431
        for one in scene.targets:
            one.held.clear()
        late = scene.ask(request())
        expect_failure(late, scene.balancer, "response_timeout", 504)
        for one in scene.targets:
            one.held.set()


@example("wait-for-target")
def who_finds_no_target_waits_for_one() -> None:
    with refusing() as nobody, running("wait-for-target", nobody) as scene, scene.client() as client:
        client.send(request("POST", body=b"x"))
        wait_for(lambda: scene.balancer.metrics().sum("retries_total", reason="connect_refused") >= 3, 5, "it is tried")
        assert client.has_nothing()
        with Target("back") as back:
            text = (EXAMPLES / "wait-for-target.yaml").read_text().replace("${TARGET_1:-8001}", str(back.port))
            scene.balancer.reload(text)
            answer = client.recv_response()
            assert (answer.status, answer.get("x-recorder")) == (200, "back")


@example("rate-limit")
def who_asks_too_often_is_told_when_to_come_back() -> None:
    with running("rate-limit") as scene, scene.client() as client:
        login = [client.ask(request("GET", "/login", "X-Api-Key: one")).status for _ in range(8)]
        assert login == [200] * 5 + [429] * 3
        assert client.ask(request("GET", "/login", "X-Api-Key: two")).status == 200
        answers = [client.ask(request()) for _ in range(40)]
        served = sum(one.status == 200 for one in answers)
        assert 11 <= served <= 25, "what the nine have left of twenty, and what came back meanwhile"
        expect_failure(next(one for one in answers if one.status == 429), scene.balancer, "rate_limited", 429, times=0)


@example("local-first")
def the_local_zone_first() -> None:
    with running("local-first") as scene:
        scene.balancer.wait_for_state("demo", "a1", "healthy")
        assert scene.spread(12) == {"t1": 12}
        scene.targets[0].vanish()
        scene.spread(12)
        wait_for(lambda: scene.balancer.target("demo", "a1")["state"] != "healthy", 5, "a1 is out")
        wait_for(lambda: scene.spread(12) == {"t2": 6, "t3": 6}, 5, "the others share its traffic")


@example("active-backup")
def the_backup_zone_only_when_it_is_needed() -> None:
    with running("active-backup") as scene:
        scene.balancer.wait_for_state("demo", "a1", "healthy")
        assert scene.spread(12) == {"t1": 12}
        scene.targets[0].vanish()
        scene.spread(12)
        wait_for(lambda: scene.balancer.target("demo", "a1")["state"] != "healthy", 5, "a1 is out")
        wait_for(lambda: scene.spread(12) == {"t2": 12}, 5, "the next in order takes it all")


@example("dns-discovery")
def every_address_of_a_name_is_a_target() -> None:
    with running("dns-discovery") as scene:
        wait_for(lambda: scene.balancer.group("demo")["targets"], 5, "the name resolves")
        (target,) = scene.balancer.group("demo")["targets"]
        assert (target["name"], target["address"]) == ("localhost#1", scene.targets[0].address)
        assert scene.spread(3) == {"t1": 3}


@example("trusted-proxies")
def only_a_trusted_proxy_is_believed() -> None:
    claimed = request("GET", "/", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https")
    with running("trusted-proxies") as scene:
        known = scene.ask(claimed)
        with RawClient(scene.balancer.address(), source="127.0.0.2") as client:
            stranger = client.ask(claimed)
        seen = sorted(
            (one.get("x-forwarded-for"), one.get("x-forwarded-proto"), one.get("x-real-ip"))
            for target in scene.targets
            for one in target.traffic
        )
        assert seen == [("127.0.0.2", "http", "127.0.0.2"), ("203.0.113.9, 127.0.0.1", "https", "203.0.113.9")]
        logged = [scene.balancer.logged(one.get("x-request-id") or "")["client"] for one in (known, stranger)]
        assert logged == ["203.0.113.9", "127.0.0.2"]


@example("access-log-off")
def no_access_log() -> None:
    with running("access-log-off") as scene:
        assert scene.spread(10) == {"t1": 5, "t2": 5}
        wait_for(lambda: scene.balancer.metrics().sum("requests_total", code="2xx") == 10, 3, "they are counted")
        scene.balancer.stop()
        assert scene.balancer.out.read_bytes() == b""


@example("websocket")
def an_upgraded_connection_lives_on() -> None:
    fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    fields.append(f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}")
    with (
        Cheap("e1") as one,
        Cheap("e2") as two,
        running("websocket", one.address, two.address) as scene,
        scene.client() as client,
    ):
        assert client.ask(request("GET", "/ws", *fields)).status == 101
        for number in range(3):
            frame = b"\x82\x84" + os.urandom(8)
            client.send(frame)
            assert client.read_exactly(len(frame)) == frame
            text = (EXAMPLES / "websocket.yaml").read_text().replace("10m", f"1{number}m")
            scene.balancer.reload(text)


def test_the_demo_has_six_targets_in_three_zones() -> None:
    names = ("a1", "a2", "b1", "b2", "c1", "c2")
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(Target(name)) for name in names]
        told = {f"DEMO_{one.name.upper()}": one.address for one in targets}
        told |= {"DEMO_ADMIN": "{admin}", "DEMO_LISTEN": "127.0.0.1:0"}
        scene = Scene(stack.enter_context(Balancer(DEMO.read_text(), env=told)), *targets)
        wait_for(lambda: "6 of 6 targets healthy in 3 zones" in scene.balancer.log_text(), 5, "all are well")
        assert scene.spread(12) == dict.fromkeys(names, 2)
        zones = {one["name"]: (one["total"], one["share"]) for one in scene.balancer.group("demo")["zones"]}
        assert zones == dict.fromkeys(("zone-a", "zone-b", "zone-c"), (2, 33.3))
        assert sorted(DEMO.parent.iterdir()) == [DEMO]
        os.kill(scene.balancer.pid, signal.SIGHUP)
        wait_for(lambda: "changes=nothing" in scene.balancer.log_text(), 5, "nothing has changed")
