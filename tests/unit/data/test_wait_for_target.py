"""A request that finds no target may wait for one to appear, and is served as soon as one does."""

from __future__ import annotations

from typing import Any

import pytest

from balancer.data.http.exchange import Exchange
from balancer.model.names import Evidence, State
from balancer.model.reason import Reason
from balancer.model.snapshot import Queue, Retry, Zones
from tests.support.builds import interpreted_only
from tests.unit.data.stage import GET, OK, POST, Answers, Stage, group_of, stage

NO_PANIC = Zones(panic_threshold=0)


def patient(count: int = 1, **more: Any) -> Any:
    return stage(group_of(count, wait_for_target=10.0, **more))


def refuse(set_: Stage, seconds: float) -> int:
    """Refuse every connect for so long; return how many came."""
    set_.accepts = False
    count, end = 0, set_.clock.now + seconds
    while set_.clock.now < end:
        for dial in [dial for dial in set_.loop.dials if dial.waits]:
            dial.fail()
            count += 1
        set_.go(0.05)
    return count


def accept(set_: Stage) -> None:
    """Accept whatever connects from now on."""
    set_.origin = Answers(lambda head, body: OK)
    set_.accepts = True
    for dial in [dial for dial in set_.loop.dials if dial.waits]:
        set_.accept(dial)
    set_.go(1.0)


@pytest.mark.parametrize("data", [GET, POST])
def test_the_only_target_that_refuses_is_asked_again_until_it_is_back(data: bytes) -> None:
    with patient() as set_:
        set_.accepts = False
        client = set_.ask(data)
        tries = refuse(set_, 6)
        assert 10 <= tries <= 25, "often enough to be quick, not so often that it is a load"
        assert client.take() == b""
        accept(set_)
        assert client.take().startswith(b"HTTP/1.1 200")
        assert set_.failures(Reason.CONNECT_REFUSED) == 0
        set_.check_quiet()


@pytest.mark.parametrize("count", [2, 3])
def test_several_that_are_down_together_are_asked_again_until_they_are_back(count: int) -> None:
    with patient(count) as set_:
        set_.accepts = False
        clients = [set_.ask(data) for data in (GET, POST, GET)]
        tries = refuse(set_, 6)
        assert 3 * 10 <= tries <= 3 * 25 * count, "often enough to be quick, not so often that it is a load"
        accept(set_)
        assert [client.take()[9:12] for client in clients] == [b"200"] * 3
        assert set_.failures(Reason.CONNECT_REFUSED) == 0
        set_.check_quiet()


def test_several_that_do_not_come_back_are_given_up_in_time() -> None:
    with patient(3) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        refuse(set_, 9.4)
        assert client.take() == b""
        refuse(set_, 1.6)
        assert client.take()[9:12] in (b"502", b"503")
        set_.check_quiet()


def test_those_that_are_recreated_at_other_addresses_serve_who_waits() -> None:
    with patient(3) as set_:
        set_.accepts = False
        clients = [set_.ask(GET) for _ in range(3)]
        refuse(set_, 1)
        set_.republish(targets=group_of(6).targets[3:])
        refuse(set_, 1)
        assert [client.take() for client in clients] == [b""] * 3
        accept(set_)
        assert [client.take()[9:12] for client in clients] == [b"200"] * 3
        set_.check_quiet()


def test_patience_has_an_end_and_the_reason_is_that_of_the_last_try() -> None:
    with patient() as set_:
        set_.accepts = False
        client = set_.ask(GET)
        refuse(set_, 9.5)
        assert client.take() == b""
        refuse(set_, 1.5)
        assert client.take().startswith(b"HTTP/1.1 502") and set_.failures(Reason.CONNECT_REFUSED) == 1
        set_.check_quiet()


def test_a_group_without_patience_gives_up_as_ever() -> None:
    with stage(group_of(1)) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        assert refuse(set_, 1) == 3
        assert client.take().startswith(b"HTTP/1.1 502")


def test_a_request_that_may_not_be_repeated_does_not_wait() -> None:
    with patient() as set_:
        client = set_.ask(POST)
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        assert client.take().startswith(b"HTTP/1.1 502") and set_.failures(Reason.UPSTREAM_RESET) == 1


def test_one_that_may_be_repeated_waits_after_a_reset() -> None:
    with patient() as set_:
        client = set_.ask(GET)
        set_.accepts = False
        set_.upstreams[0].feed_reset()
        refuse(set_, 3)
        accept(set_)
        assert client.take().startswith(b"HTTP/1.1 200")
        set_.check_quiet()


def test_nobody_in_rotation_is_waited_for_in_the_queue() -> None:
    with patient(zones=NO_PANIC, health_check=None) as set_:
        set_.origin = Answers(lambda head, body: OK)
        set_.state(0, State.UNHEALTHY, Evidence.HARD)
        clients = [set_.ask(GET) for _ in range(3)]
        set_.go(8)
        assert [client.take() for client in clients] == [b""] * 3 and not set_.loop.dials
        set_.state(0, State.HEALTHY)
        assert all(client.take().startswith(b"HTTP/1.1 200") for client in clients)
        set_.check_quiet()


