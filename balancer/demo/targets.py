"""The six demo targets as processes in three zones, and what one can do to them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from typing import IO

from balancer.demo.child import Child, died_of
from balancer.demo.places import HOST, targets_home

# Name and zone of each, in the order of the keys 1 to 6; the names stand in the demo's YAML.
TARGETS = tuple((f"{zone[-1]}{number}", zone) for zone in ("zone-a", "zone-b", "zone-c") for number in (1, 2))
ZONES = tuple(dict.fromkeys(zone for _, zone in TARGETS))
START_WITHIN = 20.0  # seconds: six interpreters start at once


class Target:
    """One demo target. It keeps its port for life, so that it comes back where the balancer looks for it."""

    def __init__(self, name: str, zone: str, errors: IO[bytes]) -> None:
        self.name = name
        self.zone = zone
        self.port = 0
        self._errors = errors
        self._child: Child | None = None
        self._starting = False
        self._stopping = False

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id, 0 while there is none."""
        return self._child.pid if self._child is not None and self._child.exit_code is None else 0

    @property
    def process(self) -> str:
        """What its process does, as the system sees it: `running, frozen, starting, stopping, stopped`."""
        if self.pid == 0:
            return "stopped"
        assert self._child is not None
        if self._child.frozen:
            return "frozen"
        if self._starting:
            return "starting"
        return "stopping" if self._stopping else "running"

    async def start(self) -> None:
        """Start it and wait until it accepts connections; raise OSError if it does not come up."""
        if self.pid:
            return
        self.end()
        home = targets_home()
        child = self._child = Child(
            ["backends", "--host", HOST, "--port", str(self.port), "--name", self.name, "--zone", self.zone],
            home=home,
            out=subprocess.PIPE,
            errors=self._errors,
            environment={},
            at_our_end=signal.SIGKILL,
        )
        self._starting, self._stopping = True, False
        try:
            async with asyncio.timeout(START_WITHIN):
                # A read that outlives this ends with the process.
                line = await asyncio.to_thread(child.out.readline)
            self.port = int(json.loads(line)["port"])
        except TimeoutError:
            raise OSError(f"target {self.name} did not start within {START_WITHIN:g} s") from None
        except ValueError:  # it ended without a word on stdout
            await asyncio.to_thread(child.kill)
            raise OSError(f"target {self.name} did not start ({died_of(child.exit_code or 0)})") from None
        finally:
            self._starting = False

    def stop(self) -> None:
        """Ask it to end as a deployment would (SIGTERM): it finishes what it has."""
        self._stopping = True
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)  # a frozen one has to be awake to hear it

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._send(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the process where it stands (SIGSTOP): the system goes on accepting connections, nobody answers."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._send(signal.SIGCONT)

    def end(self) -> None:
        """End it and wait until it is gone."""
        if self._child is not None:
            self._child.kill()
            self._child.out.close()

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send(number)
