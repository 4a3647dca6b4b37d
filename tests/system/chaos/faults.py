"""The faults of a chaos run: what may happen to targets, zones, workers, control and the configuration, by seed."""

from __future__ import annotations

import contextlib
import copy
import heapq
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.balancer import Balancer
from tests.support.kernel import is_running
from tests.support.process import ROOT
from tests.support.relay import Relays
from tests.support.targets import Cheap

WORKER_SILENT = 4.0  # seconds until a frozen worker is killed by the supervisor
REPLACED = 3.0  # seconds until its successor serves, on a busy machine
Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A target, the process behind it, and the port of the relay before it."""

    name: str
    zone: str
    process: Cheap
    port: int


@dataclass(slots=True)
class Chaos:
    """What is broken at the moment and when it is mended; `events` tell it in order, by the clock of the load."""

    balancer: Balancer
    places: dict[str, Place]
    relays: Relays
    config: dict[str, Any]
    chance: random.Random
    clock: Callable[[], float]
    events: list[str] = field(default_factory=list)
    worker_faults: list[tuple[float, float]] = field(default_factory=list)
    control_faults: list[tuple[float, float]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    _undo: list[tuple[float, int, str, Undo]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _control_back: float = 0.0
    _first: list[Callable[[float], str]] | None = None  # every kind of fault once, before chance alone decides

    # -- the course of a run

    def step(self) -> float:
        """Mend what is due, break something; return the seconds until the next step."""
        now = self.clock()
        self.mend(now)
        kinds = self._possible()
        if self._first is None:
            self._first = [kind for kind, _ in kinds]
            self.chance.shuffle(self._first)
        chosen = self._first[-1] if self._first else self.chance.choices(*zip(*kinds))[0]
        told = chosen(now)
        if told:
            del self._first[-1:]
            self.tell(told)
        return self.chance.uniform(0.2, 1.2)

    def mend(self, until: float) -> None:
        """Undo what is due by then."""
        while self._undo and self._undo[0][0] <= until:
            _, _, told, undo = heapq.heappop(self._undo)
            undo()
            self.tell(told)

    def end(self) -> None:
        """Undo everything."""
        self.mend(float("inf"))

    def tell(self, words: str) -> None:
        self.events.append(f"{self.clock():8.2f} {words}")
        kind = words.partition(":")[0]
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def later(self, seconds: float, words: str, undo: Undo) -> None:
        heapq.heappush(self._undo, (self.clock() + seconds, next(self._order), words, undo))

    def _possible(self) -> list[tuple[Callable[[float], str], float]]:
        return [
            (self.kill_target, 2),
            (self.stop_target, 2),
            (self.freeze_target, 2),
            (self.reset_target, 2),
            (self.swallow_target, 2),
            (self.lose_zone, 1.5),
            (self.kill_worker, 0.7),
            (self.freeze_worker, 0.5),
            (self.kill_control, 0.7),
            (self.freeze_control, 0.5),
            (self.reload, 2),
            (self.reload_badly, 0.7),
            (self.drain, 1.5),
        ]

    # -- targets

    def _well(self) -> list[Place]:
        return [place for name, place in self.places.items() if name not in self.broken]

    def _one(self) -> Place | None:
        well = self._well()
        return self.chance.choice(well) if len(well) > 2 else None

    def _break(self, place: Place, how: str) -> None:
        """Break a target in one way, and see to it that it is mended."""
        self.broken.add(place.name)
        process = place.process
        if how in ("kill", "stop"):
            process.kill(signal.SIGKILL if how == "kill" else signal.SIGTERM)
            undo = process.restart
        elif how == "freeze":
            process.stop()
            undo = process.cont
        else:
            self.relays.become(place.port, how)
            undo = lambda: self.relays.become(place.port, "pass")  # noqa: E731

        def mended() -> None:
            undo()
            self.broken.discard(place.name)

        self.later(self.chance.uniform(0.3, 4.0), f"mended: {place.name} ({how})", mended)

    def _break_one(self, how: str) -> str:
        place = self._one()
        if place is None:
            return ""
        self._break(place, how)
        return f"target {how}: {place.name}"

    def kill_target(self, now: float) -> str:
        """SIGKILL."""
        return self._break_one("kill")

    def stop_target(self, now: float) -> str:
        """SIGTERM: it drains as a good server does."""
        return self._break_one("stop")

    def freeze_target(self, now: float) -> str:
        """SIGSTOP: the kernel goes on accepting for it."""
        return self._break_one("freeze")

    def reset_target(self, now: float) -> str:
        """RST on every connection, and on each new one."""
        return self._break_one("reset")

    def swallow_target(self, now: float) -> str:
        """No byte passes, no connection ends."""
        return self._break_one("swallow")

    def lose_zone(self, now: float) -> str:
        """Every target of a zone, in the same way, as long as another zone is whole."""
        if self.broken:
            return ""
        zone = self.chance.choice(sorted({place.zone for place in self.places.values()}))
        how = self.chance.choice(["kill", "stop", "freeze", "reset", "swallow"])
        for place in self.places.values():
            if place.zone == zone:
                self._break(place, how)
        return f"zone {how}: {zone}"

    # -- our own processes

    def _children(self, name: str) -> list[int]:
        """Return the balancer's children of a name, asked of the kernel: control may be away."""
        path = Path(f"/proc/{self.balancer.pid}/task/{self.balancer.pid}/children")
        pids = [int(pid) for pid in path.read_text().split()]
        found = []
        for pid in pids:
            with contextlib.suppress(OSError):
                if name in Path(f"/proc/{pid}/comm").read_text() and is_running(pid):
                    found.append(pid)
        return found

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def kill_worker(self, now: float) -> str:
        """SIGKILL one worker."""
        workers = self._children("balancer-w")
        if len(workers) < 2:
            return ""
        victim = self.chance.choice(workers)
        self._signal(victim, signal.SIGKILL)
        self.worker_faults.append((now, now + REPLACED))
        return f"worker kill: {victim}"

    def freeze_worker(self, now: float) -> str:
        """SIGSTOP one worker, for a moment or until it is replaced."""
        workers = self._children("balancer-w")
        if len(workers) < 2:
            return ""
        victim, seconds = self.chance.choice(workers), self.chance.choice([0.5, 1.0, 8.0])
        self._signal(victim, signal.SIGSTOP)
        self.worker_faults.append((now, now + min(seconds, 2 * WORKER_SILENT) + REPLACED))
        self.later(seconds, f"worker goes on: {victim}", partial(self._signal, victim, signal.SIGCONT))
        return f"worker freeze: {victim} for {seconds} s"

    def kill_control(self, now: float) -> str:
        """SIGKILL control."""
        for pid in self._children("balancer-c"):
            self._signal(pid, signal.SIGKILL)
            self.control_faults.append((now, now + REPLACED))
            self._control_back = now + REPLACED
            return f"control kill: {pid}"
        return ""

    def freeze_control(self, now: float) -> str:
        """SIGSTOP control for a while."""
        for pid in self._children("balancer-c"):
            seconds = self.chance.uniform(0.3, 3.0)
            self._signal(pid, signal.SIGSTOP)
            self.control_faults.append((now, now + seconds + REPLACED))
            self._control_back = now + seconds + REPLACED
            self.later(seconds, f"control goes on: {pid}", partial(self._signal, pid, signal.SIGCONT))
            return f"control freeze: {pid} for {seconds:.1f} s"
        return ""

    # -- the configuration

    def reload(self, now: float) -> str:
        """Another valid configuration: weights, a policy, a time; sometimes a target less."""
        config = copy.deepcopy(self.config)
        group = config["target_groups"][0]
        group["policy"] = self.chance.choice(["round_robin", "least_conn"])
        group["timeouts"]["upstream_idle"] = self.chance.choice(["1s", "4s"])
        for target in group["targets"]:
            target["weight"] = self.chance.choice([1, 1, 2, 5])
        gone = ""
        if self.chance.random() < 0.4:
            gone = self.chance.choice(group["targets"])["name"]
            group["targets"] = [one for one in group["targets"] if one["name"] != gone]
        self.balancer.write(config)
        self._signal(self.balancer.pid, signal.SIGHUP)
        if gone:
            self.later(self.chance.uniform(0.5, 3.0), f"reload: {gone} is back", self._whole)
        return f"reload: without {gone}" if gone else "reload: weights"

    def _whole(self) -> None:
        self.balancer.write(self.config)
        self._signal(self.balancer.pid, signal.SIGHUP)

    def reload_badly(self, now: float) -> str:
        """A file at fault: nothing may change."""
        self.balancer.write(self.chance.choice(["listeners: [", "workers: 1\nlisteners: 5\n", "nonsense: true\n"]))
        self._signal(self.balancer.pid, signal.SIGHUP)
        self.later(0.5, "reload: a sound file again", self._whole)
        return "bad reload: a file at fault"

    def drain(self, now: float) -> str:
        """Drain a target by command, and put it back."""
        place = self._one()
        if place is None or now < self._control_back:
            return ""
        if not self._command("drain", place.name):
            return f"drain refused: {place.name}"
        self.broken.add(place.name)

        def undrain() -> None:
            if self._command("undrain", place.name):
                self.broken.discard(place.name)
            else:
                self.later(1.0, f"undrain: {place.name}", undrain)

        self.later(self.chance.uniform(0.5, 3.0), f"undrain: {place.name}", undrain)
        return f"drain: {place.name}"

    def _command(self, word: str, target: str) -> bool:
        host, port = self.balancer.admin
        argv = [sys.executable, "-m", "balancer", word, f"up/{target}", "--yes", "--admin", f"http://{host}:{port}"]
        try:
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=15)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0
