"""What the notes on load balancing promise for each event, row by row: what GET and POST get, and within what time.

Targets are processes here: SIGTERM to one that drains is `docker stop`, SIGKILL `docker kill`, SIGSTOP `docker pause`,
and packets to an address of loopback are dropped as by a zone that lost its network. Checks come more often than by
default, so bounds are computed from what is configured. Rows found elsewhere: `active_backup` in test_zones.py,
reloads in test_reloads.py, `kill -9` of workers and control in test_losses.py, slow heads in tests/wire/test_limits.py;
everything once more with real containers in tests/compose.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.faults import quiet_port
from tests.support.kernel import tcp_sockets
from tests.support.metrics import Metrics
from tests.support.openloop import OpenLoop
from tests.support.raw import RawClient, request
from tests.support.recorder import Recorder, Seen, respond
from tests.support.report import Report, Sample
from tests.support.targets import (
    CHECK,
    SLACK,
    Cheap,
    alternating,
    backend_of,
    config_of,
    group_of,
    noticed_when_refused,
    noticed_when_silent,
    running_for,
    site,
    taken_twice,
    zones_in,
)
from tests.support.waiting import pace, wait_for

pytestmark = pytest.mark.chaos
RATE = 1000  # requests/s, GET and POST in turn
BODY = b"x" * 100
ONE_A_ZONE = ("a1", "b1", "c1")
Samples = list[Sample]


class Scene:
    """A balancer for one test after the other, each with a group of its own of these targets."""

    def __init__(self, balancer: Balancer, site: dict[str, Cheap]) -> None:
        self.balancer, self.site = balancer, site
        self.group, self.numbers = "up", itertools.count(1)
        self.targets: dict[str, Cheap] = {}
        self.before = Metrics({})

    def play(self, *names: str, **more: Any) -> None:
        """Put a group of these targets in place of the last test's, and wait until it is healthy."""
        for one in self.site.values():
            one.cont()
            if not one.running:
                one.restart()
        self.targets = {name: self.site[name] for name in names}
        self.group = f"up{next(self.numbers)}"
        self.balancer.reload(self.config(*names, **more))
        for name in names:
            self.state(name, "healthy")
        self.before = self.balancer.metrics()

    def config(self, *names: str, **more: Any) -> dict[str, Any]:
        """Return the configuration with these targets in this test's group."""
        made = group_of([self.site[name] for name in names], self.group, **more)
        return {"listeners": [configs.listener("web", [configs.forward(self.group)])], "target_groups": [made]}

    def state(self, target: str, state: str) -> None:
        """Wait for a state."""
        self.balancer.wait_for_state(self.group, target, state)

    def load(self, duration: float, **more: Any) -> OpenLoop:
        """Start a load."""
        return load(self.balancer, duration, **more)

    def grown(self, name: str, **labels: str) -> float:
        """Return by how much a counter of this test's group has grown."""
        labels["target_group"] = self.group
        return self.balancer.metrics().sum(name, **labels) - self.before.sum(name, **labels)


@pytest.fixture(scope="module")
def made() -> Iterator[Scene]:
    with site("a", "b", "c", each=2) as targets, Balancer(config_of([*targets.values()])) as balancer:
        yield Scene(balancer, targets)


@pytest.fixture
def scene(made: Scene) -> Iterator[Scene]:
    """The scene; no POST may be taken twice, whatever happens in a test."""
    yield made
    assert taken_twice([*made.site.values()]) == []


def load(
    balancer: Balancer, duration: float, *, rate: float = RATE, path: str = "/", methods: str = "both"
) -> OpenLoop:
    """Start a load in which a request has 15 s until it counts as lost."""
    return OpenLoop(
        balancer.address(),
        rate=rate,
        duration=duration,
        method=alternating if methods == "both" else methods,
        path=path,
        body=BODY,
        deadline=15.0,
        max_connections=4000,
        tag=backend_of,
    ).start()


def lost(report: Report, method: str) -> Samples:
    """Return the failures of a method."""
    return [one for one in report.failures if one.method == method]


def verdicts(samples: Samples) -> set[tuple[int, str]]:
    """Return the statuses of failed samples with their reasons."""
    return {(one.status, one.reason.rpartition('details="')[2].rstrip('"')) for one in samples}


