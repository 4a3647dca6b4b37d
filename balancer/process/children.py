"""The supervisor's children: started with exec, listened to, watched, reaped, and when they may be started again.

Place -1 is control, the others are workers. Everything here is told or asked by the supervisor's one loop.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from balancer.board import layout
from balancer.board.board import Board
from balancer.link.channel import Channel, Ended, pair
from balancer.link.messages import Message
from balancer.process.say import say
from balancer.process.watch import Backoff, Pulse

CONTROL = -1
CHANNEL_AT = 3  # the child's descriptor of its channel
ENDED_GRACE = 2.0  # seconds from the end of its channel to the end of a child
_BURST = 32  # messages heard before others have their turn
# A child does not know yet how to take these while it starts: it lets them in when it does.
LATER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Else glibc gives the memory of each large read back and gets it again, page fault by page fault: up to four fifths of
# what a body costs (docs/performance.md). Bytes; other C libraries do not look at them.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(8 * 1024 * 1024)}


@dataclass(slots=True, eq=False)
class Child:
    """A running child. `offered` and `revision`: the snapshots it was given last, and runs."""

    place: int
    pid: int
    channel: Channel
    started: float  # monotonic
    pulse: Pulse
    kill_at: float = inf
    note: str = ""  # why we killed it
    offered: int = 0
    revision: int = 0

    @property
    def about(self) -> dict[str, object]:
        """Return what a log line says about it."""
        return {"pid": self.pid} if self.place == CONTROL else {"place": self.place, "pid": self.pid}


class Children:
    """All children by place, and the places that wait to be filled again."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        board: Board,
        heard: Callable[[Child, Message, list[int]], None],
        lost: Callable[[Child, int, str], None],
    ) -> None:
        """`heard(child, message, descriptors)` for all they say; `lost(child, exit code, detail)` when one is gone."""
        self._selector = selector
        self._board = board
        self._heard = heard
        self._lost = lost
        self._by_place: dict[int, Child] = {}
        self._backoffs: defaultdict[int, Backoff] = defaultdict(Backoff)
        self._due: dict[int, float] = {}

    @property
    def control(self) -> Child | None:
        return self._by_place.get(CONTROL)

    @property
    def workers(self) -> list[Child]:
        return [child for place, child in self._by_place.items() if place != CONTROL]

    def at(self, place: int) -> Child | None:
        """Return who fills a place."""
        return self._by_place.get(place)

    def empty(self, places: Iterable[int]) -> list[int]:
        """Return those of `places` that nobody fills and that do not wait for their time."""
        return [place for place in places if place not in self._by_place and place not in self._due]

    # Starting

    def start(self, place: int, arguments: list[str]) -> Child | None:
        """Start a Python child with `arguments` at `place`; None (and another try later) if the system refuses."""
        environment = MALLOC | os.environ | {"BALANCER_CHANNEL": str(CHANNEL_AT), "BALANCER_PARENT": str(os.getpid())}
        self._due.pop(place, None)
        try:
            ours, theirs = pair()
            with theirs:
                pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, *_flags(), *arguments],
                    environment,
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), CHANNEL_AT)],
                    setsigmask=LATER,
                )
        except OSError as error:  # no room for a process, or for descriptors: `ours`, if there is one, is collected
            say("ERROR", "process could not be started", place=place, error=error.strerror)
            self.again(place, 0.0)
            return None
        child = Child(place, pid, Channel(ours), time.monotonic(), Pulse(self._beat(place)))
        self._by_place[place] = child
        self._selector.register(child.channel, selectors.EVENT_READ, lambda: self._readable(child))
        return child

    def again(self, place: int, lifetime: float) -> float:
        """Have a place filled again, later if its children die young; return the delay in seconds."""
        delay = self._backoffs[place].after(lifetime)
        self._due[place] = time.monotonic() + delay
        return delay

    def due(self, now: float) -> list[int]:
        """Return the places whose time has come."""
        return [place for place, at in self._due.items() if at <= now]

    def never_again(self, *, but_control: bool = False) -> None:
        """Leave empty places empty."""
        self._due = {place: at for place, at in self._due.items() if but_control and place == CONTROL}

    @property
    def next(self) -> float:
        """Return when there is something to do next (monotonic)."""
        return min([inf, *self._due.values(), *(child.kill_at for child in self._by_place.values())])

    # Listening

    def _readable(self, child: Child) -> bool:
        """Hear what a child says; return whether there may be more."""
        try:
            for _ in range(_BURST):
                received = child.channel.receive()
                if received is None:
                    return False
                self._heard(child, *received)
        except Ended:
            # Its process is about to end: its exit code tells more than we could, so it gets the time for it.
            self._unplug(child)
            child.kill_at = min(child.kill_at, time.monotonic() + ENDED_GRACE)
            return False
        return True

    def _unplug(self, child: Child) -> None:
        if child.channel.fileno() >= 0:
            self._selector.unregister(child.channel)
            child.channel.close()

    def flush(self) -> None:
        """Send what waits for slow children, and wake up when they have room."""
        for child in self._by_place.values():
            if child.channel.fileno() < 0:
                continue
            events = selectors.EVENT_READ
            if not child.channel.flush():
                events |= selectors.EVENT_WRITE
            key = self._selector.get_key(child.channel)
            if key.events != events:
                self._selector.modify(child.channel, events, key.data)

    # Watching

    def tick(self) -> None:
        """Kill who has been silent for too long; once a tick of the supervisor's time awake."""
        for child in list(self._by_place.values()):
            if child.pulse.stopped(self._beat(child.place)):
                self.kill(child, f"silent for {child.pulse.silence:g} s")

    def overdue(self, now: float) -> None:
        """Kill who closed its channel, or was asked to go, and did not go."""
        for child in list(self._by_place.values()):
            if child.kill_at <= now:
                self.kill(child, "did not end")

    def kill(self, child: Child, note: str = "") -> None:
        """SIGKILL; it is gone when it is reaped. Works on a stopped process too."""
        child.note = note
        child.kill_at = inf
        try:
            os.kill(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it is waiting to be reaped

    def _beat(self, place: int) -> int:
        if place == CONTROL:
            return self._board.cells[layout.CONTROL_BEAT]
        return self._board.cells[layout.ROWS_AT + place * layout.ROW + layout.ROW_BEAT]

    # Reaping

    def reap(self) -> None:
        """Take note of every process that has ended; as pid 1 also of those that others left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((one for one in self._by_place.values() if one.pid == pid), None)
            if child is not None:
                self._gone(child, os.waitstatus_to_exitcode(status))

    def _gone(self, child: Child, code: int) -> None:
        while child.channel.fileno() >= 0 and self._readable(child):  # its last words
            pass
        self._unplug(child)
        del self._by_place[child.place]
        detail = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        self._lost(child, code, f"{child.note}, {detail}" if child.note and code < 0 else detail)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _flags() -> list[str]:
    """Return `-P`, which keeps the folder we stand in out of the imports, unless that is where we come from."""
    home = Path(__file__).resolve().parents[2]
    try:
        return [] if home == Path.cwd() else ["-P"]
    except FileNotFoundError:  # it was removed
        return ["-P"]
