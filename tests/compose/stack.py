"""Stack: one `docker compose up` of the repository's own compose file, under a project name and ports of its own."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.metrics import Metrics
from tests.support.openloop import OpenLoop, Report
from tests.support.process import ROOT

ZONES = ("zone-a", "zone-b", "zone-c")
PER_ZONE = 2
# A config/ that Docker mounts has to be readable by the container's user.
_READABLE = 0o755
# Seconds between two looks: each is a request to a control process that shares the machine with the load.
_EVERY = 0.1


def eventually(condition: Callable[[], object], deadline: float, what: str) -> None:
    """Wait until `condition` is truthy; raises AssertionError that names `what` when `deadline` seconds are over."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline} s"
        time.sleep(_EVERY)


def docker_lacks() -> str:
    """Return what these tests lack of Docker, or an empty string where an engine with Compose v2 answers."""
    if shutil.which("docker") is None:
        return "no docker command is installed"
    for argv, lack in ((["info"], "no Docker engine answers"), (["compose", "version"], "Docker has no Compose v2")):
        try:
            if subprocess.run(["docker", *argv], capture_output=True, timeout=20).returncode:
                return lack
        except subprocess.TimeoutExpired:
            return f"{lack} (docker {argv[0]} took longer than 20 s)"
    return ""