# A target leaves


def test_a_target_that_drains_itself_costs_nothing(scene: Scene) -> None:
    scene.play(*ONE_A_ZONE)
    loop = scene.load(3.0)
    running_for(loop, 1.0)
    assert scene.targets["c1"].terminate() == 0
    ended = loop.elapsed()
    report = loop.finish()
    print(f"ended after {ended - 1:.2f} s\n{report}")
    assert report.failed == 0, report
    assert zones_in(report.between(0, 1).tags) == {"a", "b", "c"}
    assert zones_in(report.between(ended, 3).tags) == {"a", "b"}


def test_a_target_that_is_drained_first_can_be_killed_and_costs_nothing(scene: Scene) -> None:
    scene.play(*ONE_A_ZONE)
    loop = scene.load(3.0)
    running_for(loop, 0.5)
    scene.balancer.reload(scene.config("a1", "b1"))
    wait_for(lambda: len(scene.balancer.group(scene.group)["targets"]) == 2, 5, "c1 is gone")
    scene.targets["c1"].kill()
    report = loop.finish()
    assert report.failed == 0, report
    assert zones_in(report.between(0, 0.5).tags) == {"a", "b", "c"}


# A target is lost


def test_a_killed_target_costs_only_the_posts_inside_it_and_bodies_that_had_begun(scene: Scene) -> None:
    scene.play(*ONE_A_ZONE)
    begun = begun_on("c1", scene)
    loop = scene.load(3.5, path="/slow?ms=50")
    running_for(loop, 1.5)
    inside = scene.targets["c1"].counts()["active"]
    killed = loop.elapsed()
    scene.targets["c1"].kill()
    scene.state("c1", "unhealthy")
    noticed = loop.elapsed() - killed
    report = loop.finish()
    posts = lost(report, "POST")
    taken = set(scene.targets["c1"].marks())
    unread = [one for one in posts if f"ol-{loop.run_id.decode()}-{one.index}" not in taken]
    print(
        f"{inside} requests inside, {len(posts)} POSTs lost, of which {len(unread)} were on their way to it, ", end=""
    )
    print(f"unhealthy after {noticed:.2f} s\n{report}")
    assert lost(report, "GET") == [], report
    assert verdicts(posts) <= {(502, "upstream_reset"), (502, "upstream_closed")}
    assert all(one.sent <= killed + 0.25 for one in posts), report
    assert len(unread) <= 5, "who was lost had been taken by the target, or was sent in the instant of its death"
    assert noticed <= noticed_when_refused() + SLACK
    assert begun.read_to_end() == b"begun", "the client sees that something is missing"
    assert scene.grown("failures_total", reason="response_truncated") == 1
    begun.close()


def begun_on(target: str, scene: Scene) -> RawClient:
    """Return a client that has half of a body of that target."""
    while True:
        client = RawClient(scene.balancer.address(), timeout=15)
        client.send(request("GET", "/begun"))
        if client.recv_head().get("x-backend") == target.encode():
            return client
        client.close()


def test_a_frozen_target_costs_no_get_and_of_the_posts_only_those_it_was_given(scene: Scene) -> None:
    scene.play(*ONE_A_ZONE, timeouts={"response_header": "3s"})
    loop = scene.load(4.5)
    frozen = running_for(loop, 1.0)
    scene.targets["c1"].stop()
    scene.state("c1", "unhealthy")
    noticed = loop.elapsed() - frozen
    report = loop.finish()
    posts = lost(report, "POST")
    print(f"noticed after {noticed:.2f} s, {len(posts)} POSTs lost\n{report}")
    assert lost(report, "GET") == [], report
    assert verdicts(posts) == {(504, "response_timeout")}, report
    assert all(one.due <= frozen + noticed + 0.25 for one in posts), report
    assert noticed <= noticed_when_silent() + SLACK
    assert report.latency(100, "GET") <= noticed_when_silent() + SLACK
    assert scene.grown("retries_total", reason="rescue") > 0


