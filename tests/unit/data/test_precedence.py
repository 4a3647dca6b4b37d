"""Places that become free go to who has waited longest, in whichever worker that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from balancer.board import layout
from balancer.data.precedence import GRACE, LEFT_ALONE, LOOK, STANDS
from balancer.model.snapshot import Queue, Retry
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, Stage, group_of, stage


def status_of(answer: bytes) -> int:
    return int(answer[9:12]) if answer else 0


class Other:
    """Another worker, of which this one sees what it writes on the board."""

    def __init__(self, set_: Stage) -> None:
        self._set = set_
        self._row = set_.board.row(1)
        self._reasons = set_.snapshot.slots["reasons|demo"]
        self._target = set_.snapshot.slots["target|demo|t0"] + layout.TARGET_ACTIVE

    def claims(self, waited: float) -> None:
        """The first in its queue has waited for so long, and it has just looked."""
        now = self._set.clock.monotonic()
        self._row[self._reasons + layout.REASONS_CLAIM] = int((now - waited) * 1000) if waited else 0
        self._row[self._reasons + layout.REASONS_CLAIMED_AT] = int(now * 1000)

    def holds(self, count: int) -> None:
        """It has so many requests at the target."""
        self._row[self._target] = count

    def release(self) -> None:
        self._row.release()


@contextmanager
def two_workers(count: int = 1) -> Iterator[tuple[Stage, Other]]:
    retry = Retry(max_retries=count)
    group = group_of(count, max_connections=1, passive=None, retry=retry, queue=Queue(timeout=30.0))
    with stage(group, places=2) as set_:
        other = Other(set_)
        yield set_, other
        other.release()


def own_claim(set_: Stage) -> int:
    return set_.place.row[set_.snapshot.slots["reasons|demo"] + layout.REASONS_CLAIM]


def served(set_: Stage, client: FakeTransport) -> bool:
    """Return whether a client's request is at the target, and let it be answered."""
    if not set_.targets[0].active:
        return False
    set_.answer(OK)
    return status_of(client.take()) == 200


def test_who_has_just_come_leaves_a_place_to_one_who_waits_in_another_worker() -> None:
    with two_workers() as (set_, other):
        other.claims(1.0)
        client = set_.ask(GET)
        assert not set_.targets[0].active
        other.holds(1)  # it took the place
        other.claims(0.0)
        set_.go(1.0)
        assert not set_.targets[0].active
        other.holds(0)
        set_.go(2 * LOOK)
        assert served(set_, client), "and what another left is seen soon"
        set_.check_quiet()


def test_who_has_waited_as_long_goes_first_where_the_place_is() -> None:
    with two_workers() as (set_, other):
        first, second = set_.ask(GET), set_.ask(GET)
        set_.go(1.0)
        other.claims(1.0 + GRACE / 2000)
        set_.answer(OK)
        assert status_of(first.take()) == 200
        assert served(set_, second)


def test_who_has_waited_longer_elsewhere_goes_before_who_waits_here() -> None:
    with two_workers() as (set_, other):
        first, second = set_.ask(GET), set_.ask(GET)
        set_.go(1.0)
        other.claims(1.2)
        set_.answer(OK)
        assert status_of(first.take()) == 200 and not set_.targets[0].active
        other.claims(0.5)  # that one was served meanwhile, the next has not waited as long
        set_.go(2 * LOOK)
        assert served(set_, second)


def test_a_worker_that_looks_no_more_claims_nothing() -> None:
    with two_workers() as (set_, other):
        other.claims(1.0)
        set_.go(STANDS / 1000)
        assert served(set_, set_.ask(GET))


def test_a_place_that_nobody_takes_is_taken_all_the_same() -> None:
    """The other one may have been told something else of the target."""
    with two_workers() as (set_, other):
        other.claims(1.0)
        client = set_.ask(GET)
        for _ in range(12):
            assert not set_.targets[0].active
            set_.go(LEFT_ALONE / 12_000)
            other.claims(1.0)
        set_.go(2 * LOOK)
        assert served(set_, client)


def test_what_was_left_alone_once_counts_no_more_when_it_was_taken() -> None:
    with two_workers() as (set_, other):
        other.claims(1.0)
        client = set_.ask(GET)
        other.holds(1)
        set_.go(1.0)
        other.claims(2.5)
        other.holds(0)
        set_.go(2 * LOOK)
        assert not set_.targets[0].active, "this is another turn than the one before"
        other.claims(0.0)
        set_.go(2 * LOOK)
        assert served(set_, client)


def test_who_waits_says_so_and_takes_it_back() -> None:
    with two_workers() as (set_, _):
        first = set_.ask(GET)
        assert own_claim(set_) == 0
        second, third = set_.ask(GET), set_.ask(GET)
        since = set_.clock.monotonic()
        set_.go(1.0)
        assert own_claim(set_) == pytest.approx(since * 1000, abs=1)
        third.feed_reset()
        set_.answer(OK)
        set_.answer(OK)
        assert [status_of(client.take()) for client in (first, second)] == [200, 200]
        assert own_claim(set_) == 0
        set_.check_quiet()


def test_who_would_not_go_anywhere_claims_no_place_of_others() -> None:
    """It waits for the other target: a claim would keep all workers from the one that it was at."""
    with two_workers(2) as (set_, _):
        set_.ask(GET)
        set_.ask(GET)
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        set_.go(1.0)
        assert set_.live.groups["demo"].waiting and own_claim(set_) == 0
