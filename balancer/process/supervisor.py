"""The supervisor: starts, watches and restarts control and workers, holds what must outlive them, passes messages on.

It holds the board, every listening socket and the last committed snapshot, whose bytes it never reads. It knows no
configuration: what to bind and what to pass on, control says.

    control ──listen, offer, commit, withdraw, states, veto──> supervisor ──> every worker
    control <──built, refused, swapped, ready, eject, unreachable, asks (+ place, pid)── supervisor <── a worker

Rules
1. One loop, standard library alone (its log is written by a thread): nothing waits for anybody, little can go wrong.
2. Nothing a child says may stop it: what it does not understand it logs and forgets.
3. At the end workers go first, control last, so that status and metrics can be read during the drain.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path

from balancer.board import board as shared
from balancer.board import layout
from balancer.link.channel import close_all
from balancer.link.messages import BadMessage, Message
from balancer.process.children import CONTROL, Child, Children
from balancer.process.say import say
from balancer.process.sockets import Sockets, Unbound
from balancer.process.watch import Ticks

STOP_TIMEOUT = 8.0  # seconds, until a commit says otherwise
KILL_GRACE = 1.0  # seconds a worker has beyond the time it was given
CONTROL_GRACE = 5.0  # seconds control has for its own end
INPUT_FAULT, OUR_FAULT = 1, 70  # exit codes

_TO_WORKERS = frozenset({"states", "veto", "withdraw"})
_TO_CONTROL = frozenset({"built", "refused", "swapped", "ready", "eject", "unreachable", "asks"})
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot that is held for others: its revision and its descriptor."""

    revision: int
    descriptor: int