def test_a_frozen_zone_costs_latency_and_no_error(scene: Scene) -> None:
    scene.play("a1", "a2", "b1", "b2", "c1", "c2")
    log = len(scene.balancer.log_text())
    loop = scene.load(6.0, rate=200, methods="GET")
    frozen = running_for(loop, 1.0)
    for name in ("c1", "c2"):
        scene.targets[name].stop()
    for name in ("c1", "c2"):
        scene.state(name, "unhealthy")
    noticed = loop.elapsed() - frozen
    for name in ("c1", "c2"):
        scene.targets[name].cont()
    for name in ("c1", "c2"):
        scene.state(name, "healthy")
    back = loop.elapsed()
    report = loop.finish()
    rescued = scene.grown("retries_total", reason="rescue")
    print(f"noticed after {noticed:.2f} s, {rescued:.0f} rescued, back at {back:.2f} s\n{report}")
    assert report.failed == 0, report
    assert rescued > 0
    assert report.worst <= noticed_when_silent() + SLACK
    assert zones_in(report.between(back + 0.1, 6).tags) == {"a", "b", "c"}, back
    wait_for(lambda: "zone was regained" in scene.balancer.log_text()[log:], 5, "the log says so")
    said = scene.balancer.log_text()[log:]
    assert said.count("zone was lost") == said.count("zone was regained") == 1


def test_who_waits_for_a_connect_is_moved_when_the_target_is_found_out(scene: Scene) -> None:
    """Nothing was sent, so that POSTs are moved as well: those whose connect is under way, and those behind them."""
    scene.play("a1")
    check = {**CHECK, "type": "tcp"}
    del check["path"]
    with Fading() as fading:
        config = scene.config("a1", health_check=check, timeouts={"connect": "30s"}, passive="off")
        config["target_groups"][0]["targets"].append(configs.target("b1", fading.address, "zone-b"))
        scene.balancer.reload(config)
        scene.state("b1", "healthy")
        fading.fade()
        began = time.monotonic()
        clients = [RawClient(scene.balancer.address(), timeout=15) for _ in range(100)]
        for number, client in enumerate(clients):
            client.send(request(alternating(number), body=BODY * (number % 2)))
        answers = [client.recv_response() for client in clients]
        took = time.monotonic() - began
        rescued = scene.grown("retries_total", reason="rescue")
        print(f"all are answered after {took:.2f} s, {rescued:.0f} rescued")
        assert {(one.status, one.body) for one in answers} == {(200, b"a1")}
        assert rescued >= 33, "more than may connect at once"
        assert took <= noticed_when_silent() + SLACK
        for client in clients:
            client.close()


