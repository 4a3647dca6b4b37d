"""The origin and the proxies under test: started side by side, looked at closely, stopped.

Each runs one worker, pinned to one core, on the configuration that lies in `peers/` (README.md says what they have in
common). A proxy is only measured once its answers, and its requests to the origin, have been read.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import machine

PEERS = Path(__file__).resolve().parent / "peers"
START = 20.0  # seconds until the first good answer
STOP = 15.0  # seconds until a program that was asked to end is killed
BODY, LARGE = 200, 1024 * 1024  # bytes the origin answers with
ORIGIN_PORTS = (18191, 18192)


class Unfit(Exception):
    """A program that does not run, or does not do what it is measured for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a program is started; `{here}` in a command is a scratch folder, `{config}` its configuration there."""

    key: str
    title: str
    config: str
    port: int
    command: tuple[str, ...]
    worker: str = ""  # how its worker process calls itself; empty: everything counts as one
    replace: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()  # further ports it takes

    @property
    def all_ports(self) -> tuple[int, ...]:
        return (self.port, *self.ports)


_NGINX = ("nginx", "-p", "{here}", "-c", "{config}", "-e", "stderr")
_OURS = (sys.executable, "-m", "balancer", "run", "{config}")
ORIGIN = Plan("origin", "origin", "origin.conf", 18191, _NGINX, ports=(18192,))
PROXIES = (
    Plan("nginx", "nginx", "nginx.conf", 18181, _NGINX, worker="nginx"),
    Plan("haproxy", "HAProxy", "haproxy.cfg", 18182, ("haproxy", "-db", "-f", "{config}")),
    Plan("balancer", "balancer", "balancer.yaml", 18183, _OURS, worker="balancer-w", ports=(18189,)),
    Plan(
        "balancer-log",
        "balancer, access log",
        "balancer.yaml",
        18184,
        _OURS,
        worker="balancer-w",
        replace=(
            ("access_log: off", "access_log: {{path: {here}/access.log}}"),
            ("18183", "18184"),
            ("18189", "18188"),
        ),
        ports=(18188,),
    ),
)


@dataclass(slots=True)
class Running:
    """A program that was started."""

    plan: Plan
    process: subprocess.Popen[bytes]
    log: Path
    version: str = ""
    pids: list[int] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Read anew which processes it consists of."""
        self.pids = machine.tree(self.process.pid)
        named = [pid for pid in self.pids if machine.name(pid).startswith(self.plan.worker)] if self.plan.worker else []
        # nginx's master is no worker, and the only process of its name that has a child.
        self.workers = [pid for pid in named if len(machine.tree(pid)) == 1] or self.pids

    def complaint(self) -> str:
        """Return the end of what it wrote."""
        return self.log.read_text(errors="replace").strip()[-600:]

    def stop(self) -> None:
        """End it and all below it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def refuse_taken_ports(plans: list[Plan]) -> None:
    """Raise Unfit if somebody listens where one of `plans` would: two runs on the same ports ruin both silently."""
    for plan in plans:
        for port in plan.all_ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise Unfit(
                        f"port {port}, for {plan.title}: {error.strerror} (is another run under way?)"
                    ) from None


def start(plan: Plan, core: int, here: Path) -> Running:
    """Start a program on one core; it may not answer yet."""
    config = here / f"{plan.key}{Path(plan.config).suffix}"
    text = (PEERS / plan.config).read_text()
    for old, new in plan.replace:
        if old not in text:
            raise Unfit(f"{plan.config}: {old!r} is not in it")
        text = text.replace(old, new.format(here=here))
    config.write_text(text)
    log = here / f"{plan.key}.out"
    command = [part.format(here=here, config=config) for part in plan.command]
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=PEERS.parents[1],
            start_new_session=True,  # a Ctrl-C is for us alone; we end what we started
        )
    return Running(plan, process, log, _version(plan))


def _version(plan: Plan) -> str:
    option = ["--version"] if plan.command is _OURS else ["-v"]
    command = (
        [*plan.command[: plan.command.index("run")], *option] if plan.command is _OURS else [plan.command[0], "-v"]
    )
    done = subprocess.run(command, capture_output=True, text=True, cwd=PEERS.parents[1])
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found[0] if found else "?"


def wait_until_fit(running: Running) -> None:
    """Return once the program answers as it should; raises Unfit."""
    until = time.monotonic() + START
    while True:
        try:
            (_check_origin if running.plan is ORIGIN else _check_proxy)(running.plan)
            break
        except (OSError, HTTPException, Unfit) as error:
            if running.process.poll() is not None or time.monotonic() > until:
                raise Unfit(f"{running.plan.title}: {error}\n{running.complaint()}") from None
        time.sleep(0.1)
    running.look()


def _check_origin(plan: Plan) -> None:
    for port in plan.all_ports:
        _, headers, body = _get(port, "/")
        if len(body) != BODY or not headers.get("X-Served-By", "").startswith("origin-"):
            raise Unfit(f"the origin at port {port} is not ours")


def _check_proxy(plan: Plan) -> None:
    """Raise Unfit unless it reaches both targets and tells them what all proxies tell."""
    served = set()
    for _ in range(8):
        status, headers, body = _get(plan.port, "/")
        if status != 200 or len(body) != BODY:
            raise Unfit(f"status {status}, {len(body)} bytes")
        served.add(headers.get("X-Served-By", ""))
        if not headers.get("X-Request-ID"):
            raise Unfit("no X-Request-ID in a response")
    if served != {"origin-1", "origin-2"}:
        raise Unfit(f"served by {sorted(served)}, not by both origins")
    _, _, body = _get(plan.port, "/1MiB")
    if len(body) != LARGE:
        raise Unfit(f"a download of {len(body)} bytes")
    _, _, body = _get(plan.port, "/seen")
    seen = re.sub(r"id=\S+", "id", body.decode().strip())
    wanted = (
        f"host=shop.example.com for=127.0.0.1 proto=http forwarded-host=shop.example.com port={plan.port} "
        "real-ip=127.0.0.1 id connection="
    )
    if seen != wanted:
        raise Unfit(f"the origin saw {seen!r}, not {wanted!r}")


def _get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": "shop.example.com"})
        response = connection.getresponse()
        headers = {name.title().replace("-Id", "-ID"): value for name, value in response.getheaders()}
        return response.status, headers, response.read()
    finally:
        connection.close()
