"""publish: offers a snapshot to all workers, counts their answers, then commits it or takes it back.

    listen → listening        offer → built from every living worker → commit → swapped
           → unbound                → refused, or silence            → withdraw

Rules
1. One exchange at a time. Whoever is lost meanwhile is not waited for.
2. One refusal and nobody changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from balancer.control import log
from balancer.control.places import Places
from balancer.link import memory
from balancer.link.messages import Message
from balancer.model import codec
from balancer.model.snapshot import Snapshot
from balancer.model.uncollected import uncollected

BOUND = 5.0  # seconds for the answers of an exchange


class Refused(Exception):
    """The snapshot cannot be used; nothing has changed. `listener` names one that cannot be bound.

    `passing`: it was not for what it says, but for somebody who did not answer; it may well be taken in a moment.
    """

    def __init__(self, words: str, listener: str = "", *, passing: bool = False) -> None:
        super().__init__(words)
        self.listener = listener
        self.passing = passing


@dataclass(slots=True)
class _Exchange:
    """What is being waited for: an answer of each of these processes, or the supervisor's."""

    answer: str
    revision: int = 0
    pids: set[int] = field(default_factory=set)
    reply: Message | None = None
    refusal: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self) -> None:
        if not self.pids:
            self.over.set()


class Publisher:
    """Control's end of the exchanges with workers and supervisor."""

    def __init__(self, send: Callable[[Message, Sequence[int]], bool], places: Places, bound: float = BOUND) -> None:
        """`send(message, descriptors)` to the supervisor; `bound` in seconds."""
        self._send = send
        self._places = places
        self._bound = bound
        self._exchange: _Exchange | None = None

    def hear(self, message: Message) -> None:
        """Take an answer; `Places` has heard the message before."""
        exchange = self._exchange
        if exchange is None:
            return
        kind = message["is"]
        if kind in ("listening", "unbound") and exchange.answer == "listening":
            exchange.reply = message
            exchange.over.set()
        elif kind == "refused" and exchange.answer == "built" and message["revision"] == exchange.revision:
            exchange.refusal = f"worker {message.get('place')} refused it: {message.get('error')}"
            exchange.over.set()
        elif kind == exchange.answer and message["revision"] == exchange.revision:
            exchange.pids.discard(int(message["pid"]))
            exchange.settle()
        elif kind == "worker" and exchange.answer != "listening":
            exchange.pids &= self._places.pids()
            exchange.settle()

    async def listen(self, snapshot: Snapshot) -> dict[str, str]:
        """Have all its listeners bound; return name → `ip:port`. Raises Refused."""
        listeners = [{"name": one.name, "address": one.address} for one in snapshot.listeners]
        exchange = _Exchange("listening")
        await self._run(exchange, {"is": "listen", "listeners": listeners, "workers": snapshot.workers})
        if exchange.reply is None:
            raise Refused("the supervisor did not say whether it can listen", passing=True)
        if exchange.reply["is"] == "unbound":
            raise Refused(str(exchange.reply["error"]), str(exchange.reply["name"]))
        return dict(exchange.reply["listeners"])

    async def publish(self, snapshot: Snapshot, before_commit: Callable[[], None]) -> None:
        """Bring the snapshot to every worker; returns once they run on it. Raises Refused: nobody does.

        `before_commit` is called when all have built it, just before they are told to use it.
        """
        revision = snapshot.revision
        with uncollected():
            descriptor = memory.sealed(codec.encode_by_parts(snapshot))
        try:
            exchange = _Exchange("built", revision, self._places.pids())
            await self._run(exchange, {"is": "offer", "revision": revision}, [descriptor])
        finally:
            os.close(descriptor)
        if exchange.refusal or exchange.pids:
            self.withdraw(revision)
            late = sorted(worker.place for worker in self._places.workers.values() if worker.pid in exchange.pids)
            if exchange.refusal:
                raise Refused(exchange.refusal)
            raise Refused(f"no answer of worker {', '.join(map(str, late))} in {self._bound:g} s", passing=True)
        before_commit()
        exchange = _Exchange("swapped", revision, self._places.pids())
        commit: Message = {"is": "commit", "revision": revision, "workers": snapshot.workers}
        commit["listeners"] = [listener.name for listener in snapshot.listeners]
        commit["stop_timeout"] = snapshot.stop_timeout
        with contextlib.suppress(Refused):  # it is taken, whoever hears of it when: who is behind is told again
            await self._run(exchange, commit)
        if exchange.pids:
            log.warn("workers did not take over in time", revision=revision, workers=len(exchange.pids))

    def withdraw(self, revision: int) -> None:
        """Have workers forget an offer, and the supervisor close what it has bound for it."""
        self._send({"is": "withdraw", "revision": revision}, ())

    async def _run(self, exchange: _Exchange, message: Message, descriptors: Sequence[int] = ()) -> None:
        if exchange.answer != "listening":
            exchange.settle()
        self._exchange = exchange
        try:
            if not self._send(message, descriptors):
                raise Refused("the supervisor takes no messages", passing=True)
            async with asyncio.timeout(self._bound):
                await exchange.over.wait()
        except TimeoutError:
            pass
        finally:
            self._exchange = None
