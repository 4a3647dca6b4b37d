"""The origin and the proxies under test: started side by side, looked at closely, stopped.

Each is pinned to one core, on the configuration that lies in `peers/` (README.md says what they have in common). A
proxy is only measured once its answers, and its requests to the origin, have been read.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import machine
import variants
from cases import BASE, BODY, Variant

PEERS = Path(__file__).resolve().parent / "peers"
ROOT = PEERS.parents[1]
START = 30.0  # seconds until the first good answer
STOP = 15.0  # seconds until a program that was asked to end is killed
LARGE = 1024 * 1024


class Unfit(Exception):
    """A program that does not run, or does not do what it is measured for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a program is started: in a command, `{here}` is a scratch folder, `{config}` its configuration there,
    `{workers}` and `{log}` what the variant wants, `{port}` its port."""

    key: str
    title: str
    config: str
    port: int
    command: tuple[str, ...]
    version: tuple[str, ...] = ()
    peer: str = ""  # whose configuration it is: the key, unless it is a second one of ours
    worker: str = ""  # how its worker process calls itself; empty: everything counts as one
    admin: int = 0  # a further port it takes
    pace: float = 1.0  # the slow get slices so much shorter
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        return self.peer or self.key


def ours(key: str, title: str, python: str, port: int, *, installed: bool = False) -> Plan:
    """Return a plan of ours; `installed`: as it is installed beside that interpreter, not as it lies here."""
    return Plan(
        key,
        title,
        "balancer.yaml",
        port,
        (python, *(("-P",) if installed else ()), "-m", "balancer", "run", "{config}"),
        version=(python, *(("-P",) if installed else ()), "-m", "balancer", "--version"),
        peer="balancer",
        worker="balancer-w",
        admin=port + 1000,
        environment=(("PYTHONPATH", "" if installed else str(ROOT)),),
    )


def all_plans(python: str, caddy: Path | None, further: dict[str, str]) -> list[Plan]:
    """Return every program there is to measure; `further`: interpreters with an installation of ours, by name."""
    plans = [
        Plan("nginx", "nginx", "nginx.conf", 18181, ("nginx", "-p", "{here}", "-c", "{config}", "-e", "stderr"),
             version=("nginx", "-v"), worker="nginx"),
        Plan("haproxy", "HAProxy", "haproxy.cfg", 18182, ("haproxy", "-db", "-f", "{config}"),
             version=("haproxy", "-v")),
        ours("balancer", "balancer", python, 18183),
        *(ours(f"balancer-{name}", f"balancer, {name}", path, 18171 + n, installed=True)
          for n, (name, path) in enumerate(further.items())),
    ]  # fmt: skip
    if caddy is not None:
        command = (str(caddy), "run", "--config", "{config}", "--adapter", "caddyfile")
        environment = (("GOMAXPROCS", "{workers}"), ("XDG_DATA_HOME", "{here}"), ("XDG_CONFIG_HOME", "{here}"))
        plans.append(
            Plan("caddy", "Caddy", "Caddyfile", 18184, command, (str(caddy), "version"), pace=0.5,
                 environment=environment)
        )  # fmt: skip
    proxy = (python, str(PEERS / "aiohttp_proxy.py"), "{port}", "{workers}", "{log}", "{config}")
    version = (python, "-c", "import aiohttp; print(aiohttp.__version__)")
    plans.append(Plan("aiohttp", "aiohttp", "", 18185, proxy, version, worker="python", pace=0.5))
    return plans


@dataclass(slots=True)
class Running:
    """A program that was started."""

    plan: Plan
    variant: Variant
    process: subprocess.Popen[bytes]
    log: Path
    pids: list[int] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Read anew which processes it consists of."""
        self.pids = machine.tree(self.process.pid)
        named = [pid for pid in self.pids if machine.name(pid).startswith(self.plan.worker)] if self.plan.worker else []
        # A master is no worker, and the only process of its name that has a child.
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
    """Raise Unfit if somebody listens where we would: two runs on the same ports ruin both silently."""
    ports = [("the origin", port) for port in variants.PORTS]
    ports += [(plan.title, port) for plan in plans for port in (plan.port, plan.admin) if port]
    for title, port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise Unfit(f"port {port}, for {title}: {error.strerror} (is another run under way?)") from None


