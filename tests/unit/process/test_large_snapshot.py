"""A large snapshot is read beside the traffic: the loop goes on, and the answer comes once it is built."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from balancer.board import board
from balancer.board.board import Board
from balancer.link import memory
from balancer.link.channel import Channel
from balancer.link.messages import Message, WorkerStart
from balancer.model import codec
from balancer.model.snapshot import Listener, Snapshot, Target, TargetGroup
from balancer.process.worker import LARGE, Worker
from tests.support.waiting import wait_for_async

WEB = Listener("web", "127.0.0.1:0")
GROUPS = tuple(
    TargetGroup(f"g{n}", targets=tuple(Target(f"t{m}", f"10.{n}.0.{m}:1", f"10.{n}.0.{m}", 1) for m in range(100)))
    for n in range(30)
)
COMMIT: Message = {"is": "commit", "revision": 2, "listeners": ["web"], "workers": 1}
LARGER = Snapshot(version=2, revision=2, listeners=(WEB,), target_groups=GROUPS)


class Said:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def attach(self, *_: object) -> None:
        pass

    def answers(self) -> list[tuple[str, int]]:
        return [(one["is"], one["revision"]) for one in self.sent]


class DataPath:
    """A data path that keeps what it was given, and in which thread."""

    def __init__(self, *_: object) -> None:
        self.on_drained = lambda: None
        self.built: list[Snapshot] = []
        self.swapped: list[int] = []
        self.threads: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.fault = ""

    def prepare(self, _snapshot: Snapshot) -> dict[str, Any]:
        self.threads.append(threading.current_thread().name)
        assert self.go_on.wait(5.0)
        if self.fault:
            raise ValueError(self.fault)
        return {}

    def build(self, snapshot: Snapshot, _sockets: object, _prepared: object = None) -> None:
        self.built.append(snapshot)

    def building(self, snapshot: Snapshot, sockets: object, prepared: object = None) -> Iterator[None]:
        self.build(snapshot, sockets, prepared)
        yield

    def swap(self) -> None:
        self.swapped.append(self.built[-1].revision)

    def withdraw(self) -> None:
        pass

    def states(self) -> None:
        pass


class Stage:
    def __init__(self, mapped: Board) -> None:
        self.said = Said()
        start = WorkerStart(place=0, places=1, revision=1, listeners=("web",))
        self.worker = Worker(asyncio.get_running_loop(), cast(Channel, self.said), mapped, start)
        self.socket = socket.create_server(("127.0.0.1", 0))
        small = Snapshot(version=1, revision=1, listeners=(WEB,))
        self.worker.begin(small, [os.dup(self.socket.fileno())], cast(Any, DataPath))
        self.data = cast(DataPath, self.worker._data)
        self.said.sent.clear()

    def offer(self, snapshot: Snapshot) -> None:
        data = codec.encode_by_parts(snapshot)
        assert len(data) > LARGE
        message = {"is": "offer", "revision": snapshot.revision, "listeners": ["web"]}
        self.worker._heard(message, [memory.sealed(data), os.dup(self.socket.fileno())])


@pytest.fixture
def mapped() -> Iterator[Board]:
    descriptor = board.create()
    one = Board(descriptor)
    os.close(descriptor)
    yield one


async def test_a_large_snapshot_is_read_in_a_thread_and_built_by_the_loop(mapped: Board) -> None:
    stage = Stage(mapped)
    usual = sys.getswitchinterval()
    stage.data.go_on.clear()
    stage.offer(LARGER)
    await wait_for_async(lambda: stage.data.threads, 5.0)
    assert stage.said.sent == [] and stage.data.threads[-1] != threading.main_thread().name
    stage.data.go_on.set()
    await wait_for_async(lambda: stage.said.answers() == [("built", 2)], 5.0)
    assert stage.data.built[-1] == LARGER
    assert sys.getswitchinterval() == usual
    after = replace(LARGER, revision=3, target_groups=(*GROUPS[1:], replace(GROUPS[0], max_connections=5)))
    stage.offer(after)
    await wait_for_async(lambda: stage.said.answers()[-1] == ("built", 3), 5.0)
    assert stage.data.built[-1] == after
    assert stage.data.built[-1].target_groups[0] is stage.data.built[-2].target_groups[1]  # it is not read again


async def test_what_is_withdrawn_while_it_is_read_is_not_built(mapped: Board) -> None:
    stage = Stage(mapped)
    stage.data.go_on.clear()
    stage.offer(LARGER)
    await wait_for_async(lambda: stage.data.threads, 5.0)
    stage.worker._heard({"is": "withdraw", "revision": 2}, [])
    stage.data.go_on.set()
    stage.offer(replace(LARGER, revision=4))
    await wait_for_async(lambda: stage.said.answers() == [("built", 4)], 5.0)
    assert [one.revision for one in stage.data.built[1:]] == [4]


async def test_what_cannot_be_prepared_is_refused_with_its_reason(mapped: Board) -> None:
    stage = Stage(mapped)
    stage.data.fault = "no such pattern"
    stage.offer(LARGER)
    await wait_for_async(lambda: stage.said.answers() == [("refused", 2)], 5.0)
    assert stage.said.sent[0]["error"] == "no such pattern"


async def test_a_commit_that_comes_while_it_is_read_is_done_once_it_is_built(mapped: Board) -> None:
    stage = Stage(mapped)
    stage.data.go_on.clear()
    stage.offer(LARGER)
    stage.worker._heard(COMMIT, [])
    await wait_for_async(lambda: stage.data.threads, 5.0)
    assert (stage.said.sent, stage.data.swapped) == ([], [1])
    stage.data.go_on.set()
    await wait_for_async(lambda: stage.said.answers() == [("built", 2), ("swapped", 2)], 5.0)
    assert stage.data.swapped == [1, 2]
    assert not stage.worker.done.done()


@pytest.mark.parametrize("then", ["it cannot be built", "another is committed"])
async def test_a_worker_that_cannot_do_what_is_committed_ends(mapped: Board, then: str) -> None:
    stage = Stage(mapped)
    stage.data.fault = "no such pattern"
    stage.data.go_on.clear()
    stage.offer(LARGER)
    stage.worker._heard(COMMIT if then == "it cannot be built" else {**COMMIT, "revision": 7}, [])
    stage.data.go_on.set()
    assert await asyncio.wait_for(asyncio.shield(stage.worker.done), 5.0) == 70


async def test_a_commit_is_forgotten_with_the_offer(mapped: Board) -> None:
    stage = Stage(mapped)
    stage.data.go_on.clear()
    stage.offer(LARGER)
    stage.worker._heard(COMMIT, [])
    stage.worker._heard({"is": "withdraw", "revision": 2}, [])
    stage.data.go_on.set()
    stage.offer(replace(LARGER, revision=4))
    await wait_for_async(lambda: stage.said.answers() == [("built", 4)], 5.0)
    assert stage.data.swapped == [1]
