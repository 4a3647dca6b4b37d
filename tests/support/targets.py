"""Targets in zones: cheap upstream processes, the group that is made of them, and how long a loss may go unnoticed."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from balancer.model.units import parse_duration
from tests.support import configs
from tests.support.faults import quiet_port
from tests.support.http1 import Head
from tests.support.openloop import OpenLoop
from tests.support.process import Backend
from tests.support.raw import ask, request
from tests.support.waiting import wait_for

# Quicker than the defaults, so that a test takes seconds; the bounds below follow from whatever is configured.
CHECK = {"type": "http", "path": "/healthz", "interval": "500ms", "timeout": "500ms", "fast_interval": "200ms"}
JITTER = 1.1  # an interval may be a tenth longer
SLACK = 1.0  # seconds that a busy machine may take on top of any bound


class Cheap(Backend):
    """A target that counts (`python -m tests.support.cheap`) as a process; `marks` are those of the POSTs it took."""

    def __init__(self, name: str, zone: str = "", host: str = "127.0.0.1", port: int = 0, idle: float = 0.0) -> None:
        self.host, self.idle = host, idle
        self.kept = tempfile.TemporaryDirectory(prefix="cheap-")
        super().__init__(name, zone, port or quiet_port(host))

    def _argv(self) -> list[str]:
        argv = [sys.executable, "-m", "tests.support.cheap", "--host", self.host, "--port", str(self.port)]
        argv += ["--name", self.name, "--zone", self.zone, "--idle", str(self.idle)]
        return [*argv, "--log", str(self._log)]

    @property
    def _log(self) -> Path:
        return Path(self.kept.name, "posts")

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def close(self) -> None:
        super().close()
        self.kept.cleanup()

    def counts(self) -> dict[str, int]:
        """Return what it has counted since it was started."""
        return dict(self._get("/count"))

    def fail_health(self, times: int) -> None:
        """Let it answer the next `times` health checks with 503; all of them if negative."""
        self._get(f"/fail?health={times}")

    def _get(self, target: str) -> Any:
        answer = ask((self.host, self.port), request("GET", target, "Connection: close"))
        assert answer.status == 200, answer
        return json.loads(answer.body or b"{}")

    def marks(self) -> list[str]:
        """Return the mark of every POST that it took, over all its lives."""
        return self._log.read_text().split()


@contextlib.contextmanager
def site(*zones: str, each: int = 1, **more: Any) -> Iterator[dict[str, Cheap]]:
    """Run `each` targets a zone by name: a1, a2, b1 … in zone-a, zone-b …"""
    with contextlib.ExitStack() as stack:
        made = [Cheap(f"{zone}{number}", f"zone-{zone}", **more) for zone in zones for number in range(1, each + 1)]
        yield {one.name: stack.enter_context(one) for one in made}


def group_of(targets: Sequence[Cheap], name: str = "up", **more: Any) -> dict[str, Any]:
    """Return a group of targets, checked often, with every other default in force unless said."""
    own = [configs.target(one.name, one.address, one.zone) for one in targets]
    return {"name": name, "health_check": CHECK, "targets": own, **more}


def config_of(targets: Sequence[Cheap], **more: Any) -> dict[str, Any]:
    """Return a configuration: listener `web` forwards everything to group `up` of these targets."""
    return {
        "listeners": [configs.listener("web", [configs.forward("up")])],
        "target_groups": [group_of(targets, **more)],
    }


def _seconds(check: Mapping[str, Any], key: str) -> float:
    found = parse_duration(str(check[key]))
    assert found is not None, check
    return found


def noticed_when_refused(check: Mapping[str, Any] = CHECK) -> float:
    """Return the seconds until a target that refuses is unhealthy, at worst (three failures)."""
    return JITTER * (_seconds(check, "interval") + 2 * _seconds(check, "fast_interval"))


def noticed_when_silent(check: Mapping[str, Any] = CHECK) -> float:
    """Return the seconds until a target that accepts and does not answer is unhealthy, at worst."""
    return noticed_when_refused(check) + 3 * _seconds(check, "timeout")


def backend_of(head: Head, body: bytes) -> str:
    """Tag an answer with the name of the target that gave it."""
    return (head.get("x-backend") or b"-").decode()


def zones_in(tags: Mapping[str, int]) -> set[str]:
    """Return the zones of the targets that tags name, by their letter."""
    return {tag[0] for tag in tags if tag != "-"}


def alternating(index: int) -> str:
    """Return GET and POST in turn."""
    return "POST" if index % 2 else "GET"


def running_for(loop: OpenLoop, seconds: float) -> float:
    """Wait until a load has run so long; return the instant on the clock of its samples."""
    wait_for(lambda: loop.elapsed() >= seconds, seconds + 10, f"{seconds} s of load")
    return loop.elapsed()


def taken_twice(targets: Sequence[Cheap]) -> list[str]:
    """Return the marks of POSTs that were taken more than once."""
    taken = Counter(mark for one in targets for mark in one.marks())
    return [mark for mark, times in taken.items() if times > 1]