class Supervisor:
    """One supervisor with its children. `run` returns the program's exit code."""

    def __init__(
        self,
        config: Path,
        *,
        control: str = "balancer.process.control",
        worker: str = "balancer.process.worker",
    ) -> None:
        """`control` and `worker` are the modules that the children run."""
        self._arguments = {CONTROL: ["-m", control, str(config)]}
        self._worker = worker
        self._board_descriptor = shared.create()
        self._selector = selectors.DefaultSelector()
        self._wake_up: socket.socket | None = None  # where the kernel writes the numbers of signals
        board = shared.Board(self._board_descriptor)
        self._children = Children(self._selector, board, self._heard, self._lost)
        self._sockets = Sockets()
        self._committed: Held | None = None
        self._offered: Held | None = None
        self._places = 0  # as many as the first commit says
        self._stop_timeout = STOP_TIMEOUT
        self._stopping = False
        self._deadline = inf  # when workers that still work are killed
        self._at_once = False
        self._exit = 0

    def run(self) -> int:
        """Run until a signal, or the first configuration, ends it. Call from the main thread."""
        ticks = Ticks(time.monotonic())
        self._prepare()
        self._start(CONTROL)
        while not (self._stopping and self._children.control is None and not self._children.workers):
            self._children.flush()
            due = min(ticks.next, self._children.next, self._deadline)
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                key.data()
            now = time.monotonic()
            if ticks.due(now):
                self._children.reap()
                self._children.tick()
            self._children.overdue(now)
            for place in self._children.due(now):
                self._start(place)
            if self._stopping:
                self._go_on_stopping(now)
        if self._exit == 0:
            say("INFO", "balancer stopped")
        return self._exit

    # Signals

    def _prepare(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 (names, not paths)
            if int(entry) > 2:
                try:
                    os.set_inheritable(int(entry), False)
                except OSError:
                    continue  # the one of the listing itself
        ours, kernels = socket.socketpair()
        ours.setblocking(False)
        kernels.setblocking(False)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._signalled(ours))
        self._wake_up = kernels
        signal.set_wakeup_fd(kernels.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: None)  # the number comes through the wake-up socket

    def _signalled(self, ours: socket.socket) -> None:
        for number in ours.recv(4096):
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self._stop_signalled()
                case signal.SIGHUP:
                    self._tell(CONTROL, {"is": "reload"})
                case signal.SIGCHLD:
                    self._children.reap()

    # Lives

    def _start(self, place: int) -> None:
        arguments = self._arguments.get(place, ["-m", self._worker, str(place)])
        child = self._children.start(place, arguments)
        if child is None:
            return
        if place == CONTROL:
            places = [self._place(one) for one in range(self._places)]
            start = {"is": "start", "places": places, "listeners": self._sockets.names, "stopping": self._stopping}
            child.channel.send(
                start, [self._board_descriptor, *([self._committed.descriptor] if self._committed else [])]
            )
        elif self._committed is not None:
            names, sockets = self._sockets.committed(place)
            revision = self._committed.revision
            start = {"is": "start", "place": place, "places": self._places, "revision": revision, "listeners": names}
            child.channel.send(start, [self._board_descriptor, self._committed.descriptor, *sockets])
            child.offered = revision
            self._tell(CONTROL, {"is": "worker", "place": place, "pid": child.pid, "event": "started", "detail": ""})

    def _place(self, place: int) -> Message:
        child = self._children.at(place)
        return {"place": place, "pid": child.pid if child else 0, "revision": child.revision if child else 0}

    def _lost(self, child: Child, code: int, detail: str) -> None:
        if child.place == CONTROL:
            self._withdraw()
            if self._committed is None and not self._stopping and code in (INPUT_FAULT, 2, OUR_FAULT):
                self._exit = INPUT_FAULT if code == INPUT_FAULT else OUR_FAULT
                self._stop(0.0)
                return  # it has said why
            wanted = not self._stopping or (bool(self._children.workers) and not self._at_once)
        else:
            lost = {"is": "worker", "place": child.place, "pid": child.pid, "event": "lost", "detail": detail}
            self._tell(CONTROL, lost)
            wanted = not self._stopping
        if self._at_once or (self._stopping and code in (0, self._exit)):
            return
        delay = self._children.again(child.place, time.monotonic() - child.started) if wanted else None
        name = "control" if child.place == CONTROL else "worker"
        say(
            "WARNING",
            f"{name} was lost",
            **child.about,
            detail=detail,
            restart_in=None if delay is None else f"{delay:g}s",
        )

    # The end

    def _stop_signalled(self) -> None:
        if not self._stopping:
            say("INFO", "balancer is stopping", at_most=f"{self._stop_timeout:g}s")
            self._stop(self._stop_timeout)
            return
        self._at_once = True  # the second time
        self._children.never_again()
        for child in self._all():
            self._children.kill(child)

    def _all(self) -> list[Child]:
        control = self._children.control
        return self._children.workers + ([control] if control is not None else [])

    def _stop(self, timeout: float) -> None:
        self._stopping = True
        for child in self._all():
            child.channel.send({"is": "stop", "timeout": timeout})
        # Workers accept what waits in their queues and close them; ours would stay open with nobody behind.
        self._sockets.close()
        self._children.never_again(but_control=True)
        self._deadline = time.monotonic() + timeout + KILL_GRACE

    def _go_on_stopping(self, now: float) -> None:
        workers, control = self._children.workers, self._children.control
        if now >= self._deadline:
            self._deadline = inf
            for worker in workers:
                self._children.kill(worker, "still working at the end of stop_timeout")
        if workers:
            return
        self._children.never_again()
        if control is not None and control.kill_at == inf and not control.note:
            control.channel.end()
            control.kill_at = now + CONTROL_GRACE

    # Messages

    def _heard(self, child: Child, message: Message, descriptors: list[int]) -> None:
        try:
            if child.place == CONTROL:
                self._from_control(child, message, descriptors)
            else:
                self._from_worker(child, message)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            say("ERROR", "message was not understood", **child.about, message=message["is"], error=repr(error))
        finally:
            close_all(descriptors)

    def _from_worker(self, child: Child, message: Message) -> None:
        if message["is"] in ("ready", "swapped"):
            child.revision = int(message["revision"])
        if message["is"] in _TO_CONTROL:
            self._tell(CONTROL, {**message, "place": child.place, "pid": child.pid})

    def _from_control(self, control: Child, message: Message, descriptors: list[int]) -> None:
        """Do what control says; take out of `descriptors` what is kept."""
        match message["is"]:
            case "listen" if not self._stopping:
                self._listen(control, message)
            case "offer" if descriptors and not self._stopping:
                self._withdraw_held()
                self._offered = Held(int(message["revision"]), descriptors.pop(0))
                for worker in self._children.workers:
                    self._offer(worker, self._offered, *self._sockets.offered(worker.place))
            case "commit":
                self._commit(message)
            case "fail" if self._committed is None and not self._stopping:
                self._exit = int(message["exit"])
                self._stop(0.0)
            case kind if kind in _TO_WORKERS:
                if kind == "withdraw":
                    self._withdraw_held()
                    self._sockets.withdraw()
                for worker in self._children.workers:
                    worker.channel.send(message)

    def _listen(self, control: Child, message: Message) -> None:
        listeners = [(str(one["name"]), str(one["address"])) for one in message["listeners"]]
        try:
            bound = self._sockets.listen(listeners, self._places or _places(message["workers"]))
        except Unbound as error:
            control.channel.send({"is": "unbound", "name": error.name, "address": error.address, "error": str(error)})
        else:
            control.channel.send({"is": "listening", "listeners": bound})

    def _offer(self, worker: Child, held: Held, names: list[str], sockets: list[int]) -> None:
        offer = {"is": "offer", "revision": held.revision, "listeners": names}
        worker.channel.send(offer, [held.descriptor, *sockets])
        worker.offered = held.revision

    def _commit(self, message: Message) -> None:
        revision, names = int(message["revision"]), [str(name) for name in message["listeners"]]
        places = self._places or _places(message["workers"])
        if self._offered is not None and self._offered.revision == revision:
            if self._committed is not None:
                os.close(self._committed.descriptor)
            self._committed, self._offered = self._offered, None
            self._sockets.commit(names)
            self._places = places
            self._stop_timeout = float(message.get("stop_timeout", self._stop_timeout))
        if self._committed is None or self._committed.revision != revision:
            raise ValueError(f"nothing to commit with revision {revision}")
        for worker in self._children.workers:
            if worker.offered != revision:  # it was started after the offer, on what was committed then
                self._offer(worker, self._committed, *self._sockets.committed(worker.place))
            worker.channel.send(message)
        if not self._stopping:
            for place in self._children.empty(range(self._places)):
                self._start(place)

    def _withdraw(self) -> None:
        """Take back what control offered and can no longer commit."""
        if self._offered is not None:
            for worker in self._children.workers:
                worker.channel.send({"is": "withdraw", "revision": self._offered.revision})
        self._withdraw_held()
        if not self._stopping:
            self._sockets.withdraw()

    def _withdraw_held(self) -> None:
        if self._offered is not None:
            os.close(self._offered.descriptor)
            self._offered = None

    def _tell(self, place: int, message: Message) -> None:
        child = self._children.at(place)
        if child is None:
            return
        try:
            child.channel.send(message)
        except BadMessage as error:
            say("ERROR", "message was too large to pass on", message=message["is"], error=str(error))


def _places(workers: object) -> int:
    return max(1, min(int(str(workers)), layout.CONTROL_PLACE))
