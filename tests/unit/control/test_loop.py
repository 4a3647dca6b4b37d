"""Control as a whole, between a supervisor that the test plays and targets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from balancer.board import layout
from balancer.board.board import Board, state_at
from balancer.control.discovery.names import Answer
from balancer.control.loop import Control, instant
from balancer.control.publish import Refused
from balancer.control.states import kept_on_board
from balancer.link import memory
from balancer.link.channel import Channel, pair
from balancer.link.messages import ControlStart, Message, Place
from balancer.model import codec
from balancer.model.names import CheckType, State
from balancer.model.snapshot import Discover, HealthCheck, Passive, Snapshot, Target, TargetGroup
from tests.support.waiting import wait_for_async
from tests.unit.control.scene import board

CHECK = HealthCheck(type=CheckType.TCP, interval=0.2, fast_interval=0.05, timeout=0.2, unhealthy_threshold=2)


class Supervisor:
    """The other end of control's channel, with `workers` that do as they are told."""

    def __init__(self, channel: Channel, workers: int) -> None:
        self.channel, self.workers = channel, workers
        self.offered: Snapshot | None = None
        self.committed: list[Snapshot] = []
        self.said: list[Message] = []
        self.refusing = ""
        channel.attach(asyncio.get_running_loop(), self.heard, lambda: None)

    def heard(self, message: Message, descriptors: list[int]) -> None:
        self.said.append(message)
        revision = message.get("revision", 0)
        match message["is"]:
            case "listen":
                bound = {one["name"]: one["address"] for one in message["listeners"]}
                self.channel.send({"is": "listening", "listeners": bound})
            case "offer":
                self.offered = codec.decode(memory.content(descriptors[0]))
                os.close(descriptors[0])
                kind = {"is": "refused", "error": self.refusing} if self.refusing else {"is": "built"}
                self.all_say({**kind, "revision": revision})
            case "commit":
                assert self.offered is not None
                self.committed.append(self.offered)
                self.all_say({"is": "swapped", "revision": revision})

    def all_say(self, message: Message) -> None:
        for place in range(self.workers):
            self.channel.send({**message, "place": place, "pid": 500 + place})

    def kinds(self) -> list[str]:
        return [message["is"] for message in self.said]


class Stage:
    """Control with its supervisor; `names` is what the resolver knows."""

    def __init__(self, made: Board, running: Snapshot | None = None, workers: int = 2) -> None:
        ours, theirs = pair()
        self.board = made
        self.names: dict[str, Answer] = {}
        self.supervisor = Supervisor(Channel(theirs), workers)
        channel = Channel(ours)
        revision = running.revision if running is not None else 1
        places = tuple(Place(place, 500 + place, revision) for place in range(workers))
        self.control = Control(channel, made, ControlStart(places), 64, lambda host: self.names.get(host, Answer()))
        channel.attach(asyncio.get_running_loop(), self.control.heard, self.control.ended.set)
        self.channel = channel
        self.tasks = [asyncio.create_task(part) for part in self.control.parts()]

    def state(self, name: str) -> State | None:
        record = self.control.ledger.records.get(("demo", name))
        return record.state if record is not None else None

    def addresses(self) -> dict[str, str]:
        assert self.control.running is not None
        return {one.name: one.ip for one in self.control.running.target_groups[0].targets}

    async def healthy(self, *names: str, within: float = 5.0) -> None:
        await wait_for_async(
            lambda: all(self.state(name) is State.HEALTHY for name in names), within, f"{names} healthy"
        )

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.channel.close()
        self.supervisor.channel.close()


@asynccontextmanager
async def stage(running: Snapshot | None = None) -> AsyncIterator[Stage]:
    with board() as made:
        one = Stage(made, running)
        try:
            yield one
        finally:
            await one.end()


@asynccontextmanager
async def listening(*ips: str, port: int = 0) -> AsyncIterator[int]:
    """Accept connections on one port of several loopback addresses."""
    async with contextlib.AsyncExitStack() as servers:
        for ip in ips:
            server = await asyncio.start_server(lambda _, writer: writer.close(), ip, port)
            await servers.enter_async_context(server)
            port = server.sockets[0].getsockname()[1]
        yield port


def base(*targets: Target, port: int = 0, check: HealthCheck | None = CHECK, version: int = 1) -> Snapshot:
    found = (Discover("web", port, "zone-a"),) if port else ()
    made = TargetGroup("demo", targets=targets, discover=found, health_check=check, drain_timeout=5.0)
    return Snapshot(version=version, workers=2, target_groups=(made,))