class Fading:
    """A listening socket that accepts until it fades: then its backlog is full, and connecting to it hangs."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.listener = self.stack.enter_context(socket.socket())
        self.listener.bind(("127.0.0.1", quiet_port()))
        self.listener.listen(1)
        self.listener.settimeout(0.05)
        self.faded = threading.Event()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        """`host:port`, as the configuration writes it."""
        return "{}:{}".format(*self.listener.getsockname())

    def _accept(self) -> None:
        while not self.faded.is_set():
            with contextlib.suppress(TimeoutError):
                self.listener.accept()[0].close()

    def fade(self) -> None:
        """Accept nobody any more."""
        self.faded.set()
        self.thread.join()
        with contextlib.suppress(TimeoutError):
            while True:
                filler = self.stack.enter_context(socket.socket())
                filler.settimeout(0.1)
                filler.connect(self.listener.getsockname())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.faded.set()
        self.thread.join()
        self.stack.close()


def test_a_zone_whose_network_is_gone_costs_only_the_posts_that_were_on_their_way() -> None:
    """Nothing answers, not even with RST: a connect ends after its timeout, what was sent after 10 s without an ACK."""
    host = f"127.{random.randint(10, 250)}.{random.randint(0, 250)}.{random.randint(1, 250)}"
    check = {"interval": "5s", "timeout": "2s"}
    with (
        site("a", "b") as near,
        site("c", each=2, host=host) as far,
        Balancer(config_of([*near.values(), *far.values()], health_check=check)) as balancer,
    ):
        loop = load(balancer, 4.0, rate=300, path="/slow?ms=20")
        running_for(loop, 0.5)
        with dropped(host):
            cut = loop.elapsed()
            out = ("ejected", "unhealthy")
            wait_for(lambda: all(balancer.target("up", name)["state"] in out for name in far), 10.0, "the zone is out")
            noticed = loop.elapsed() - cut
            report = loop.finish()
        posts = lost(report, "POST")
        print(f"out after {noticed:.2f} s, {len(posts)} POSTs lost\n{report}")
        assert lost(report, "GET") == [], report
        assert noticed <= 3 * 2.0 + SLACK
        assert report.latency(100, "GET") <= 3 * 2.0 + SLACK, report
        # Those that had to connect were unsent: they went elsewhere. Lost are those that took a pooled connection.
        assert verdicts(posts) == {(502, "upstream_reset")}, report
        assert all(one.latency <= 10.0 + SLACK for one in posts), report
        assert all(one.due <= cut + noticed for one in posts), report
        assert taken_twice([*near.values(), *far.values()]) == []


@contextlib.contextmanager
def dropped(host: str) -> Iterator[None]:
    """Drop every packet to an address of loopback, on its arrival, for as long as the context lasts."""
    rule = ["INPUT", "-d", host, "-j", "DROP"]
    if shutil.which("iptables") is None:
        pytest.skip("iptables is not installed")
    made = subprocess.run(["iptables", "-w", "-I", *rule], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"packets cannot be dropped here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["iptables", "-w", "-D", *rule], check=True)


def test_the_only_target_of_a_name_is_found_again_at_its_new_address(tmp_path: Path) -> None:
    """The balancer resolves by a hosts file of its own, mounted over the machine's for it alone."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.1.5 moving.test\n")
    mounted = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    mounted += [f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    if (tried := subprocess.run([*mounted, "true"], capture_output=True, text=True)).returncode:
        pytest.skip(f"no hosts file of its own can be mounted here: {tried.stderr.strip()}")
    config = config_of([])
    with Cheap("one", host="127.0.1.5") as first:
        config["target_groups"][0]["discover"] = [{"dns": "moving.test", "port": first.port, "zone": "zone-a"}]
        with Balancer(config, before=mounted) as balancer:
            loop = load(balancer, 3.5, rate=200)
            running_for(loop, 0.5)
            first.kill()
            hosts.write_text("127.0.0.1 localhost\n127.0.1.6 moving.test\n")
            with Cheap("two", host="127.0.1.6", port=first.port) as second:
                listens = loop.elapsed()
                report = loop.finish()
                addresses = {one["address"] for one in balancer.group("up")["targets"] if one["state"] == "healthy"}
            last = max((one.done for one in report.failures), default=listens)
            print(f"the last failure {last - listens:+.2f} s after it listens\n{report}")
            assert {one.status for one in report.failures} <= {502, 503}, report
            assert last - listens <= 2.0, report
            assert set(report.between(listens + 2, 3.5).tags) == {"two"}
            assert addresses == {second.address}


# Checks that mislead


def test_a_health_path_that_is_wrong_everywhere_costs_nothing(scene: Scene) -> None:
    scene.play(*ONE_A_ZONE)
    loop = scene.load(3.5, rate=RATE / 2)
    running_for(loop, 0.5)
    scene.balancer.reload(scene.config(*ONE_A_ZONE, health_check={**CHECK, "path": "/missing"}))
    for name in ONE_A_ZONE:
        scene.state(name, "unhealthy")
    out = loop.elapsed()
    wait_for(lambda: scene.balancer.group(scene.group)["panic"], 2, "panic")
    assert scene.balancer.metrics().sum("panic", target_group=scene.group) == 1
    report = loop.finish()
    print(f"all unhealthy at {out:.2f} s\n{report}")
    assert report.failed == 0, report
    assert zones_in(report.between(out, 3.5).tags) == {"a", "b", "c"}


def test_one_failed_probe_changes_nothing(scene: Scene) -> None:
    scene.play(*ONE_A_ZONE)
    since = scene.balancer.target(scene.group, "b1")["since"]
    loop = scene.load(2.0, rate=200)
    scene.targets["b1"].fail_health(1)
    wait_for(lambda: scene.grown("health_checks_total", target="b1", result="bad_status") == 1, 3, "a failed probe")
    good = scene.grown("health_checks_total", target="b1", result="ok")
    wait_for(lambda: scene.grown("health_checks_total", target="b1", result="ok") >= good + 3, 5, "good ones again")
    report = loop.finish()
    assert report.failed == 0, report
    now = scene.balancer.target(scene.group, "b1")
    assert (now["state"], now["since"]) == ("healthy", since)
    assert scene.grown("health_checks_total", target="b1", result="bad_status") == 1
    assert f"unhealthy group={scene.group}" not in scene.balancer.log_text()


# Targets that do not keep connections; the balancer stops


def test_targets_that_close_idle_connections_cost_no_get_and_are_learned() -> None:
    """The balancer would keep them for 4 s. Requests come just as the targets close."""
    idle = 1.2
    with site("a", "b", "c", idle=idle) as targets, Balancer(config_of([*targets.values()])) as balancer:
        clients = [RawClient(balancer.address()) for _ in range(24)]
        failed = {"GET": 0, "POST": 0}
        for rest in (idle, idle - 0.01, idle + 0.01, 0.0):
            for number, client in enumerate(clients):
                client.send(request(alternating(number), "/slow?ms=50", body=BODY * (number % 2)))
            for number, client in enumerate(clients):
                failed[alternating(number)] += client.recv_response().status != 200
            answered = time.monotonic()
            pace(rest)
        print(failed)
        assert failed["GET"] == 0
        assert failed["POST"] <= len(targets)
        ports = {one.port for one in targets.values()}
        (worker,) = balancer.worker_pids()
        wait_for(lambda: not any(one.remote[1] in ports for one in tcp_sockets(worker)), 3, "no connection is kept")
        took = time.monotonic() - answered
        for client in clients:
            client.close()
        assert took < idle, "the balancer closes first, once it has learned"
        assert balancer.metrics().sum("failures_total", reason="upstream_closed") == failed["POST"]


def test_a_stop_answers_everything_that_was_sent_before_the_close() -> None:
    with site("a", "b", "c") as targets:
        config = {**config_of([*targets.values()]), "stop_timeout": "5s"}
        with Balancer(config, workers=2) as balancer:
            loop = load(balancer, 5.0, rate=200, path="/slow?ms=500")
            running_for(loop, 1.0)
            began = time.monotonic()
            balancer.stop()
            took = time.monotonic() - began
            report = loop.stop()
            refused = [one for one in report.failures if one.cause == "connect: ConnectionRefusedError"]
            print(f"stopped within {took:.2f} s, {len(refused)} came too late\n{report}")
            assert report.failures == refused, report
            assert report.answered >= 200
            assert 0.3 < took < 5.0


@pytest.mark.parametrize("sent", ["before the stop", "while the answer comes", "after its end"])
def test_a_stop_serves_what_was_sent_behind_an_answer_that_did_not_say_close(sent: str) -> None:
    ends = threading.Event()

    def answer(seen: Seen) -> bytes | Iterator[bytes]:
        if seen.target != "/stream":
            return respond(200, b"next")
        return itertools.chain([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"], later())

    def later() -> Iterator[bytes]:
        ends.wait(10)
        yield b"cd"

    with Recorder(answer=answer) as target, contextlib.ExitStack() as stack:
        config = {
            "listeners": [configs.listener("web", [configs.forward("g")])],
            "target_groups": [configs.group("g", target.address)],
            "stop_timeout": "8s",
        }
        balancer = stack.enter_context(Balancer(config))
        clients = [stack.enter_context(RawClient(balancer.address(), timeout=10)) for _ in range(8)]
        for client in clients:
            client.send(request("GET", "/stream") + (request() if sent == "before the stop" else b""))
        heads = [client.read_until(b"\r\n\r\nab") for client in clients]
        assert not any(b"close" in head.lower() for head in heads)
        stop = threading.Thread(target=balancer.stop)
        stop.start()
        wait_for(lambda: refuses(balancer.address()), 5.0, "no more are accepted")
        pace(1.1)  # so long connections without a request stay open
        if sent == "while the answer comes":
            for client in clients:
                client.send(request())
        ends.set()
        for client in clients:
            assert client.read_exactly(2) == b"cd"
            if sent == "after its end":
                client.send(request())
            response = client.recv_response()
            assert (response.status, response.body, response.closes) == (200, b"next", True)
            client.expect_closed()
        stop.join()
        assert len([line for line in balancer.access_log() if line["status"] == 200]) == 2 * len(clients)


def refuses(address: tuple[str, int]) -> bool:
    """Return whether nobody listens there any more."""
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0
