"""The demo: everything on loopback by one command, targets to stop and kill, and nothing left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balancer.demo.places import Unusable, pick_port
from balancer.demo.sight import Counts, Watcher
from tests.support.faults import free_port
from tests.support.kernel import is_running
from tests.support.process import ROOT, Proc
from tests.support.raw import RawClient, ask, request
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(180)  # each test starts a dozen processes

EXPECTED = {("a1", "zone-a"), ("a2", "zone-a"), ("b1", "zone-b"), ("b2", "zone-b"), ("c1", "zone-c"), ("c2", "zone-c")}
START_BOUND = 40.0  # seven interpreters on a machine that may be busy
COMMAND = [sys.executable, "-m", "balancer", "demo", "--port", "0", "--admin-port", "0"]


def descendants(pid: int) -> set[int]:
    """Return the processes that `pid` has started, and those that they have."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    while True:
        more = {child for child, parent in parents.items() if parent in found | {pid}} - found
        if not more:
            return found
        found |= more


class Demo(Proc):
    """`balancer demo` without a terminal, as its printed lines describe it."""

    def __init__(self, *options: str) -> None:
        super().__init__([*COMMAND, *options])
        wait_for(self._began, START_BOUND, lambda: f"the demo runs\n{self.text()}")
        self.listener = self._url("listener")
        self.admin = self._url("admin")
        self.targets = {
            name: int(pid) for name, pid in re.findall(r"\b([abc][12]) 127\.0\.0\.1:\d+ pid (\d+)", self.text())
        }
        self.family = descendants(self.pid)

    def __enter__(self) -> Demo:
        return self

    def close(self) -> None:
        super().close()
        for pid in filter(is_running, self.family):
            os.kill(pid, signal.SIGKILL)

    def _began(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the demo ended with {self.process.returncode}\n{self.text()}")
        return "everything runs" in self.text()

    def text(self) -> str:
        """Return what it has printed."""
        return self.out.read_text() + self.err.read_text()

    def _url(self, word: str) -> tuple[str, int]:
        found = re.search(rf"^{word} +http://(.+):(\d+)$", self.text(), re.MULTILINE)
        assert found, self.text()
        return found[1], int(found[2])

    def status(self) -> dict[str, Any]:
        """Return the demo's target group as the admin server describes it."""
        found: dict[str, Any] = ask(self.admin, request(target="/api/v1/status", host="127.0.0.1")).json()
        return found["target_groups"][0]  # type: ignore[no-any-return]

    @property
    def logs(self) -> Path:
        """The folder that it keeps its logs in."""
        found = re.search(r"^log +(.+)$", self.text(), re.MULTILINE)
        assert found, self.text()
        return Path(found[1]).parent

    def state(self, target: str) -> str:
        """Return the state of a target."""
        return next(str(one["state"]) for one in self.status()["targets"] if one["name"] == target)

    def assert_nothing_left(self) -> None:
        """Assert that every process it had is gone, and its ports with them."""
        wait_for(lambda: not [pid for pid in self.family if is_running(pid)], 15, "all its processes have ended")
        for address in (self.listener, self.admin):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, 2)


@pytest.fixture
def demo() -> Iterator[Demo]:
    with Demo("--no-traffic") as running:
        yield running


def test_six_targets_in_three_zones_serve_and_the_loss_of_one_fails_no_request(demo: Demo) -> None:
    with RawClient(demo.listener) as client:
        answers = [client.ask(request()) for _ in range(60)]
        assert {answer.status for answer in answers} == {200}
        assert {(answer.get("X-Backend"), answer.get("X-Zone")) for answer in answers} == EXPECTED

        os.kill(demo.targets["a1"], signal.SIGKILL)
        statuses: list[int] = []

        def lost() -> bool:
            statuses.extend(client.ask(request()).status for _ in range(20))
            return demo.state("a1") in ("ejected", "unhealthy")

        wait_for(lost, 10, "a1 is out")
        after = [client.ask(request()) for _ in range(60)]
    assert {*statuses, *(answer.status for answer in after)} == {200}
    assert {(answer.get("X-Backend"), answer.get("X-Zone")) for answer in after} == EXPECTED - {("a1", "zone-a")}
    wait_for(lambda: "a1: the process has ended" in demo.text(), 5, "the demo says so")

    assert demo.logs.is_dir()
    assert demo.terminate(20) == 0, demo.text()
    demo.assert_nothing_left()
    assert not demo.logs.exists()


