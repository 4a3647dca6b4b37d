"""Names and the targets that they make."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from balancer.control.discovery import dns
from balancer.control.discovery.dns import Dns
from balancer.control.discovery.merge import Merged, as_written, hosts, known_addresses, merge
from balancer.control.discovery.names import Answer, Name
from balancer.control.discovery.refusal import why_refused
from balancer.model.snapshot import Discover, Target, TargetGroup
from tests.support.waiting import wait_for_async
from tests.unit.control.scene import group, snapshot, target

WEB = group(discover=(Discover("web", 8000, "zone-a"),), drain_timeout=30.0)


def found(before: Merged | None, *ips: str, now: float = 0.0, into: TargetGroup = WEB) -> Merged:
    earlier = before or Merged((), {})
    return merge(into, earlier.targets, earlier.leaving, lambda _: ips, lambda _ip, _port: False, now)


def names(merged: Merged) -> dict[str, str]:
    return {one.name: one.ip for one in merged.targets if one.name not in merged.leaving}


def test_every_address_of_a_name_becomes_a_target_with_a_number() -> None:
    first = found(None, "10.0.0.2", "10.0.0.5")
    assert first.targets[0] == Target("web#1", "10.0.0.2:8000", "10.0.0.2", 8000, 1, "zone-a")
    assert names(first) == {"web#1": "10.0.0.2", "web#2": "10.0.0.5"}


def test_an_address_keeps_its_number_whoever_comes_and_goes() -> None:
    one = found(None, "10.0.0.2", "10.0.0.5")
    two = found(one, "10.0.0.1", "10.0.0.2", "10.0.0.5")
    assert names(two) == {"web#1": "10.0.0.2", "web#2": "10.0.0.5", "web#3": "10.0.0.1"}


def test_what_vanished_drains_and_its_number_is_free_once_that_is_over() -> None:
    one = found(None, "10.0.0.2", "10.0.0.5")
    two = found(one, "10.0.0.5", "10.0.0.7", now=1.0)
    assert two.leaving == {"web#1": 31.0}
    assert names(two) == {"web#2": "10.0.0.5", "web#3": "10.0.0.7"}
    assert [target.name for target in two.targets] == ["web#2", "web#3", "web#1"]
    three = found(two, "10.0.0.5", "10.0.0.7", "10.0.0.9", now=31.0)
    assert names(three) == {"web#1": "10.0.0.9", "web#2": "10.0.0.5", "web#3": "10.0.0.7"}
    assert three.leaving == {}


def test_an_address_that_returns_while_it_drains_is_back() -> None:
    one = found(found(None, "10.0.0.2"), now=1.0)
    assert one.leaving == {"web#1": 31.0}
    assert names(found(one, "10.0.0.2", now=2.0)) == {"web#1": "10.0.0.2"}


def test_written_and_found_targets_live_together() -> None:
    both = replace(WEB, targets=(target("a", ip="10.0.0.9"), Target("b", "db:5000", "", 5000)))
    merged = found(None, "10.0.0.2", into=both)
    assert [(one.name, one.ip) for one in merged.targets] == [
        ("a", "10.0.0.9"),
        ("b", "10.0.0.2"),
        ("web#1", "10.0.0.2"),
    ]
    assert hosts(both) == ["db", "web"]


def test_a_name_that_does_not_resolve_makes_no_target_and_leaves_a_written_one_without_address() -> None:
    merged = found(None, into=replace(WEB, targets=(Target("b", "db:5000", "", 5000),)))
    assert [(one.name, one.ip) for one in merged.targets] == [("b", "")]


def test_the_configuration_can_be_told_from_what_was_made_of_it() -> None:
    written = replace(WEB, targets=(target("a", ip="10.0.0.9"), Target("b", "db:5000", "", 5000)))
    merged = found(None, "10.0.0.2", into=written)
    published = snapshot(replace(written, targets=(*merged.targets, target("old"))))
    assert as_written(published, {("demo", "old")}).target_groups == (written,)
    assert known_addresses(published, {("demo", "old")}) == {"db": ("10.0.0.2",), "web": ("10.0.0.2",)}


def test_an_error_keeps_the_last_addresses_for_ever_and_an_empty_answer_for_ten_seconds() -> None:
    name = Name()
    assert name.take(Answer(("10.0.0.1",)), 0.0)
    assert not name.take(Answer(error="servfail"), 5.0)
    assert not name.take(Answer(error="servfail"), 5000.0)
    assert list(name.addresses) == ["10.0.0.1"]
    assert not name.take(Answer(), 5001.0)
    assert not name.take(Answer(), 5010.0)
    assert name.take(Answer(), 5011.0)
    assert not name.addresses


def test_one_good_answer_forgives_an_empty_one() -> None:
    name = Name()
    name.take(Answer(("10.0.0.1",)), 0.0)
    name.take(Answer(), 1.0)
    name.take(Answer(("10.0.0.1",)), 2.0)
    assert not name.take(Answer(), 11.5)


DUE = [
    ("every five seconds when all is well", True, True, False, 105.0),
    ("every second while it has no address", False, True, False, 101.0),
    ("every second while a target is not healthy", True, False, False, 101.0),
    ("at once after a failed connect, but once a second at most", True, True, True, 101.0),
]


@pytest.mark.parametrize(("known", "well", "hurried", "due"), [row[1:] for row in DUE], ids=[row[0] for row in DUE])
def test_a_name_is_asked_about(known: bool, well: bool, hurried: bool, due: float) -> None:
    name = Name(addresses=("10.0.0.1",) if known else (), asked_at=100.0, hurried=hurried)
    assert name.due(100.2, well) == due
    assert name.due(104.0, well) == (105.0 if due == 105.0 else 104.0)


def test_an_unknown_name_is_complained_of_once_a_minute() -> None:
    name = Name()
    assert name.complaint(0.0) == ""
    name.take(Answer(), 0.0)
    said = [bool(name.complaint(second)) for second in range(121)]
    assert [second for second, one in enumerate(said) if one] == [0, 60, 120]


def test_since_when_a_name_does_not_resolve_is_known() -> None:
    name = Name()
    name.take(Answer(error="no answer in time"), 1.0)
    name.take(Answer(), 2.0)
    assert (name.failing_since, name.error) == (1.0, "the name has no address")
    name.take(Answer(("10.0.0.1",)), 3.0)
    assert (name.failing_since, name.error) == (None, "")


REFUSED = [
    ("0.0.0.0", 8000, True),
    ("::", 8000, True),
    ("224.0.0.1", 8000, True),
    ("127.0.0.1", 8080, True),
    ("127.0.0.1", 8081, False),
    ("10.1.1.1", 8080, False),
]


@pytest.mark.parametrize(("ip", "port", "refused"), REFUSED)
def test_an_address_that_can_be_no_target_is_refused(ip: str, port: int, refused: bool) -> None:
    assert bool(why_refused(ip, port, [("0.0.0.0", 8080)])) is refused


def test_ipv4_is_preferred_and_the_order_of_an_answer_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, **__: object) -> list[tuple[object, ...]]:
        four, six = socket.AF_INET, socket.AF_INET6
        return [
            (four, 1, 6, "", ("10.0.0.10", 0)),
            (six, 1, 6, "", ("fd00::1", 0, 0, 0)),
            (four, 1, 6, "", ("10.0.0.9", 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert dns.ask("web") == Answer(("10.0.0.9", "10.0.0.10"))


async def test_a_change_is_told_and_a_slow_resolver_holds_nobody_up() -> None:
    answers = {"web": Answer(("10.0.0.1",)), "gone": Answer()}
    changes: list[int] = []
    names = Dns(lambda: changes.append(1), lambda _: True, lambda host: answers[host])
    names.want(["web", "gone"])
    running = asyncio.create_task(names.run())
    await names.answered(2.0)
    assert (names.addresses("web"), names.addresses("gone"), len(changes)) == (("10.0.0.1",), (), 1)
    answers["web"] = Answer(("10.0.0.2",))
    names.hurry("web")
    await wait_for_async(lambda: names.addresses("web") == ("10.0.0.2",), 2.0)
    assert len(changes) == 2
    names.want(["gone"])
    assert names.addresses("web") == ()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
