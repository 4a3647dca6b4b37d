"""The proxies that the suites are run against: ours, HAProxy and nginx, each before the same two upstreams."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener
from tests.support.faults import quiet_port
from tests.support.process import Proc
from tests.support.waiting import wait_for

HERE = Path(__file__).parent
NAMES = ("balancer", "haproxy", "nginx")


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy that runs: `port` leads to the HTTP echo, `ws_port` to the WebSocket echo."""

    name: str
    version: str
    port: int
    ws_port: int


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "?"


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def _program(name: str, template: str, web: int, ws: int, folder: Path, *command: str) -> Iterator[Peer]:
    port, ws_port = quiet_port(), quiet_port()
    text = (HERE / template).read_text()
    for word, value in (("@PORT@", port), ("@WS_PORT@", ws_port), ("@WEB@", web), ("@SOCKET@", ws)):
        text = text.replace(word, str(value))
    file = folder / template
    file.write_text(text)
    with Proc([part.format(folder=folder, file=file) for part in command]) as process:
        wait_for(lambda: _accepts(port) or not process.running, 10.0, f"{name} listens")
        assert process.running, process.err.read_text()
        yield Peer(name, _version(name, "-v"), port, ws_port)


@contextlib.contextmanager
def running(web: int, ws: int, folder: Path) -> Iterator[dict[str, Peer]]:
    """Run all three before the echo on port `web` and the WebSocket echo on port `ws`."""
    groups = [group("web", f"127.0.0.1:{web}"), group("socket", f"127.0.0.1:{ws}")]
    listeners = [listener("web", [forward("web")]), listener("socket", [forward("socket")])]
    folder.chmod(0o755)  # nginx started by root works as another user
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Balancer({"listeners": listeners, "target_groups": groups}))
        haproxy = _program("haproxy", "haproxy.cfg", web, ws, folder, "haproxy", "-db", "-f", "{file}")
        nginx = _program(
            "nginx", "nginx.conf", web, ws, folder, "nginx", "-p", "{folder}", "-e", "stderr", "-c", "{file}"
        )
        version = ours.status()["version"]
        found = [Peer("balancer", version, ours.port("web"), ours.port("socket"))]
        found += [stack.enter_context(haproxy), stack.enter_context(nginx)]
        yield {one.name: one for one in found}
