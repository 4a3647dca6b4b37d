"""Offer and commit: all of them or none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from balancer.control.places import Places
from balancer.control.publish import Publisher, Refused
from balancer.control.reload import hash_of, shared
from balancer.link import memory
from balancer.link.messages import Message, Place
from balancer.model import codec
from balancer.model.snapshot import Listener, Snapshot
from tests.unit.control.scene import group, snapshot, target

SNAPSHOT = snapshot(group(target("a")), revision=4)


class Workers:
    """Plays supervisor and workers: `script` says what each answers to a message."""

    def __init__(self, places: int, **script: list[dict[str, Any]]) -> None:
        self.script = script
        self.said: list[Message] = []
        self.offered: list[bytes] = []
        self.places = Places(Place(place, 100 + place, 3) for place in range(places))
        self.publisher = Publisher(self.send, self.places, bound=0.2)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        self.said.append(message)
        self.offered += [memory.content(os.dup(one)) for one in descriptors]
        for answer in self.script.get(message["is"], []):
            asyncio.get_running_loop().call_soon(self.hear, answer)
        return True

    def hear(self, message: Message) -> None:
        self.places.hear(message)
        self.publisher.hear(message)

    @property
    def kinds(self) -> list[str]:
        return [message["is"] for message in self.said]


def of(kind: str, place: int, **more: Any) -> dict[str, Any]:
    return {"is": kind, "place": place, "pid": 100 + place, "revision": 4, **more}


BUILT = [of("built", 0), of("built", 1)]
SWAPPED = [of("swapped", 0), of("swapped", 1)]


async def test_all_build_it_then_all_use_it() -> None:
    workers = Workers(2, offer=BUILT, commit=SWAPPED)
    done: list[list[str]] = []
    await workers.publisher.publish(SNAPSHOT, lambda: done.append(workers.kinds))
    assert workers.kinds == ["offer", "commit"]
    assert done == [["offer"]]
    assert codec.decode(workers.offered[0]) == SNAPSHOT
    assert not workers.places.behind(4)


FAILURES = [
    ("one refusal and nobody changes", [of("built", 0), of("refused", 1, error="no room")], "refused it: no room"),
    ("silence and nobody changes", [of("built", 0)], "no answer of worker 1"),
    ("an answer to another offer is none", [of("built", 0), of("built", 1, revision=3)], "no answer of worker 1"),
]


@pytest.mark.parametrize(("answers", "said"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
async def test_a_snapshot_is_taken_back(answers: list[dict[str, Any]], said: str) -> None:
    workers = Workers(2, offer=answers)
    with pytest.raises(Refused, match=said) as caught:
        await workers.publisher.publish(SNAPSHOT, lambda: pytest.fail("nothing may be committed"))
    assert caught.value.passing is ("no answer" in said)
    assert workers.kinds == ["offer", "withdraw"]


async def test_a_commit_that_cannot_be_sent_is_no_refusal() -> None:
    """Control has taken the snapshot for its own by then; who is behind is told again."""

    class Full(Workers):
        def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
            return super().send(message, descriptors) and message["is"] != "commit"

    workers, taken = Full(2, offer=BUILT), []
    await workers.publisher.publish(SNAPSHOT, lambda: taken.append(True))
    assert taken == [True]
    assert workers.places.behind(SNAPSHOT.revision)


async def test_who_is_lost_meanwhile_is_not_waited_for() -> None:
    lost = {"is": "worker", "event": "lost", "place": 1, "pid": 101, "detail": ""}
    workers = Workers(2, offer=[of("built", 0), lost], commit=[of("swapped", 0)])
    await workers.publisher.publish(SNAPSHOT, lambda: None)
    assert workers.kinds == ["offer", "commit"]


async def test_without_a_worker_there_is_nobody_to_wait_for() -> None:
    workers = Workers(0)
    await workers.publisher.publish(SNAPSHOT, lambda: None)
    assert workers.kinds == ["offer", "commit"]


async def test_an_address_that_cannot_be_bound_is_named() -> None:
    error = {"is": "unbound", "name": "web", "address": "0.0.0.0:80", "error": "permission denied (use another port)"}
    workers = Workers(1, listen=[error])
    with pytest.raises(Refused, match="permission denied") as caught:
        await workers.publisher.listen(SNAPSHOT)
    assert caught.value.listener == "web"


async def test_addresses_come_back_as_bound() -> None:
    workers = Workers(1, listen=[{"is": "listening", "listeners": {"web": "127.0.0.1:4711"}}])
    made = snapshot(group(target("a")))
    listeners = (Listener("web", "127.0.0.1:0"),)
    assert await workers.publisher.listen(type(made)(listeners=listeners)) == {"web": "127.0.0.1:4711"}
    assert workers.said[0]["listeners"] == [{"name": "web", "address": "127.0.0.1:0"}]


def test_places_know_who_serves_and_who_is_behind() -> None:
    places = Places([Place(0, 100, 3), Place(1, 0, 0)])
    assert (places.serving(2), [worker.pid for worker in places.behind(4)]) == (1, [100])
    places.hear({"is": "worker", "event": "started", "place": 1, "pid": 201})
    assert places.serving(2) == 1
    places.hear({"is": "ready", "place": 1, "pid": 201, "revision": 4})
    assert (places.serving(2), places.pids()) == (2, {100, 201})
    places.hear({"is": "worker", "event": "lost", "place": 0, "pid": 100})
    assert (places.serving(2), places.behind(4)) == (1, [])
    places.hear({"is": "worker", "event": "lost", "place": 1, "pid": 200})  # its predecessor
    assert places.serving(2) == 1


def test_what_a_reload_leaves_alone_is_the_very_same_afterwards() -> None:
    def read(limit: int) -> Snapshot:
        groups = (group(target("a")), replace(group(target("b"), name="other"), max_connections=limit))
        return Snapshot(listeners=(Listener("web", "127.0.0.1:1"),), target_groups=groups)

    old, new = read(5), read(6)
    both = shared(old, new)
    assert both == new
    assert both.listeners[0] is old.listeners[0] and both.target_groups[0] is old.target_groups[0]
    assert both.target_groups[1] is new.target_groups[1]
    assert hash_of(both) == hash_of(read(6)) != hash_of(old)
