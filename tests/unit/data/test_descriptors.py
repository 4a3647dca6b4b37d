"""Descriptors: a tenth is kept free, those who rest go first, and it ends by itself."""

from __future__ import annotations

import errno
import logging

import pytest

from balancer.data import descriptors
from balancer.data.descriptors import Descriptors
from balancer.model.names import State
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import ClientTimeouts
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, Stage, stage

TICK = 0.11
OTHERS = 10  # neither clients nor targets


def narrow(set_: Stage) -> Descriptors:
    """Give the worker 100 descriptors, ten of them taken by neither clients nor targets."""
    place = set_.place
    place.descriptors = Descriptors(100)
    live = set_.live

    def counted(limit: int) -> int:
        open_ = sum(len(target.connections) + target.connecting for target in live.targets.values())
        return OTHERS + place.connections + open_

    descriptors._open = counted  # undone by the fixture
    place.descriptors._others = OTHERS
    set_.go(TICK)
    return place.descriptors


@pytest.fixture(autouse=True)
def _count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_open", descriptors._open)


def accepting(set_: Stage) -> bool:
    return not set_.loop.servers[-1].closed


def served(set_: Stage, count: int) -> list[FakeTransport]:
    """Return clients that were served and rest, in the order of their rest."""
    clients = []
    for _ in range(count):
        clients.append(set_.ask(GET))
        set_.answer(OK)
        set_.go(0.001)
    return clients


def test_at_nine_tenths_those_who_rest_longest_are_let_go_and_others_are_accepted() -> None:
    with stage(timeouts=ClientTimeouts(first_byte=0.0)) as set_:
        narrow(set_)
        resting = served(set_, 40)
        silent = [set_.client() for _ in range(45)]
        set_.go(3 * TICK)
        gone = [client.lost for client in resting]
        assert 5 <= gone.count(True) <= 20 and gone == sorted(gone, reverse=True)
        assert not any(client.lost for client in silent), "who has just come is not sent away"
        assert accepting(set_)
        assert set_.ask(GET).is_closing() is False


def test_without_anybody_resting_no_more_are_accepted_until_some_leave() -> None:
    with stage(timeouts=ClientTimeouts(first_byte=0.0)) as set_:
        narrow(set_)
        silent = []
        while accepting(set_):
            silent.append(set_.client())
            assert len(silent) <= 80, "a tenth stays free"
        assert len(silent) >= 75
        assert set_.cell("reasons|", REASON_CODES[Reason.NO_LOCAL_RESOURCES]) == 1
        set_.go(1.0)
        assert not accepting(set_)
        for client in silent[:3]:
            client.feed_reset()
        set_.go(1.0)
        assert not accepting(set_), "not at once: it would begin and end all the time"
        for client in silent[3:15]:
            client.feed_reset()
        set_.go(1.0)
        assert accepting(set_)


def test_no_descriptor_for_a_connect_is_no_fault_of_the_target(caplog: pytest.LogCaptureFixture) -> None:
    with stage() as set_, caplog.at_level(logging.WARNING, "balancer.worker"):
        set_.accepts = False
        for _ in range(20):
            client = set_.ask(GET)
            set_.loop.dials[0].fail(errno.EMFILE)
            set_.loop.run()
            answer = client.take()
            assert answer.startswith(b"HTTP/1.1 503") and b'details="no_local_resources"' in answer
        assert set_.targets[0].state in (State.UNKNOWN, State.HEALTHY) and not set_.targets[0].ejected_until
        assert set_.said == [], "control hears of no failure"
        assert set_.failures(Reason.NO_LOCAL_RESOURCES) == 20
        assert len([line for line in caplog.messages if "run out" in line]) == 1
        set_.check_quiet()
        set_.accepts = True
        client = set_.ask(GET)
        set_.answer(OK)
        assert client.take().endswith(b"ok")


def test_a_listener_that_cannot_begin_to_accept_tries_again() -> None:
    with stage() as set_:
        create = set_.loop.create_server

        async def fails(*_: object, **__: object) -> object:
            raise OSError(errno.EMFILE, "Too many open files")

        set_.loop.create_server = fails  # type: ignore[method-assign,assignment]
        set_.listener.hold_back()
        set_.go(1.0)
        assert not accepting(set_)
        set_.loop.create_server = create  # type: ignore[method-assign]
        set_.go(1.0)
        assert accepting(set_)


def test_all_that_wait_to_be_accepted_find_room() -> None:
    """They are accepted in one go, before anybody can say that it is enough."""
    with stage(timeouts=ClientTimeouts(first_byte=0.0)) as set_:
        narrow(set_)
        connected = 0
        while accepting(set_):
            waiting = set_.listener.accepting._backlog + 1
            connected += waiting
            assert connected + OTHERS <= 100
            for _ in range(waiting):
                set_.client()
            set_.loop.run()
        assert connected >= 75
    assert Descriptors(65_536).backlog == 4096