def test_its_own_traffic_is_counted_and_fails_nowhere_when_a_zone_is_killed() -> None:
    with Demo() as demo:
        os.kill(demo.targets["b1"], signal.SIGKILL)
        os.kill(demo.targets["b2"], signal.SIGKILL)
        wait_for(lambda: "zone-b is lost" in demo.text(), 10, lambda: f"the loss is told\n{demo.text()}")
        os.kill(demo.targets["c1"], signal.SIGSTOP)
        wait_for(lambda: "c1 became unhealthy (timeout" in demo.text(), 15, lambda: f"so is this\n{demo.text()}")
        failed, sent = re.findall(r"(\d+) of (\d+) failed\]", demo.text())[-1]
        assert int(sent) > 20 and int(failed) == 0, demo.text()

        demo.kill(signal.SIGINT)
        assert demo.process.wait(20) == 0, demo.text()
        demo.assert_nothing_left()


def test_a_demo_that_is_killed_takes_everything_with_it(demo: Demo) -> None:
    demo.kill()
    demo.assert_nothing_left()
    shutil.rmtree(demo.logs)  # the one thing that a killed process cannot do


def test_a_port_that_is_taken_is_named_with_the_option_that_changes_it() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with Proc([*COMMAND, "--port", str(port)]) as process:
            assert process.process.wait(20) == 1
            said = process.err.read_text()
        assert f"127.0.0.1:{port}: address already in use (choose another --port" in said and "Traceback" not in said

        assert pick_port(0, 8080, "--port")[1] == ""
        chosen, remark = pick_port(None, port, "--port")
        assert chosen != port and str(port) in remark and "--port" in remark
        with pytest.raises(Unusable):
            pick_port(port, 8080, "--port")
    free = free_port()
    assert pick_port(None, free, "--port") == (free, "")


def test_on_a_terminal_keys_stop_and_start_targets_and_q_ends_it() -> None:
    screen = Terminal([*COMMAND, "--no-traffic"])
    try:
        screen.wait_for("What happened", START_BOUND)
        screen.type("1")
        screen.wait_for("a1: the process has ended", 10)
        screen.wait_for("a1 became (ejected|unhealthy)", 10)
        screen.type("1")
        screen.wait_for("a1: the process runs", 20)
        screen.wait_for("a1 became healthy", 10)
        screen.type("c")
        screen.type("f")
        screen.wait_for("c2: the process is frozen", 10)
        family = descendants(screen.pid)
        screen.type("q")
        assert screen.exit_code(20) == 0
        assert not [pid for pid in family if is_running(pid)]
        assert "\x1b[?1049l" in screen.text, "the terminal is given back"
    finally:
        screen.close()


def test_it_ends_with_its_terminal_although_another_leads_the_session() -> None:
    screen = Terminal(["/bin/sh", "-c", f"trap '' HUP; {shlex.join([*COMMAND, '--no-traffic'])}; exit 0"])
    screen.wait_for("What happened", START_BOUND)
    family = [screen.pid, *descendants(screen.pid)]
    screen.hang_up()
    wait_for(lambda: os.waitpid(screen.pid, os.WNOHANG)[0] == screen.pid, 20, "the leader has ended")
    wait_for(lambda: not [pid for pid in family if is_running(pid)], 20, "all have ended")


