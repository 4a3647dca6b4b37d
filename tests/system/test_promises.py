"""What the notes on load balancing promise for each event, row by row: what GET and POST get, and within what time.

Targets are processes here: SIGTERM to one that drains is `docker stop`, SIGKILL `docker kill`, SIGSTOP `docker pause`,
and packets to an address of loopback are dropped as by a zone that lost its network. Checks come more often than by
default, so bounds are computed from what is configured. Rows found elsewhere: `active_backup` in test_zones.py,
reloads in test_reloads.py, `kill -9` of workers and control in test_losses.py, slow heads in tests/wire/test_limits.py;
everything once more with real containers in tests/compose.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.balancer import Balancer
from tests.support.openloop import OpenLoop
from tests.support.raw import RawClient, request
from tests.support.report import Report, Sample
from tests.support.targets import (
    SLACK,
    Cheap,
    alternating,
    backend_of,
    config_of,
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


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Cheap]]:
    """One target a zone, for the tests that leave them as they were."""
    with site("a", "b", "c") as made:
        yield made


def load(balancer: Balancer, duration: float, rate: float = RATE, path: str = "/", mixed: bool = True) -> OpenLoop:
    """Start a load in which a request has 15 s until it counts as lost."""
    return OpenLoop(
        balancer.address(),
        rate=rate,
        duration=duration,
        method=alternating if mixed else "GET",
        path=path,
        body=BODY,
        deadline=15.0,
        max_connections=4000,
        tag=backend_of,
    ).start()


def by_method(report: Report, method: str) -> list[Sample]:
    """Return the failures of a method."""
    return [one for one in report.failures if one.method == method]


def reason(sample: Sample) -> str:
    """Return the reason word of a failed sample."""
    return sample.reason.rpartition('details="')[2].rstrip('"')


# A target leaves


def test_a_target_that_drains_itself_costs_nothing() -> None:
    with site("a", "b", "c") as targets, Balancer(config_of([*targets.values()])) as balancer:
        loop = load(balancer, 3.0)
        running_for(loop, 1.0)
        assert targets["c1"].terminate() == 0
        ended = loop.elapsed()
        report = loop.finish()
        print(f"ended after {ended - 1:.2f} s\n{report}")
        assert report.failed == 0, report
        assert zones_in(report.between(0, 1).tags) == {"a", "b", "c"}
        assert zones_in(report.between(ended, 3).tags) == {"a", "b"}
        assert taken_twice([*targets.values()]) == []


def test_a_target_that_is_drained_first_can_be_killed_and_costs_nothing() -> None:
    with site("a", "b", "c") as targets, Balancer(config_of([*targets.values()])) as balancer:
        loop = load(balancer, 4.0)
        running_for(loop, 1.0)
        balancer.reload(config_of([targets["a1"], targets["b1"]]))
        wait_for(lambda: len(balancer.group("up")["targets"]) == 2, 5, "c1 is gone")
        targets["c1"].kill()
        report = loop.finish()
        assert report.failed == 0, report
        assert zones_in(report.between(0, 1).tags) == {"a", "b", "c"}
        assert taken_twice([*targets.values()]) == []


# A target is lost


def test_a_killed_target_costs_only_the_posts_inside_it() -> None:
    with site("a", "b", "c") as targets, Balancer(config_of([*targets.values()])) as balancer:
        loop = load(balancer, 4.0, path="/slow?ms=50")
        running_for(loop, 1.5)
        inside = targets["c1"].counts()["active"]
        killed = loop.elapsed()
        targets["c1"].kill()
        balancer.wait_for_state("up", "c1", "unhealthy")
        noticed = loop.elapsed() - killed
        report = loop.finish()
        lost = by_method(report, "POST")
        print(f"{inside} requests inside, {len(lost)} POSTs lost, unhealthy after {noticed:.2f} s\n{report}")
        assert by_method(report, "GET") == [], report
        assert {(one.status, reason(one)) for one in lost} <= {(502, "upstream_reset"), (502, "upstream_closed")}
        assert all(one.sent <= killed + 0.25 for one in lost), report
        assert len(lost) <= 2 * inside + 5, report
        assert noticed <= noticed_when_refused() + SLACK
        assert taken_twice([*targets.values()]) == []


def test_a_frozen_target_costs_no_get_and_of_the_posts_only_those_it_was_given() -> None:
    timeouts = {"response_header": "3s"}
    with site("a", "b", "c") as targets, Balancer(config_of([*targets.values()], timeouts=timeouts)) as balancer:
        loop = load(balancer, 5.0)
        frozen = running_for(loop, 1.0)
        targets["c1"].stop()
        wait_for(lambda: balancer.target("up", "c1")["state"] in ("unhealthy", "ejected"), 10, "c1 is out")
        noticed = loop.elapsed() - frozen
        report = loop.finish()
        lost = by_method(report, "POST")
        print(f"noticed after {noticed:.2f} s, {len(lost)} POSTs lost\n{report}")
        assert by_method(report, "GET") == [], report
        assert {(one.status, reason(one)) for one in lost} == {(504, "response_timeout")}, report
        assert all(one.due <= frozen + noticed + 0.25 for one in lost), report
        assert noticed <= noticed_when_silent() + SLACK
        assert report.latency(100, "GET") <= noticed_when_silent() + SLACK
        assert balancer.metrics().sum("retries_total", target_group="up", reason="rescue") > 0
        assert taken_twice([*targets.values()]) == []


def test_a_frozen_zone_costs_latency_and_no_error() -> None:
    with site("a", "b", "c", each=2) as targets, Balancer(config_of([*targets.values()])) as balancer:
        loop = load(balancer, 6.0, rate=200, mixed=False)
        frozen = running_for(loop, 1.0)
        zone = [targets["c1"], targets["c2"]]
        for one in zone:
            one.stop()
        for one in zone:
            balancer.wait_for_state("up", one.name, "unhealthy")
        noticed = loop.elapsed() - frozen
        for one in zone:
            one.cont()
        for one in zone:
            balancer.wait_for_state("up", one.name, "healthy")
        back = loop.elapsed()
        report = loop.finish()
        rescued = balancer.metrics().sum("retries_total", target_group="up", reason="rescue")
        print(f"noticed after {noticed:.2f} s, {rescued:.0f} rescued, back at {back:.2f} s\n{report}")
        assert report.failed == 0, report
        assert rescued > 0
        assert report.worst <= noticed_when_silent() + SLACK
        assert zones_in(report.between(back + 0.1, 6).tags) == {"a", "b", "c"}, back
        log = balancer.log_text()
        assert log.count("zone was lost") == log.count("zone was regained") == 1


def test_a_zone_whose_network_is_gone_costs_only_the_posts_that_were_on_their_way() -> None:
    """Nothing answers, not even with RST: a connect ends after its timeout, what was sent after 10 s without an ACK."""
    host = f"127.{random.randint(10, 250)}.{random.randint(0, 250)}.{random.randint(1, 250)}"
    check = {"interval": "5s", "timeout": "2s"}
    with (
        site("a", "b") as near,
        Cheap("c1", "zone-c", host=host) as c1,
        Cheap("c2", "zone-c", host=host) as c2,
        Balancer(config_of([*near.values(), c1, c2], health_check=check)) as balancer,
    ):
        loop = load(balancer, 4.5, rate=300)
        running_for(loop, 1.0)
        with dropped(host):
            cut = loop.elapsed()
            for one in (c1, c2):
                wait_for(
                    lambda one=one: balancer.target("up", one.name)["state"] in ("ejected", "unhealthy"),  # type: ignore[misc]
                    8.0,
                    f"{one.name} is out",
                )
            noticed = loop.elapsed() - cut
            report = loop.finish()
        lost = by_method(report, "POST")
        print(f"out after {noticed:.2f} s, {len(lost)} POSTs lost\n{report}")
        assert by_method(report, "GET") == [], report
        assert noticed <= 3 * 2.0 + SLACK
        assert report.latency(100, "GET") <= 3 * 2.0 + SLACK, report
        assert {(one.status, reason(one)) for one in lost} <= {(502, "upstream_reset")}, report
        assert all(one.latency <= 10.0 + 2.0 for one in lost), report
        # Those that had to connect were unsent: they went elsewhere. Lost are those that took a pooled connection.
        assert len(lost) <= 64, report
        assert taken_twice([*near.values(), c1, c2]) == []


@contextlib.contextmanager
def dropped(host: str) -> Iterator[None]:
    """Drop every packet to an address of loopback for as long as the context lasts."""
    rule = ["OUTPUT", "-d", host, "-j", "DROP"]
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
    with Cheap("one", host="127.0.1.5") as first:
        config = config_of([])
        config["target_groups"][0]["discover"] = [{"dns": "moving.test", "port": first.port, "zone": "zone-a"}]
        with Balancer(config, before=mounted) as balancer:
            loop = load(balancer, 5.0, rate=200)
            running_for(loop, 0.5)
            first.kill()
            hosts.write_text("127.0.0.1 localhost\n127.0.1.6 moving.test\n")
            with Cheap("two", host="127.0.1.6", port=first.port):
                listens = loop.elapsed()
                report = loop.finish()
            last = max((one.due for one in report.failures), default=0.0)
            print(f"the last failure {last - listens:.2f} s after it listens\n{report}")
            assert {one.status for one in report.failures} <= {502, 503}, report
            assert last - listens <= 2.0, report
            assert set(report.between(listens + 2, 5).tags) == {"two"}
            assert balancer.target("up", "moving.test#1")["address"] == f"127.0.1.6:{first.port}"


# Checks that mislead


def test_a_health_path_that_is_wrong_everywhere_costs_nothing(targets: dict[str, Cheap]) -> None:
    ours = [*targets.values()]
    with Balancer(config_of(ours)) as balancer:
        wrong = {**config_of(ours)["target_groups"][0]["health_check"], "path": "/missing"}
        before = sum(one.counts()["total"] for one in ours)
        loop = load(balancer, 4.0, rate=RATE / 2)
        running_for(loop, 0.5)
        balancer.reload(config_of(ours, health_check=wrong))
        for name in targets:
            balancer.wait_for_state("up", name, "unhealthy")
        out = loop.elapsed()
        assert balancer.group("up")["panic"] is True
        assert balancer.metrics().sum("panic", target_group="up") == 1
        report = loop.finish()
        print(f"all unhealthy at {out:.2f} s\n{report}")
        assert report.failed == 0, report
        assert zones_in(report.between(out, 4).tags) == {"a", "b", "c"}
        assert sum(one.counts()["total"] for one in ours) - before >= report.sent
        assert "panic" in balancer.log_text()


def test_one_failed_probe_changes_nothing(targets: dict[str, Cheap]) -> None:
    with Balancer(config_of([*targets.values()])) as balancer:
        for name in targets:
            balancer.wait_for_state("up", name, "healthy")
        since = balancer.target("up", "b1")["since"]
        loop = load(balancer, 2.0, rate=200)

        def checks(result: str) -> float:
            return balancer.metrics().sum("health_checks_total", target="b1", result=result)

        targets["b1"].fail_health(1)
        wait_for(lambda: checks("bad_status") == 1, 3, "a failed probe")
        good = checks("ok")
        wait_for(lambda: checks("ok") >= good + 3, 5, "good ones again")
        report = loop.finish()
        assert report.failed == 0, report
        assert (balancer.target("up", "b1")["state"], balancer.target("up", "b1")["since"]) == ("healthy", since)
        assert checks("bad_status") == 1
        assert "became unhealthy" not in balancer.log_text()


# The balancer stops; targets that do not keep connections


def test_a_stop_answers_everything_that_was_sent_before_the_close(targets: dict[str, Cheap]) -> None:
    with Balancer({**config_of([*targets.values()]), "stop_timeout": "5s"}, workers=2) as balancer:
        loop = load(balancer, 5.0, rate=200, path="/slow?ms=500")
        running_for(loop, 1.5)
        began = time.monotonic()
        balancer.stop()
        took = time.monotonic() - began
        report = loop.stop()
        refused = [one for one in report.failures if one.cause == "connect: ConnectionRefusedError"]
        print(f"stopped within {took:.2f} s, {len(refused)} came too late\n{report}")
        assert report.failures == refused, report
        assert report.answered >= 1.5 * 200
        assert 0.3 < took < 5.0


def test_targets_that_close_idle_connections_cost_no_get_and_are_learned() -> None:
    """The balancer would keep them for 4 s. Requests come just as the targets close."""
    idle = 1.5
    with site("a", "b", "c", idle=idle) as targets, Balancer(config_of([*targets.values()])) as balancer:
        clients = [RawClient(balancer.address()) for _ in range(24)]
        failed = {"GET": 0, "POST": 0}
        for rest in (idle, idle - 0.01, idle + 0.01, 0.0):
            for number, client in enumerate(clients):
                client.send(request(alternating(number), "/slow?ms=100", body=BODY * (number % 2)))
            for number, client in enumerate(clients):
                failed[alternating(number)] += client.recv_response().status != 200
            answered = time.monotonic()
            pace(rest)
        print(failed)
        assert failed["GET"] == 0
        assert failed["POST"] <= len(targets)
        # What asks for the counts is a connection, too.
        for one in targets.values():
            wait_for(lambda one=one: one.counts()["open"] == 1, 3, "the balancer closes first")  # type: ignore[misc]
        assert time.monotonic() - answered < idle
        for client in clients:
            client.close()
        metrics = balancer.metrics()
        assert metrics.sum("failures_total", reason="upstream_closed") == failed["POST"]


def test_a_second_signal_is_not_needed_and_nothing_stays(targets: dict[str, Cheap]) -> None:
    with Balancer(config_of([*targets.values()]), workers=2) as balancer:
        children = [balancer.control_pid(), *balancer.worker_pids()]
        os.kill(balancer.pid, signal.SIGTERM)
        assert balancer.process is not None
        assert balancer.process.wait(10) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)
