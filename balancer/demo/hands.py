"""Hands: what the keys do to the targets, and what has become of their processes since one last looked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from balancer.demo.targets import ZONES, Target

_TOLD = {
    "stopped": "{name}: the process has ended",
    "frozen": "{name}: the process is frozen",
    "starting": "{name}: a new process starts",
    "stopping": "{name}: the process was asked to stop",
    "running": "{name}: the process runs",
}


class Hands:
    """Acts on single targets by their number, and on the zone that is selected."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.selected = ZONES[0]
        self._targets = targets
        self._before = {target.name: target.process for target in targets}
        self._starts: set[asyncio.Task[None]] = set()
        self._faults: list[str] = []

    def press(self, key: str) -> bool:
        """Do what a key asks for; return whether it means something."""
        if key.isdecimal() and 1 <= int(key) <= len(self._targets):
            self._toggle(self._targets[int(key) - 1])
        elif key in {zone[-1] for zone in ZONES}:
            self.selected = next(zone for zone in ZONES if zone[-1] == key)
        elif key in ("up", "down"):
            step = 1 if key == "down" else -1
            self.selected = ZONES[(ZONES.index(self.selected) + step) % len(ZONES)]
        elif key == "f":
            self._freeze_or_thaw()
        elif key == "z":
            self._kill_or_start()
        else:
            return False
        return True

    def _zone(self) -> list[Target]:
        return [target for target in self._targets if target.zone == self.selected]

    def _toggle(self, target: Target) -> None:
        match target.process:
            case "stopped":
                self._start(target)
            case "stopping":
                target.kill()
            case _:
                target.stop()

    def _freeze_or_thaw(self) -> None:
        frozen = [target for target in self._zone() if target.process == "frozen"]
        for target in frozen:
            target.thaw()
        if not frozen:
            for target in self._zone():
                target.freeze()

    def _kill_or_start(self) -> None:
        stopped = [target for target in self._zone() if target.process == "stopped"]
        if len(stopped) == len(self._zone()):
            for target in stopped:
                self._start(target)
        else:
            for target in self._zone():
                target.kill()

    def _start(self, target: Target) -> None:
        task = asyncio.create_task(target.start())
        self._starts.add(task)
        task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._faults.append(str(error))

    def news(self) -> list[str]:
        """Return what has become of the processes since the last call, whoever did it."""
        told, self._faults = self._faults, []
        for target in self._targets:
            now = target.process
            if now != self._before[target.name]:
                told.append(_TOLD[now].format(name=target.name))
                self._before[target.name] = now
        return told