def environment() -> dict[str, str]:
    """Return the environment without what would change the compose file's defaults."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE_", "BALANCER_"))}


def docker(*argv: str, timeout: float = 60.0) -> str:
    """Run a docker command and return what it printed; raises AssertionError with its errors when it fails."""
    command = ["docker", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment())
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout


class Stack:
    """The running project. `config` is a copy of config/ that a test may edit; `restore` undoes that."""

    def __init__(self) -> None:
        self.project = f"balancer-test-{uuid.uuid4().hex[:8]}"
        self._folder = tempfile.TemporaryDirectory(prefix="compose-config-")
        Path(self._folder.name).chmod(_READABLE)
        self.config = Path(self._folder.name, "config")
        shutil.copytree(ROOT / "config", self.config)
        self.original = (self.config / "balancer.yaml").read_text()
        self._ports: dict[int, int] = {}
        # Port 0: the engine chooses, so that nothing can be in the way.
        self._env = {
            "COMPILED": "0",  # a minute of the compiler less; COMPILED=1 in the environment tests the compiled image
            **environment(),
            "BALANCER_PORT": "0",
            "BALANCER_ADMIN_PORT": "0",
            "BALANCER_CONFIG": str(self.config),
        }

    # Docker

    def compose(self, *argv: str, timeout: float = 120.0, check: bool = True) -> str:
        """Run a compose command on the project and return its stdout."""
        command = ["docker", "compose", "-p", self.project, *argv]
        if argv[0] in {"up", "start", "restart", "stop"}:
            self._ports.clear()
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=self._env)
        shown = " ".join(argv)
        assert not check or done.returncode == 0, f"compose {shown}: exit {done.returncode}\n{done.stderr[-3000:]}"
        return done.stdout

    def up(self) -> None:
        """Build and start everything, and wait for `/readyz`."""
        self.compose("up", "-d", "--build", "--quiet-pull", timeout=420)
        self.wait_ready()
        self.wait_whole()

    def down(self) -> None:
        """Remove containers, networks and images of the project."""
        self.compose("down", "-v", "-t", "2", "--rmi", "local", "--remove-orphans", check=False)
        self._folder.cleanup()

    def containers(self, service: str) -> list[str]:
        """Return the ids of the service's containers that exist."""
        return self.compose("ps", "-aq", service).split()

    def inspect(self, container: str, template: str) -> str:
        """Return one thing that Docker knows about a container."""
        return docker("inspect", "-f", template, container).strip()

    def address(self, container: str, network: str) -> str:
        """Return the container's address on one of the project's networks."""
        full = f"{self.project}_{network}"
        return self.inspect(container, f'{{{{(index .NetworkSettings.Networks "{full}").IPAddress}}}}')

    def log(self, service: str = "balancer") -> str:
        """Return what the service has printed so far, both streams."""
        return self.compose("logs", "--no-log-prefix", "--no-color", service)

    # HTTP

    def published(self, port: int) -> tuple[str, int]:
        """Return where a port of the balancer is published on this machine."""
        if port not in self._ports:
            self._ports[port] = int(self.compose("port", "balancer", str(port)).strip().rpartition(":")[2])
        return "127.0.0.1", self._ports[port]

    def ask(self, port: int, path: str, timeout: float = 5.0) -> tuple[int, dict[str, str], bytes]:
        """GET a path of a published port; returns status, headers (names in lower case), body."""
        connection = http.client.HTTPConnection(*self.published(port), timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str = "/") -> tuple[int, dict[str, str], bytes]:
        """GET a path through the balancer."""
        return self.ask(8080, path)

    def status(self) -> dict[str, Any]:
        """Return `/api/v1/status`."""
        code, _, body = self.ask(9900, "/api/v1/status")
        assert code == 200, body
        said: dict[str, Any] = json.loads(body)
        return said

    def metrics(self) -> Metrics:
        """Return a scrape."""
        code, _, body = self.ask(9900, "/metrics")
        assert code == 200, body
        return Metrics.parse(body.decode())

    def targets(self, zone: str) -> list[dict[str, Any]]:
        """Return the zone's targets in the group `demo`, as the status shows them."""
        (group,) = (one for one in self.status()["target_groups"] if one["name"] == "demo")
        return [one for one in group["targets"] if one["zone"] == zone]

    def states(self, zone: str) -> list[str]:
        """Return the states of the zone's targets, those on their way out left aside."""
        return sorted(one["state"] for one in self.targets(zone) if one["state"] != "draining")

    # waiting

    def wait_ready(self) -> None:
        """Wait for `/readyz`; while the container starts, its port answers nothing."""

        def ready() -> bool:
            try:
                return self.ask(9900, "/readyz", 2.0)[0] == 200
            except (OSError, http.client.HTTPException, ValueError):
                return False

        eventually(ready, 30.0, "/readyz")

    def wait_back(self, zone: str, count: int = PER_ZONE, deadline: float = 15.0) -> None:
        """Wait until the zone has exactly `count` targets, all healthy."""
        eventually(lambda: self.states(zone) == ["healthy"] * count, deadline, f"{zone} has {count} healthy targets")

    def wait_out(self, zone: str, deadline: float = 10.0) -> None:
        """Wait until every target of the zone is known to be unhealthy, or gone."""
        eventually(lambda: set(self.states(zone)) <= {"unhealthy"}, deadline, f"{zone} is out")

    def wait_whole(self) -> None:
        """Wait until all six targets are healthy."""
        for zone in ZONES:
            self.wait_back(zone, deadline=30.0)

    # load

    def load(
        self, rate: float, duration: float, deadline: float = 15.0, path: str = "/", to: tuple[str, int] | None = None
    ) -> OpenLoop:
        """Start an open loop of GETs, to the published port unless told otherwise; tagged `zone/backend`."""
        where = to or self.published(8080)
        return OpenLoop(
            where, rate=rate, duration=duration, deadline=deadline, path=path, require_mark=True, tag=_tag
        ).start()

    @contextmanager
    def counted(self) -> Iterator[list[Report]]:
        """Check that `requests_total` grew by exactly what the reports put into the list have sent."""
        before = self.metrics().sum("requests_total")
        reports: list[Report] = []
        yield reports
        sent = sum(one.sent for one in reports)
        grown = -1.0

        def agree() -> bool:
            nonlocal grown
            grown = self.metrics().sum("requests_total") - before
            return grown == sent

        try:
            eventually(agree, 3.0, f"requests_total grew by the {sent} that were sent")
        except AssertionError as fault:
            fault.add_note(f"it grew by {grown}")
            raise

    # configuration

    def write(self, text: str) -> None:
        """Replace the balancer's YAML as an editor does: a new file, renamed over the old one."""
        fresh = self.config / "balancer.yaml.new"
        fresh.write_text(text)
        fresh.replace(self.config / "balancer.yaml")

    def restore(self) -> None:
        """Put the original configuration back and wait until it is in force."""
        self.write(self.original)
        eventually(lambda: self.metrics().sum("config_last_reload_success") == 1, 10.0, "the original is in force")


def _tag(head: Any, _body: bytes) -> str:
    return b"/".join(head.get(name) or b"-" for name in ("x-zone", "x-backend")).decode()


def zones_of(report: Report) -> set[str]:
    """Return the zones that answered in a report."""
    return {tag.partition("/")[0] for tag in report.tags}


def elapsed(loop: OpenLoop, seconds: float) -> None:
    """Wait until the load has run for `seconds`."""
    eventually(lambda: loop.elapsed() >= seconds, seconds + 10.0, f"{seconds} s of load")


def occupy(network: str, image: str, addresses: Sequence[str]) -> list[str]:
    """Start containers until they hold all the free `addresses` of a network; return their ids.

    The engine gives out the lowest free address first or goes on counting, depending on its version, so a service that
    is made anew right away may or may not get the address it had.
    """
    held: list[str] = []
    taken: set[str] = set()
    end = time.monotonic() + 20
    while not taken >= set(addresses) and len(held) < 8 and time.monotonic() < end:
        sleeper = ["--entrypoint", "python", image, "-c", "import signal; signal.pause()"]
        held.append(docker("run", "-d", "--rm", "--network", network, *sleeper).strip())
        taken.add(docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", held[-1]).strip())
    return held
