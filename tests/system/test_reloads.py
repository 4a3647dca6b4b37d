"""Reloads under load: however a file is changed, no request fails, what did not change goes on, and nothing is left.

The quick succession is 100 valid ones in at most 60 s, each with an invalid one before it.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from balancer.control import watch
from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.faults import quiet_port
from tests.support.kernel import descriptor_count, descriptors_by_kind, resident_bytes
from tests.support.openloop import OpenLoop
from tests.support.process import ROOT
from tests.support.raw import RawClient, request
from tests.support.recorder import Recorder, Seen, respond
from tests.support.targets import Cheap, backend_of, config_of, site
from tests.support.waiting import pace, wait_for

pytestmark = pytest.mark.chaos
RATE = 200
RELOADS, WARM = 200, 20
EVERY = 0.12  # seconds from one to the next
MIB = 1024 * 1024
BROKEN = "nonsense: 1\n"


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Cheap]]:
    with site("a", "b", "c") as made:
        yield made


@pytest.fixture(scope="module")
def balancer(targets: dict[str, Cheap]) -> Iterator[Balancer]:
    with Balancer(config_of([*targets.values()]), workers=2) as made:
        yield made


def load(balancer: Balancer, duration: float, rate: float = RATE) -> OpenLoop:
    return OpenLoop(balancer.address(), rate=rate, duration=duration, deadline=10.0, tag=backend_of).start()


def weighed(targets: dict[str, Cheap], number: int) -> dict[str, Any]:
    """Return a configuration that differs from that of any other number."""
    config = config_of([*targets.values()])
    config["target_groups"][0]["targets"][0]["weight"] = 100 + number
    return config


def weight(balancer: Balancer) -> int:
    return int(balancer.target("up", "a1")["weight"])


def processes(balancer: Balancer) -> dict[str, int]:
    """Return the pids of the whole tree by name."""
    names = {"supervisor": balancer.pid, "control": balancer.control_pid()}
    return names | {f"worker {number}": pid for number, pid in enumerate(balancer.worker_pids())}


# A hundred of them


def test_a_hundred_reloads_and_as_many_invalid_ones_cost_no_request_and_leave_nothing(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    def again(number: int) -> None:
        valid = number % 2 == 1
        config: Any = weighed(targets, number)
        balancer.reload(config if valid else balancer.render(config) + BROKEN, applied=valid)

    for number in range(WARM):  # tables and allocators fill up
        again(number)
    tree = processes(balancer)
    version = balancer.status()["config"]["version"]
    kinds = {name: descriptors_by_kind(pid) for name, pid in tree.items()}
    sizes = {name: resident_bytes(pid) for name, pid in tree.items()}
    loop = load(balancer, 90.0)
    began = time.monotonic()
    for number in range(WARM, WARM + RELOADS):
        again(number)
        pace(EVERY - (time.monotonic() - began) % EVERY)
    took = time.monotonic() - began
    report = loop.stop()
    print(f"{RELOADS // 2} reloads and as many invalid ones in {took:.1f} s\n{report}")
    assert took <= 60.0
    assert report.failed == 0, report
    assert report.idle_closed == 0, "a reload is no reason to close a client's connection"
    assert balancer.status()["config"]["version"] == version + RELOADS // 2
    assert weight(balancer) == 100 + WARM + RELOADS - 1
    assert processes(balancer) == tree
    balancer.check_clean()
    for name, pid in tree.items():
        kept = {kind: count for kind, count in descriptors_by_kind(pid).items() if count > kinds[name][kind]}
        size = resident_bytes(pid)
        print(f"{name}: {descriptor_count(pid)} descriptors, {sizes[name] / MIB:.1f} -> {size / MIB:.1f} MiB")
        assert not kept, (name, kept)
        assert size - sizes[name] < 8 * MIB, name


def test_a_websocket_lives_through_twenty_reloads(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    with RawClient(balancer.address()) as client:
        key = base64.b64encode(os.urandom(16)).decode()
        fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        assert client.ask(request("GET", "/ws", *fields)).status == 101
        for number in range(20):
            balancer.reload(weighed(targets, 1000 - number - 200))
            frame = b"\x82\x84" + os.urandom(8)
            client.send(frame)
            assert client.read_exactly(len(frame)) == frame
        balancer.reload(balancer.render(balancer.config) + BROKEN, applied=False)
        client.send(b"\x82\x84" + bytes(8))
        assert client.read_exactly(10) == b"\x82\x84" + bytes(8)


def test_a_change_is_applied_within_a_second_of_the_file_being_quiet(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    took, noticed = [], []
    loop = load(balancer, 30.0)
    for number in range(3):
        before = len(reloaded(balancer))
        written = time.time()
        balancer.write(weighed(targets, 300 + number))
        wait_for(lambda number=number: weight(balancer) == 400 + number, 5, "it is applied")  # type: ignore[misc]
        (told,) = wait_for(lambda before=before: reloaded(balancer)[before:], 5, "the line in the log")  # type: ignore[misc]
        took.append(told.at - written)
        noticed.append(told.at - written - told.read - told.published)
    report = loop.stop()
    print(f"applied after {took} s; without reading and publishing {noticed} s")
    assert report.failed == 0, report
    # Two looks agree: one period until the file is seen, one more until it is known to be quiet.
    assert max(noticed) <= 2 * watch.PERIOD + 0.3, noticed
    assert max(took) <= 1.0, took


class Reloaded(NamedTuple):
    """What the log says of a reload: its end in seconds since 1970, and the seconds of its parts."""

    at: float
    read: float
    published: float


def reloaded(balancer: Balancer) -> list[Reloaded]:
    """Return every reload that the log tells of."""
    lines = re.findall(
        r"^(\S+) INFO configuration was reloaded .* read=(\d+)ms published=(\d+)ms$", balancer.log_text(), re.MULTILINE
    )
    return [Reloaded(datetime.fromisoformat(at).timestamp(), int(r) / 1e3, int(p) / 1e3) for at, r, p in lines]


# The ways to change a file


def in_place(balancer: Balancer, text: str) -> None:
    balancer.file.write_text(text)


def by_rename(balancer: Balancer, text: str) -> None:
    fresh = balancer.file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(balancer.file)


def by_data_symlink(balancer: Balancer, text: str) -> None:
    """As Kubernetes swaps a config map: the file leads through `..data`, which names the folder of a version."""
    folder = balancer.folder / f"..version-{time.monotonic_ns()}"
    folder.mkdir()
    (folder / "balancer.yaml").write_text(text)
    fresh = balancer.folder / "..data_tmp"
    fresh.symlink_to(folder.name)
    fresh.replace(balancer.folder / "..data")
    if not balancer.file.is_symlink():
        balancer.file.unlink()
        balancer.file.symlink_to("..data/balancer.yaml")


def by_sighup(balancer: Balancer, text: str) -> None:
    in_place(balancer, text)
    balancer.kill(balancer.pid, signal.SIGHUP)


def by_command(balancer: Balancer, text: str) -> None:
    in_place(balancer, text)
    argv = [sys.executable, "-m", "balancer", "reload"]
    env = os.environ | {"BALANCER_ADMIN": "http://{}:{}".format(*balancer.admin)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == ("nonsense" in text), done


WAYS: list[tuple[str, int, Callable[[Balancer, str], None]]] = [
    ("renamed over the old one", 400, by_rename),
    ("written in place", 401, in_place),
    ("written in place, SIGHUP", 402, by_sighup),
    ("written in place, balancer reload", 403, by_command),
    ("swapped by a symlink of its folder", 404, by_data_symlink),
]


@pytest.mark.parametrize(("number", "change"), [row[1:] for row in WAYS], ids=[row[0] for row in WAYS])
def test_a_changed_file_is_taken_over_and_a_broken_one_is_not(
    balancer: Balancer, targets: dict[str, Cheap], number: int, change: Callable[[Balancer, str], None]
) -> None:
    loop = load(balancer, 30.0, rate=100)
    version = balancer.status()["config"]["version"]
    for turn in (1, 2):  # many a watcher is deaf after the first
        change(balancer, balancer.render(weighed(targets, number + 10 * turn)))
        wait_for(lambda turn=turn: weight(balancer) == 100 + number + 10 * turn, 5, "it is applied")  # type: ignore[misc]
    # Who asks twice (a signal, and the watcher that sees the change, too) gets one version.
    assert balancer.status()["config"]["version"] == version + 2
    change(balancer, balancer.render(weighed(targets, number + 50)) + BROKEN)
    wait_for(lambda: balancer.metrics().sum("config_last_reload_success") == 0, 5, "it is refused")
    assert balancer.status()["config"]["version"] == version + 2
    assert weight(balancer) == 100 + number + 20
    balancer.reload(weighed(targets, number))
    report = loop.stop()
    assert report.failed == 0, report


# What a change leaves alone, and what it ends


def test_pooled_connections_outlive_a_reload_of_another_group() -> None:
    at_once = threading.Barrier(8)

    def together(seen: Seen) -> bytes:
        at_once.wait(10)
        return respond(200, seen.mark.encode())

    def config(policy: str) -> dict[str, Any]:
        rules = [configs.forward("other", paths=["/other"]), configs.forward("kept")]
        kept = configs.group("kept", recorder.address, timeouts={"upstream_idle": "60s"})
        other = configs.group("other", elsewhere.address, policy=policy)
        return {"listeners": [configs.listener("web", rules)], "target_groups": [kept, other]}

    with (
        Recorder(answer=together) as recorder,
        Recorder() as elsewhere,
        Balancer(config("round_robin"), workers=2) as balancer,
    ):
        clients = [RawClient(balancer.address()) for _ in range(8)]
        for policy in ("round_robin", "least_conn", "round_robin"):
            balancer.reload(config(policy))
            assert balancer.group("other")["policy"] == policy
            for client in clients:
                client.send(request())
            assert [client.recv_response().status for client in clients] == [200] * 8
            assert recorder.accepted == 8
        for client in clients:
            client.close()


def test_another_weight_or_zone_holds_from_the_next_request_on(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    def shares(weight: int, zone: str) -> Counter[bytes]:
        config = config_of([*targets.values()])
        config["target_groups"][0]["targets"][0] |= {"weight": weight, "zone": zone}
        balancer.reload(config)
        with RawClient(balancer.address()) as client:
            return Counter(client.ask(request()).body for _ in range(60))

    assert shares(2, "zone-a") == {b"a1": 30, b"b1": 15, b"c1": 15}
    assert shares(1, "zone-a") == {b"a1": 20, b"b1": 20, b"c1": 20}
    assert shares(4, "zone-d") == {b"a1": 40, b"b1": 10, b"c1": 10}
    assert {one["name"]: one["share"] for one in balancer.group("up")["zones"]}["zone-d"] == 66.7


def test_a_request_on_a_target_that_is_taken_out_finishes(balancer: Balancer, targets: dict[str, Cheap]) -> None:
    balancer.reload(config_of([*targets.values()]))
    for name in targets:
        balancer.wait_for_state("up", name, "healthy")
    clients = [RawClient(balancer.address()) for _ in range(6)]
    for client in clients:
        client.send(request("GET", "/slow?ms=1500"))
    wait_for(lambda: sum(one.counts()["active"] for one in targets.values()) == 6, 5, "all are under way")
    inside = targets["c1"].counts()
    assert inside["active"] > 0
    balancer.reload(config_of([targets["a1"], targets["b1"]]))
    assert balancer.target("up", "c1")["state"] == "draining"
    report = load(balancer, 0.5).finish()
    assert report.failed == 0, report
    answers = [client.recv_response() for client in clients]
    assert [one.status for one in answers] == [200] * 6
    assert sum(one.body == b"c1" for one in answers) == inside["active"]
    assert targets["c1"].counts()["total"] == inside["total"], "nothing new went there"
    wait_for(lambda: len(balancer.group("up")["targets"]) == 2, 5, "c1 is gone")
    for client in clients:
        client.close()


def test_connections_of_a_removed_listener_end_after_their_response(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    ours = [*targets.values()]
    more = config_of(ours)
    more["listeners"].append(configs.listener("second", [configs.forward("up")]))
    balancer.reload(more)
    address = balancer.address("second")
    idle, busy = [RawClient(address) for _ in range(4)], [RawClient(address) for _ in range(4)]
    for client in idle:
        assert client.ask(request()).status == 200
    for client in busy:
        client.send(request("GET", "/slow?ms=1000"))
    wait_for(lambda: sum(one.counts()["active"] for one in ours) == 4, 5, "all are under way")
    loop = load(balancer, 10.0)
    balancer.reload(config_of(ours))
    for client in idle:
        assert client.expect_closed() == "fin"
    with pytest.raises(ConnectionRefusedError):
        RawClient(address)
    for client in busy:
        answer = client.recv_response()
        assert (answer.status, answer.closes) == (200, True)
        assert client.expect_closed() == "fin"
    report = loop.stop()
    assert report.failed == 0, report
    for client in idle + busy:
        client.close()


def test_a_listener_that_cannot_be_bound_refuses_the_whole_change(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    balancer.reload(weighed(targets, 600))
    loop = load(balancer, 10.0)
    with socket.create_server(("127.0.0.1", quiet_port())) as taken:
        more = weighed(targets, 601)
        address = "{}:{}".format(*taken.getsockname())
        more["listeners"].append(configs.listener("second", [configs.forward("up")], address=address))
        (fault,) = balancer.reload(more, applied=False)["last_reload"]["faults"]
    assert "address already in use" in fault["message"]
    assert weight(balancer) == 700
    assert [one["name"] for one in balancer.status()["listeners"]] == ["web"]
    balancer.reload(more)  # now it is free
    assert weight(balancer) == 701
    with RawClient(balancer.address("second")) as client:
        assert client.ask(request()).status == 200
    balancer.reload(weighed(targets, 602))
    report = loop.stop()
    assert report.failed == 0, report
