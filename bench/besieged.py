"""What `slow.py` and `crowd.py` share: one worker on one core, everybody else on the other, and one good client.

The good client and its own target go first on their CPU: what it notices is the worker's doing, not that the crowd, and
the targets that answer it, have their turns there.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import needs
from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.faults import quiet_port
from tests.support.kernel import cpu_seconds, resident_bytes
from tests.support.openloop import OpenLoop
from tests.support.process import Proc
from tests.support.report import Report
from tests.support.waiting import pace, wait_for

RATE = 100  # requests/s of the good client
GOOD = "/good"  # what it asks for: another target than the crowd's answers
FIRST = 10  # of the kernel's real-time priorities
MIB = 1024 * 1024
_NGINX = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid nginx.pid;
events { worker_connections 16384; multi_accept on; }
http {
    access_log off;
    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 10s;
    keepalive_timeout 75s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream bench { least_conn; SERVERS keepalive 4096; }
    upstream good { GOOD keepalive 64; }
    server {
        listen 127.0.0.1:PORT backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;
        location / { proxy_pass http://bench; }
        location /good { proxy_pass http://good; }
    }
}
"""


@contextlib.contextmanager
def scene(targets: int) -> Iterator[Balancer]:
    """Run a balancer with one worker on the first CPU; this process and what it starts later stay on the second."""
    with _targets(targets) as ((good, *ports), first):
        config = configs.simple(*ports, policy="least_conn")
        config["listeners"][0]["rules"].insert(0, configs.forward("good", paths=[GOOD]))
        config["target_groups"].append(configs.group("good", good))
        config["access_log"] = "off"
        with Balancer(config, before=first) as balancer:
            yield balancer


@contextlib.contextmanager
def scene_of_nginx(targets: int) -> Iterator[tuple[tuple[str, int], int]]:
    """Run nginx with one worker in our place, with our timeouts; yield its address and the worker's pid."""
    needs.provide(["nginx"])
    with _targets(targets) as ((good, *ports), first), tempfile.TemporaryDirectory() as folder:
        port = quiet_port()
        servers = "".join(f"server {one} max_fails=0; " for one in ports)
        text = _NGINX.replace("SERVERS", servers).replace("GOOD", f"server {good};").replace("PORT", str(port))
        Path(folder, "nginx.conf").write_text(text)
        with Proc([*first, "nginx", "-p", folder, "-e", "stderr", "-c", "nginx.conf"]) as master:
            own = Path(f"/proc/{master.pid}/task/{master.pid}/children")
            worker = wait_for(lambda: own.read_text().split(), 10, "nginx has a worker")[0]
            yield ("127.0.0.1", port), int(worker)
            master.terminate()


@contextlib.contextmanager
def _targets(count: int) -> Iterator[tuple[list[str], list[str]]]:
    """Go to the second CPU and run targets there.

    Yield their addresses, that of the good client's own first, and what puts a command on the first CPU.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("two CPUs are needed: one for the balancer, one for its clients and targets")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.sched_setaffinity(0, {cpus[1]})
    with contextlib.ExitStack() as stack:

        def start(*before: str) -> str:
            port = quiet_port()
            origin = stack.enter_context(Proc([*before, sys.executable, "-m", "bench.origin", str(port)]))
            wait_for(lambda: origin.out.read_text(), 10, "a target listens")
            return f"127.0.0.1:{port}"

        crowds = [start() for _ in range(count)]
        before: tuple[str, ...] = ("chrt", "--fifo", str(FIRST))
        try:  # this process, and not what it starts
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(FIRST))
        except PermissionError:
            print("not root: the good client waits for its CPU as everybody does, and it will show", flush=True)
            before = ()
        yield [start(*before), *crowds], ["taskset", "-c", str(cpus[0])]


class Horde(Proc):
    """Very many clients in a process of their own."""

    def __init__(self, kind: str, address: tuple[str, int], count: int) -> None:
        argv = [sys.executable, "-m", "bench.hordes", kind, address[0], str(address[1]), str(count)]
        super().__init__(argv, commanded=True)

    def counts(self) -> dict[str, int]:
        """Return what it said last."""
        lines = self.out.read_text().splitlines()
        found: dict[str, int] = json.loads(lines[-1]) if lines else {"open": 0, "begun": 0, "ended": 0}
        return found


def good_client(address: tuple[str, int], seconds: float) -> Report:
    """Let the good client ask at its rate for so long, on a few connections."""
    return OpenLoop(address, rate=RATE, duration=seconds, host="bench", path=GOOD, deadline=10.0).run()


def told(report: Report) -> str:
    """Return the figures of a load in a line."""
    ends = {str(word): count for word, count in [*report.statuses.items(), *report.lost.items()]}
    latency = f"p50 {report.p50 * 1e3:.2f} ms, p99 {report.p99 * 1e3:.2f} ms, max {report.worst * 1e3:.1f} ms"
    return f"{latency}, {ends} (generator late by {report.lateness_p99 * 1e3:.1f} ms)"


def stands(quiet: Report, busy: Report) -> bool:
    """Return whether the good client is served as it was: p99 within twice, or 5 ms more."""
    return busy.failed == 0 and busy.p99 <= max(2 * quiet.p99, quiet.p99 + 0.005)


def idle_cpu(pid: int, seconds: float = 3.0) -> float:
    """Return the share of a core that a process uses while nothing is asked of it."""
    before = cpu_seconds(pid)
    began = time.monotonic()
    pace(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


__all__ = [
    "MIB",
    "Horde",
    "cpu_seconds",
    "good_client",
    "idle_cpu",
    "pace",
    "resident_bytes",
    "scene",
    "scene_of_nginx",
    "stands",
    "told",
    "wait_for",
]
