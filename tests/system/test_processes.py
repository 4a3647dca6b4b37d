"""The process tree: who dies is replaced, what was accepted is served, and nothing is left behind.

A real supervisor with real entry points; data path and control are the stubs beside this file.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kernel import descriptor_count, is_running
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
Event = dict[str, Any]


class Tree:
    """A running supervisor with its children, and what its control has heard."""

    def __init__(self, folder: Path, wishes: Event, environment: dict[str, str]) -> None:
        self.folder = folder
        self.config = folder / "wishes.json"
        self.write(wishes)
        self.errors = folder / "stderr"
        with self.errors.open("w") as errors:
            command = [sys.executable, "-m", "tests.system.stubs.tree", str(self.config)]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=errors, env=os.environ | environment)

    def write(self, wishes: Event) -> None:
        self.config.write_text(json.dumps({"listeners": {"web": "127.0.0.1:0"}, "workers": 2} | wishes))

    def heard(self, kind: str, **fields: object) -> list[Event]:
        """Return what control was told, of one kind and with these fields."""
        path = self.folder / "heard.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines]
        return [event for event in events if event["is"] == kind and event.items() >= fields.items()]

    def await_heard(self, kind: str, count: int = 1, **fields: object) -> list[Event]:
        return wait_for(
            lambda: found if len(found := self.heard(kind, **fields)) >= count else None, 10, f"{count} {kind} {fields}"
        )

    @property
    def control(self) -> int:
        return int(self.heard("start")[-1]["control"])

    @property
    def workers(self) -> dict[int, int]:
        """Return pid by place."""
        alive: dict[int, int] = {}
        for event in self.heard("worker"):
            if event["event"] == "started":
                alive[event["place"]] = event["pid"]
            else:
                alive.pop(event["place"], None)
        return alive

    @property
    def port(self) -> int:
        return int(self.await_heard("listening")[-1]["listeners"]["web"].rpartition(":")[2])

    def serving(self) -> Tree:
        """Wait until both workers accept."""
        self.await_heard("ready", 2)
        return self

    def pids(self) -> list[int]:
        return [self.process.pid, *children(self.process.pid)]

    def said(self) -> str:
        return self.errors.read_text()

    def stop(self, code: int = 0, within: float = 10.0) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(within) == code, self.said()

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


Start = Callable[..., Tree]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    trees: list[Tree] = []

    def one(wishes: Event | None = None, **environment: str) -> Tree:
        folder = tmp_path / str(len(trees))
        folder.mkdir()
        trees.append(Tree(folder, wishes or {}, environment))
        return trees[-1]

    yield one
    for tree in trees:
        tree.end()


def connect(port: int, line: str = "hello") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"{line}\n".encode())
    return connection


def answer(connection: socket.socket) -> tuple[int, int]:
    """Return (pid, revision) of the worker that answered; ConnectionError if none did."""
    with connection:
        told = b""
        while data := connection.recv(100):
            told += data
    if not told:
        raise ConnectionError("closed without an answer")
    pid, revision = told.split()
    return int(pid), int(revision)


def ask(port: int, line: str = "hello") -> tuple[int, int]:
    return answer(connect(port, line))


def test_every_place_gets_connections(start: Start) -> None:
    tree = start().serving()
    answers = [ask(tree.port) for _ in range(60)]
    assert {pid for pid, _ in answers} == set(tree.workers.values())
    assert {revision for _, revision in answers} == {1}
    tree.stop()


def test_a_killed_worker_is_replaced_within_a_second_and_its_queue_is_served(start: Start) -> None:
    tree = start().serving()
    victim, other = tree.workers[0], tree.workers[1]
    os.kill(victim, signal.SIGSTOP)  # so that connections wait in its queue
    waiting = [connect(tree.port) for _ in range(40)]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    started = wait_for(lambda: tree.heard("worker", event="started", place=0)[1:], 5, "a successor")
    ready = wait_for(lambda: tree.heard("ready", pid=started[0]["pid"]), 5, "a successor that accepts")
    assert ready[0]["at"] - killed < 1.0
    assert {pid for pid, _ in map(answer, waiting)} == {other, started[0]["pid"]}
    assert tree.heard("worker", event="lost", pid=victim)[0]["detail"] == "killed by SIGKILL"
    assert "WARNING worker was lost place=0" in tree.said()
    tree.stop()


def test_a_stopped_worker_is_replaced_and_its_queue_is_served(start: Start) -> None:
    tree = start().serving()
    victim = tree.workers[1]
    os.kill(victim, signal.SIGSTOP)
    stopped = time.monotonic()
    waiting = [connect(tree.port) for _ in range(40)]
    lost = tree.await_heard("worker", event="lost", pid=victim)[0]
    assert lost["detail"] == "silent for 4 s, killed by SIGKILL"
    assert 3.0 < lost["at"] - stopped < 6.0
    answers = {pid for pid, _ in map(answer, waiting)}
    assert victim not in answers
    assert answers == set(tree.workers.values())
    tree.stop()


def test_traffic_goes_on_without_control_which_finds_everything_again(start: Start) -> None:
    tree = start().serving()
    workers, port = tree.workers, tree.port
    os.kill(tree.control, signal.SIGKILL)
    assert ask(port)[0] in workers.values()
    found = tree.await_heard("start", 2)[1]
    assert found["snapshot"] == 1
    assert found["listeners"] == {"web": f"127.0.0.1:{port}"}
    assert {one["place"]: one["pid"] for one in found["places"]} == workers
    assert {one["revision"] for one in found["places"]} == {1}
    assert found["stopping"] is False
    assert ask(port)[0] in workers.values()
    tree.process.send_signal(signal.SIGHUP)
    tree.await_heard("swapped", 2, revision=2)
    assert ask(port)[1] == 2
    tree.stop()


def test_a_worker_starts_on_the_last_snapshot_while_control_is_away(start: Start) -> None:
    tree = start().serving()
    port, victim = tree.port, tree.workers[0]
    os.kill(tree.control, signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    pids = wait_for(
        lambda: found if len(found := {ask(port)[0] for _ in range(40)} - {victim}) == 2 else None, 5, "two workers"
    )
    assert victim not in pids
    tree.stop()


def test_a_control_that_hangs_is_replaced(start: Start) -> None:
    tree = start().serving()
    hung = tree.control
    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: tree.control != hung, 10, "another control")
    assert "control was lost" in tree.said()
    tree.stop()


def test_nobody_survives_the_supervisor(start: Start) -> None:
    tree = start().serving()
    port, pids = tree.port, tree.pids()
    assert len(pids) == 4
    tree.process.kill()
    tree.process.wait()
    wait_for(lambda: not any(map(is_running, pids)), 1.0, "the end of all")
    with pytest.raises(ConnectionRefusedError):
        ask(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_runs_and_ends_control_last(start: Start, number: signal.Signals) -> None:
    tree = start().serving()
    port, pids = tree.port, tree.pids()
    running = [connect(port, "wait 0.5") for _ in range(8)]
    os.kill(tree.process.pid, number)
    tree.await_heard("stop", timeout=2.0)
    assert all(answer(connection) for connection in running)
    assert tree.process.wait(10) == 0
    assert not any(map(is_running, pids))
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    ends = [event["at"] for event in tree.heard("worker", event="lost")]
    assert len(ends) == 2
    assert max(ends) <= tree.heard("stop", end=True)[0]["at"]
    assert "lost" not in tree.said()


def test_what_waits_in_a_queue_when_the_stop_comes_is_served(start: Start) -> None:
    tree = start().serving()
    stopped = list(tree.workers.values())
    for worker in stopped:
        os.kill(worker, signal.SIGSTOP)
    waiting = [connect(tree.port) for _ in range(20)]
    tree.process.send_signal(signal.SIGTERM)
    tree.await_heard("stop")
    for worker in stopped:
        os.kill(worker, signal.SIGCONT)
    assert len([answer(connection) for connection in waiting]) == 20
    assert tree.process.wait(10) == 0


def test_a_worker_that_does_not_end_is_killed_after_the_stop_timeout(start: Start) -> None:
    tree = start({"stop_timeout": 0.3}, STUB_WORKER="stay").serving()
    begun = time.monotonic()
    tree.stop()
    assert 1.3 <= time.monotonic() - begun < 5.0


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    tree = start({"stop_timeout": 60}, STUB_WORKER="stay").serving()
    pids = tree.pids()
    tree.process.send_signal(signal.SIGTERM)
    tree.await_heard("stop")
    tree.stop(within=2.0)
    assert not any(map(is_running, pids))


def test_control_killed_during_the_drain_comes_back_and_knows(start: Start) -> None:
    tree = start().serving()
    running = connect(tree.port, "wait 1.5")
    control = tree.control
    tree.process.send_signal(signal.SIGTERM)
    tree.await_heard("stop")
    os.kill(control, signal.SIGKILL)
    assert tree.await_heard("start", 2)[1]["stopping"] is True
    assert answer(running)
    assert tree.process.wait(10) == 0


def test_it_can_be_stopped_before_anything_was_committed(start: Start) -> None:
    tree = start({"do": "offer only"})
    tree.await_heard("listening")
    tree.stop()


def test_workers_that_die_at_once_are_started_ever_more_slowly(start: Start) -> None:
    tree = start({"workers": 1}, STUB_WORKER="crash")
    started = tree.await_heard("worker", 6, event="started")
    gaps = [later["at"] - earlier["at"] for earlier, later in itertools.pairwise(started[1:])]
    for gap, least in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=False):
        assert gap >= least
    assert "restart_in=0.8s" in tree.said()
    assert len(children(tree.process.pid)) <= 2
    tree.stop()


EXITS = [
    ("the input is at fault", "exit 1", 1),
    ("wrong usage of control is our fault", "exit 2", 70),
    ("a bug in control is our fault", "exit 70", 70),
    ("control says so", "fail 1", 1),
]


@pytest.mark.parametrize(("do", "code"), [row[1:] for row in EXITS], ids=[row[0] for row in EXITS])
def test_a_first_configuration_that_does_not_work_ends_the_program(start: Start, do: str, code: int) -> None:
    tree = start({"do": do})
    assert tree.process.wait(10) == code
    assert len(tree.heard("start")) == 1
    assert "lost" not in tree.said()


def test_a_control_killed_before_the_first_commit_is_started_again(start: Start) -> None:
    tree = start({"do": "offer only"})
    tree.await_heard("listening")
    tree.write({})
    os.kill(tree.control, signal.SIGKILL)
    tree.serving()
    tree.stop()


def test_control_ending_later_never_ends_the_program(start: Start) -> None:
    tree = start().serving()
    tree.write({"do": "exit 1"})
    os.kill(tree.control, signal.SIGKILL)
    tree.await_heard("start", 3)
    assert ask(tree.port)
    tree.write({})
    tree.stop()


def test_two_on_one_port_are_told(start: Start) -> None:
    first = start().serving()
    second = start({"listeners": {"web": f"127.0.0.1:{first.port}"}})
    assert second.process.wait(10) == 1
    assert f"web: 127.0.0.1:{first.port}: address already in use" in second.said()
    assert ask(first.port)
    first.stop()


def test_a_tree_that_was_asleep_loses_nobody(start: Start) -> None:
    tree = start().serving()
    before = tree.pids()
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)  # longer than any silence that is borne
    for pid in before:
        os.kill(pid, signal.SIGCONT)
    awake = time.monotonic()
    wait_for(lambda: time.monotonic() - awake > 1.5, 5, "three ticks")
    assert tree.pids() == before
    assert ask(tree.port)
    assert "lost" not in tree.said()
    tree.stop()


def test_signals_for_the_supervisor_do_not_touch_children(start: Start) -> None:
    tree = start().serving()
    before = tree.pids()
    for child in before[1:]:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child, number)
    assert {ask(tree.port)[0] for _ in range(40)} == set(tree.workers.values())
    assert tree.pids() == before
    tree.stop()


def test_a_stack_can_be_asked_for(start: Start) -> None:
    tree = start().serving()
    os.kill(tree.workers[0], signal.SIGUSR1)
    wait_for(lambda: "most recent call first" in tree.said(), 5, "a traceback")
    assert ask(tree.port)
    tree.stop()


def test_a_reload_opens_and_closes_listeners_and_keeps_the_rest(start: Start) -> None:
    tree = start({"listeners": {"web": "127.0.0.1:0", "old": "127.0.0.1:0"}}).serving()
    workers, port = tree.workers, tree.port
    old = int(tree.heard("listening")[0]["listeners"]["old"].rpartition(":")[2])
    assert ask(old)
    tree.write({"listeners": {"web": "127.0.0.1:0", "new": "127.0.0.1:0"}})
    tree.process.send_signal(signal.SIGHUP)
    tree.await_heard("swapped", 2, revision=2)
    listening = tree.heard("listening")[1]["listeners"]
    assert int(listening["web"].rpartition(":")[2]) == port
    assert ask(int(listening["new"].rpartition(":")[2]))[1] == 2
    assert ask(port)[1] == 2
    with pytest.raises(ConnectionRefusedError):
        ask(old)
    assert tree.workers == workers
    tree.stop()


def test_what_one_worker_refuses_changes_nothing(start: Start) -> None:
    tree = start().serving()
    tree.write({"listeners": {"web": "127.0.0.1:0", "refuse": "127.0.0.1:0"}, "do": "withdraw"})
    tree.process.send_signal(signal.SIGHUP)
    refused = tree.await_heard("refused", 2, revision=2)
    assert {event["error"] for event in refused} == {"told to refuse"}
    assert {(event["place"], event["pid"]) for event in refused} == set(tree.workers.items())
    port = int(tree.heard("listening")[1]["listeners"]["refuse"].rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    assert ask(tree.port)[1] == 1
    tree.stop()


def test_an_offer_dies_with_the_control_that_made_it(start: Start) -> None:
    tree = start().serving()
    tree.write({"listeners": {"web": "127.0.0.1:0", "new": "127.0.0.1:0"}, "do": "offer only"})
    tree.process.send_signal(signal.SIGHUP)
    tree.await_heard("built", 2, revision=2)
    port = int(tree.heard("listening")[1]["listeners"]["new"].rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port)).close()
    tree.write({})
    os.kill(tree.control, signal.SIGKILL)
    found = tree.await_heard("start", 2)[1]
    assert list(found["listeners"]) == ["web"]
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    tree.stop()


def test_a_worker_born_between_offer_and_commit_takes_part(start: Start) -> None:
    tree = start().serving()
    tree.write({"do": "offer only"})
    tree.process.send_signal(signal.SIGHUP)
    tree.await_heard("built", 2, revision=2)
    os.kill(tree.workers[0], signal.SIGKILL)
    tree.await_heard("ready", 3, revision=1)
    tree.write({"do": "commit"})
    tree.process.send_signal(signal.SIGHUP)
    tree.await_heard("swapped", 2, revision=2)
    assert {ask(tree.port) for _ in range(40)} == {(pid, 2) for pid in tree.workers.values()}
    tree.stop()


def test_a_worker_that_missed_the_offer_starts_anew_on_what_is_committed(start: Start) -> None:
    tree = start().serving()
    before = set(tree.workers.values())
    tree.write({"listeners": {"web": "127.0.0.1:0", "refuse": "127.0.0.1:0"}})
    tree.process.send_signal(signal.SIGHUP)  # committed although both refused: they cannot go on
    tree.await_heard("worker", 2, event="lost", detail="exit code 70")
    tree.write({})
    tree.process.send_signal(signal.SIGHUP)
    tree.await_heard("ready", 2, revision=3)
    assert not before & set(tree.workers.values())
    assert {ask(tree.port)[1] for _ in range(40)} == {3}
    tree.stop()


def test_descriptors_of_the_supervisor_end_where_they_began(start: Start) -> None:
    tree = start().serving()
    before = descriptor_count(tree.process.pid)
    in_worker = descriptor_count(tree.workers[1])
    for revision in range(2, 12):
        names = {"web": "127.0.0.1:0"} | ({"more": "127.0.0.1:0"} if revision % 2 else {})
        tree.write({"listeners": names})
        tree.process.send_signal(signal.SIGHUP)
        tree.await_heard("swapped", 2, revision=revision)
    tree.write({})
    tree.process.send_signal(signal.SIGHUP)
    tree.await_heard("swapped", 2, revision=12)
    os.kill(tree.workers[0], signal.SIGKILL)
    tree.await_heard("ready", 3)
    wait_for(lambda: descriptor_count(tree.process.pid) == before, 2, "as many descriptors as before")
    wait_for(lambda: descriptor_count(tree.workers[1]) == in_worker, 2, "as many descriptors in a worker")
    tree.stop()


def test_the_descriptor_limit_is_raised_for_all(start: Start) -> None:
    tree = start().serving()
    for pid in tree.pids():
        line = next(one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if one.startswith("Max open"))
        soft, hard = line.split()[3:5]
        assert soft == hard
    tree.stop()


def test_a_supervisor_carries_little() -> None:
    code = "import sys, balancer.process.supervisor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not set(loaded.split()) & {"asyncio", "uvloop", "yaml", "aiohttp", "pydantic", "click", "logging"}