def test_nobody_in_rotation_for_too_long_is_told_as_such() -> None:
    with patient(zones=NO_PANIC) as set_:
        set_.state(0, State.UNHEALTHY, Evidence.HARD)
        client = set_.ask(GET)
        set_.go(9.8)
        assert client.take() == b""
        set_.go(0.5)
        assert client.take().startswith(b"HTTP/1.1 503") and set_.failures(Reason.NO_HEALTHY_TARGET) == 1
        set_.check_quiet()


def test_a_group_without_targets_is_waited_for_over_a_publication() -> None:
    with patient(0) as set_:
        set_.origin = Answers(lambda head, body: OK)
        client = set_.ask(GET)
        set_.go(5)
        set_.republish(targets=group_of(1).targets)
        assert client.take().startswith(b"HTTP/1.1 200")
        late = set_.ask(GET)
        assert late.take().startswith(b"HTTP/1.1 200")


def test_a_target_that_comes_back_at_another_address_serves_those_who_wait() -> None:
    with patient() as set_:
        set_.accepts = False
        client = set_.ask(GET)
        refuse(set_, 2)
        other = group_of(2).targets[1]
        set_.republish(targets=(type(other)("t0", other.address, other.ip, other.port),))
        accept(set_)
        assert client.take().startswith(b"HTTP/1.1 200") and set_.targets[0].spec.ip == other.ip


@pytest.mark.parametrize("state", [State.HEALTHY, State.UNHEALTHY])
def test_a_group_that_leaves_the_configuration_is_waited_for_no_longer(state: State) -> None:
    with patient(zones=NO_PANIC) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        refuse(set_, 0.04)
        set_.state(0, state, Evidence.HARD if state is State.UNHEALTHY else Evidence.NONE)
        set_.publish_without("demo")
        refuse(set_, 0.5)
        assert b"target_removed" in client.take() and set_.listener.active == 0


def test_a_group_that_was_reloaded_and_then_left_the_configuration_is_waited_for_no_longer() -> None:
    with patient() as set_:
        set_.accepts = False
        client = set_.ask(GET)
        refuse(set_, 0.04)
        set_.republish(queue=Queue(7, 5.0))
        set_.publish_without("demo")
        refuse(set_, 0.5)
        assert b"target_removed" in client.take() and set_.listener.active == 0


def test_as_many_wait_as_the_queue_holds() -> None:
    with patient(zones=NO_PANIC, queue=Queue(2, 5.0)) as set_:
        set_.state(0, State.UNHEALTHY, Evidence.HARD)
        clients = [set_.ask(GET) for _ in range(3)]
        assert [client.take()[9:12] for client in clients] == [b"", b"", b"503"]
        assert set_.failures(Reason.QUEUE_FULL) == 1
    with patient(queue=Queue(2, 5.0)) as set_:
        set_.accepts = False
        clients = [set_.ask(GET) for _ in range(3)]
        refuse(set_, 2)
        assert sorted(client.take()[9:12] for client in clients) == [b"", b"", b"502"]


def test_who_leaves_waits_no_more() -> None:
    with patient() as set_:
        set_.accepts = False
        client = set_.ask(GET)
        refuse(set_, 1)
        client.feed_reset()
        assert refuse(set_, 2) <= 1
        assert set_.failures(Reason.CLIENT_CLOSED) == 1
        set_.check_quiet()
        assert set_.live.groups["demo"].hoping == 0


@interpreted_only
@pytest.mark.parametrize("patience", [0.0, 10.0])
def test_a_fault_of_ours_between_two_tries_is_that_requests_end_and_nobody_elses(
    patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(group_of(1, wait_for_target=patience)) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        refuse(set_, 0.04)
        with monkeypatch.context() as patch:
            patch.setattr(Exchange, "place_at", lambda *_: 1 / 0)
            set_.go(0.5)
        assert b"internal_error" in client.take()
        set_.check_quiet()


def test_others_are_tried_before_anybody_is_waited_for_and_max_retries_still_counts() -> None:
    with patient(3, retry=Retry(max_retries=1)) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        assert refuse(set_, 1) == 2
        assert client.take().startswith(b"HTTP/1.1 502"), "a third one was there: it is not for want of a target"


def test_a_full_group_waits_for_the_queues_time_whatever_the_patience() -> None:
    with patient(max_connections=1) as set_:
        set_.ask(GET)
        waiting = set_.ask(GET)
        set_.go(5.2)
        assert waiting.take().startswith(b"HTTP/1.1 503") and set_.failures(Reason.QUEUE_TIMEOUT) == 1