def start_origin(program: Path, core: int, here: Path) -> Running:
    """Start the origin and wait until it answers."""
    plan = Plan("origin", "origin", "", variants.PORTS[0], (), worker="")
    ports = [str(variants.PORTS[0]), str(len(variants.PORTS)), str(variants.ADDRESSES)]
    running = _started(plan, BASE, [str(program), *ports], core, here, {})
    _wait(running, _check_origin)
    return running


def start(plan: Plan, variant: Variant, core: int, here: Path) -> Running:
    """Start a program on one core; it may not answer yet."""
    config = here / f"{plan.key}{Path(plan.config).suffix or '.txt'}"
    try:
        text = variants.write(plan.kind, (PEERS / plan.config).read_text() if plan.config else "", variant, here)
    except variants.Misfit as error:
        raise Unfit(f"{plan.config}: {error}") from None
    if plan.kind == "balancer":
        text = text.replace("18183", str(plan.port)).replace("18189", str(plan.admin))
    config.write_text(text)
    words = {
        "here": str(here),
        "config": str(config),
        "port": str(plan.port),
        "workers": str(variant.workers),
        "log": f"{here}/{plan.key}.log" if variant.log else "off",
    }
    environment = {name: value.format(**words) for name, value in plan.environment}
    return _started(plan, variant, [part.format(**words) for part in plan.command], core, here, environment)


def _started(
    plan: Plan, variant: Variant, command: list[str], core: int, here: Path, environment: dict[str, str]
) -> Running:
    log = here / f"{plan.key}.out"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=here,
            env=os.environ | environment,
            start_new_session=True,  # a Ctrl-C is for us alone; we end what we started
        )
    return Running(plan, variant, process, log)


def version(plan: Plan) -> str:
    """Return the version that a program gives itself."""
    done = subprocess.run(
        plan.version, capture_output=True, text=True, env=os.environ | dict(plan.environment), cwd="/"
    )
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found[0] if found else "?"


def wait_until_fit(running: Running) -> None:
    """Return once the program answers as it should; raises Unfit."""
    _wait(running, _check_proxy)


def _wait(running: Running, check: object) -> None:
    until = time.monotonic() + START
    while True:
        try:
            check(running)  # type: ignore[operator]
            break
        except (OSError, HTTPException, Unfit) as error:
            if running.process.poll() is not None or time.monotonic() > until:
                raise Unfit(f"{running.plan.title}: {error}\n{running.complaint()}") from None
        time.sleep(0.1)
    running.look()


def _check_origin(_running: Running) -> None:
    for port in variants.PORTS:
        _, headers, body = _get(port, "/")
        if len(body) != BODY or headers.get("X-Served-By") != f"127.0.0.1:{port}":
            raise Unfit(f"the origin at port {port} is not ours")


def _check_proxy(running: Running) -> None:
    """Raise Unfit unless it reaches several targets and tells them what all proxies tell."""
    port, served = running.plan.port, set()
    for _ in range(8):
        status, headers, body = _get(port, "/")
        if status != 200 or len(body) != BODY:
            raise Unfit(f"status {status}, {len(body)} bytes")
        served.add(headers.get("X-Served-By", ""))
        if not headers.get("X-Request-ID"):
            raise Unfit("no X-Request-ID in a response")
    strangers = served - set(variants.targets(running.variant.targets))
    if strangers or len(served) < 2:
        raise Unfit(f"served by {sorted(served)}")
    for path in (f"/bytes/{LARGE}", f"/chunked/{LARGE}"):
        _, _, body = _get(port, path)
        if len(body) != LARGE:
            raise Unfit(f"a download of {len(body)} bytes")
    _, _, body = _get(port, "/seen")
    seen = re.sub(r"id=\S+", "id", body.decode().strip())
    wanted = (
        f"host=shop.example.com for=127.0.0.1 proto=http forwarded-host=shop.example.com port={port} "
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