class Terminal:
    """A program on a terminal of 100 columns and 40 lines."""

    def __init__(self, argv: list[str]) -> None:
        self.text = ""
        self.code: int | None = None
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.environ["TERM"] = "xterm-256color"
            os.execv(argv[0], argv)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode())

    def wait_for(self, pattern: str, bound: float) -> None:
        """Wait until a pattern has been on the screen."""
        end = time.monotonic() + bound
        while not re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)):
            assert time.monotonic() < end, f"no {pattern!r} within {bound} s:\n{self.text[-4000:]}"
            assert self._read(0.2), f"it ended before {pattern!r}:\n{self.text[-4000:]}"

    def exit_code(self, bound: float) -> int:
        """Wait until it ends, reading what it prints."""
        end = time.monotonic() + bound
        while self.code is None:
            assert time.monotonic() < end, f"still running after {bound} s"
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def _read(self, seconds: float) -> bool:
        if select.select([self._descriptor], [], [], seconds)[0]:
            try:
                self.text += os.read(self._descriptor, 1 << 16).decode(errors="replace")
            except OSError:  # EIO: nobody has the other side any more
                return False
        return True

    def hang_up(self) -> None:
        """Take the terminal away, as closing its window does."""
        os.close(self._descriptor)

    def close(self) -> None:
        """End it, whatever it does; the kernel ends its children."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._descriptor)


def status(state: str = "healthy", healthy: int = 1, version: int = 1, success: bool = True, pid: int = 7) -> Any:
    fault = {"file": "demo.yaml", "line": 3, "column": 5, "path": "listeners[0].adress", "message": "unknown key"}
    target = {"name": "a1", "zone": "zone-a", "state": state, "reason": "refused", "detail": "nobody there"}
    return {
        "config": {
            "version": version,
            "last_reload": {"success": success, "at": f"{version}{success}", "faults": [] if success else [fault]},
        },
        "control": {"pid": pid},
        "workers": [{"place": 0, "pid": 8, "restarts": pid - 7}],
        "target_groups": [
            {
                "name": "demo",
                "policy": "round_robin",
                "panic": healthy == 0,
                "zones": [{"name": "zone-a", "healthy": healthy, "total": 1, "share": 100.0}],
                "targets": [{**target, "active_requests": 0}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (status(), []),
        (
            status("unhealthy", 0),
            [
                "a1 became unhealthy (refused: nobody there)",
                "zone-a is lost: its requests go elsewhere",
                "panic: unhealthy targets get requests too",
            ],
        ),
        (status(version=2), ["configuration 2 is in force"]),
        (
            status(success=False),
            ["the edited configuration is refused, nothing changes: line 3: listeners[0].adress: unknown key"],
        ),
        (status(pid=8), ["worker 0 was replaced (now pid 8)", "control was replaced (now pid 8)"]),
    ],
    ids=["nothing", "a zone is lost", "a reload", "a refused reload", "processes are replaced"],
)
def test_what_changes_between_two_looks_is_told(after: Any, told: list[str]) -> None:
    watcher = Watcher()
    assert watcher.look(status(), Counts({}, 0), 0.0)[1] == []
    assert watcher.look(after, Counts({}, 0), 1.0)[1] == told


def test_rates_and_shares_are_those_of_the_last_seconds() -> None:
    watcher = Watcher()
    for second in range(10):
        sight, _ = watcher.look(status(), Counts({"a1": 20.0 * second}, 0), float(second))
    assert sight.targets[0].per_second == sight.per_second == 20.0
    assert sight.targets[0].share == 100.0
    for second in range(10, 20):
        sight, _ = watcher.look(status(), Counts({"a1": 180.0}, 0), float(second))
    assert sight.per_second == 0.0


def test_an_access_log_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    with Proc([*COMMAND, "--access-log", str(tmp_path / "none" / "x")]) as process:
        assert process.process.wait(20) == 1
        said = process.err.read_text()
    assert "cannot be written: no such file or directory (name a file in a folder that is there)" in said
    assert "our fault" not in said