async def test_a_container_that_comes_back_with_another_address_serves_again_at_once() -> None:
    async with stage() as one, listening("127.0.0.2", "127.0.0.4") as port:
        async with listening("127.0.0.3", port=port):
            one.names["web"] = Answer(("127.0.0.2", "127.0.0.3"))
            await one.control.take(base(port=port))
            await one.healthy("web#1", "web#2")
        # 127.0.0.3 is gone; its successor is known to the resolver, and a worker tells of a failed connect
        one.names["web"] = Answer(("127.0.0.2", "127.0.0.4"))
        one.supervisor.channel.send({"is": "unreachable", "group": "demo", "target": "web#2", "place": 0, "pid": 500})
        await one.healthy("web#3", within=2.0)
        assert one.addresses()["web#3"] == "127.0.0.4"
        await wait_for_async(lambda: set(one.addresses()) == {"web#1", "web#3"}, 4.0, "web#2 is gone")
        # what web#2 has counted keeps its zone, also for a control that never saw it
        running = one.control.running
        assert running is not None
        async with stage(running) as second:
            second.control.adopt(running, base(port=port), {}, ())
            assert second.control.zones["demo", "web#2"] == "zone-a"
        assert not [standing for standing in one.control.ledger.standings("demo") if standing.missing]


async def test_a_name_that_is_not_there_yet_becomes_targets_within_a_second_and_a_half() -> None:
    async with stage() as one, listening("127.0.0.2") as port:
        await one.control.take(base(port=port))
        assert one.addresses() == {}
        one.names["web"] = Answer(("127.0.0.2",))
        await one.healthy("web#1", within=1.5)
        assert one.supervisor.committed[-1].version == 1


async def test_one_refusal_keeps_the_old_snapshot_everywhere() -> None:
    async with stage() as one:
        await one.control.take(base(Target("a", "127.0.0.1:1", "127.0.0.1", 1), check=None))
        one.supervisor.refusing = "no room"
        with pytest.raises(Refused, match="no room"):
            await one.control.take(base(Target("b", "127.0.0.1:1", "127.0.0.1", 1), check=None, version=2))
        assert one.addresses() == {"a": "127.0.0.1"}
        assert one.board.cells[layout.CONFIG_VERSION] == 1
        await wait_for_async(lambda: one.supervisor.kinds()[-1] == "withdraw", 2.0, "the offer is taken back")


async def test_a_worker_that_began_on_an_older_snapshot_is_brought_up_to_date() -> None:
    async with stage() as one:
        await one.control.take(base(Target("a", "127.0.0.1:1", "127.0.0.1", 1), check=None))
        revision = one.supervisor.committed[-1].revision
        one.supervisor.channel.send({"is": "ready", "place": 1, "pid": 501, "revision": revision - 1 or 1})
        await one.control.take(base(Target("a", "127.0.0.1:2", "127.0.0.1", 2), check=None, version=2))
        one.supervisor.channel.send({"is": "ready", "place": 1, "pid": 501, "revision": 1})
        await wait_for_async(lambda: one.supervisor.committed[-1].revision == 3, 2.0, "it is offered again")


async def test_an_ejection_is_published_to_all_or_taken_back() -> None:
    async with stage() as one:
        targets = [Target(name, "127.0.0.1:1", "127.0.0.1", 1) for name in "ab"]
        made = base(*targets, check=None)
        await one.control.take(replace(made, target_groups=(replace(made.target_groups[0], passive=Passive()),)))
        for name in "ab":
            eject = {"is": "eject", "group": "demo", "target": name, "kind": "connect", "place": 0, "pid": 500}
            one.supervisor.channel.send(eject)
        await wait_for_async(lambda: "veto" in one.supervisor.kinds(), 2.0, "a veto")
        veto = next(message for message in one.supervisor.said if message["is"] == "veto")
        assert (veto["target"], one.state("a"), one.state("b")) == ("b", State.EJECTED, State.HEALTHY)
        running = one.control.running
        assert running is not None
        cell = state_at(running.slots["state|demo|a"]) + layout.STATE
        await wait_for_async(lambda: one.board.cells[cell] == State.EJECTED.code, 2.0, "it stands on the board")


async def test_a_control_that_starts_anew_rebinds_and_publishes_nothing() -> None:
    async with stage() as first, listening("127.0.0.2") as port:
        first.names["web"] = Answer(("127.0.0.2",))
        await first.control.take(base(port=port))
        await first.healthy("web#1")
        running = first.control.running
        assert running is not None
        await wait_for_async(
            lambda: kept_on_board(first.board, running, instant())["demo", "web#1"].state is State.HEALTHY
        )
        second = Stage(first.board, running)
        try:
            second.names["web"] = first.names["web"]
            kept = kept_on_board(first.board, running, instant())
            second.control.adopt(running, base(port=port), kept, ())
            second.control.dns.recall({"web": ("127.0.0.2",)})
            assert second.state("web#1") is State.HEALTHY
            await wait_for_async(lambda: second.control.ledger.records["demo", "web#1"].probes, 2.0, "it is probed")
            assert set(second.supervisor.kinds()) <= {"states"}
            assert second.addresses() == {"web#1": "127.0.0.2"}
        finally:
            await second.end()
