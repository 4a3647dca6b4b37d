"""Which failure may be tried again, and where."""

from __future__ import annotations

import pytest

from balancer.model.reason import Reason
from balancer.model.snapshot import Retry
from balancer.picking.retry import Budget, backoff, exclusions, may_retry, needs_budget

DEFAULT = Retry()
ALL = Retry(on=("connect", "reset", "timeout", "502", "503", "504", "429"))
WIDE = Retry(on=(*ALL.on, "non_idempotent"))
NOTHING = Retry(on=())

UNSENT = {"idempotent": False, "written": False, "replayable": True}
GET = {"idempotent": True, "written": True, "replayable": True}
POST = {"idempotent": False, "written": True, "replayable": True}
LONG_PUT = {"idempotent": True, "written": True, "replayable": False}

VERDICTS = [
    ("a refused connect, any method", DEFAULT, Reason.CONNECT_REFUSED, UNSENT, True),
    ("no route, any method", DEFAULT, Reason.CONNECT_UNREACHABLE, UNSENT, True),
    ("a connect that took too long, any method", DEFAULT, Reason.CONNECT_TIMEOUT, UNSENT, True),
    ("a failed TLS handshake, any method", DEFAULT, Reason.UPSTREAM_TLS_FAILED, UNSENT, True),
    ("an untrusted certificate, any method", DEFAULT, Reason.UPSTREAM_TLS_UNTRUSTED, UNSENT, True),
    ("no local port, any method", DEFAULT, Reason.NO_LOCAL_RESOURCES, UNSENT, True),
    ("connect is not asked for", NOTHING, Reason.CONNECT_REFUSED, UNSENT, False),
    ("a reset GET", DEFAULT, Reason.UPSTREAM_RESET, GET, True),
    ("a closed GET", DEFAULT, Reason.UPSTREAM_CLOSED, GET, True),
    ("a reset POST", DEFAULT, Reason.UPSTREAM_RESET, POST, False),
    ("a POST of which nothing was written", DEFAULT, Reason.UPSTREAM_RESET, UNSENT, True),
    ("a PUT whose body is no longer kept", DEFAULT, Reason.UPSTREAM_RESET, LONG_PUT, False),
    ("a reset POST where non_idempotent is asked for", WIDE, Reason.UPSTREAM_RESET, POST, True),
    ("a slow GET", DEFAULT, Reason.RESPONSE_TIMEOUT, GET, False),
    ("a slow GET where timeout is asked for", ALL, Reason.RESPONSE_TIMEOUT, GET, True),
    ("a slow POST where timeout is asked for", ALL, Reason.RESPONSE_TIMEOUT, POST, False),
    ("a 503", DEFAULT, None, {**GET, "upstream_status": 503}, False),
    ("a 503 where it is asked for", ALL, None, {**GET, "upstream_status": 503}, True),
    ("a 503 with Retry-After", ALL, None, {**GET, "upstream_status": 503, "retry_after": True}, False),
    ("a 503 of a POST", ALL, None, {**POST, "upstream_status": 503}, False),
    ("a 500 is never tried again", WIDE, None, {**GET, "upstream_status": 500}, False),
    ("a bad response is never tried again", WIDE, Reason.BAD_RESPONSE, GET, False),
    ("a client that left", WIDE, Reason.CLIENT_CLOSED, GET, False),
    ("a rescue needs no word", NOTHING, Reason.RESCUE, GET, True),
    ("a POST is not rescued", WIDE, Reason.RESCUE, POST, False),
    ("a POST that still waits for its connection is rescued", NOTHING, Reason.RESCUE, UNSENT, True),
    ("a PUT whose body is no longer kept is not rescued", DEFAULT, Reason.RESCUE, LONG_PUT, False),
    ("a pooled connection that closed as it was taken", NOTHING, Reason.REUSE_RACE, GET, True),
]


@pytest.mark.parametrize(
    ("retry", "reason", "request_", "expected"), [r[1:] for r in VERDICTS], ids=[r[0] for r in VERDICTS]
)
def test_what_may_be_tried_again(
    retry: Retry, reason: Reason | None, request_: dict[str, bool], expected: bool
) -> None:
    assert may_retry(retry, reason, **request_) is expected


@pytest.mark.parametrize(
    ("reason", "retries", "status", "expected"),
    [
        (Reason.CONNECT_REFUSED, 0, 0, False),
        (Reason.UPSTREAM_RESET, 0, 0, False),
        (Reason.CONNECT_REFUSED, 1, 0, True),
        (Reason.RESPONSE_TIMEOUT, 0, 0, True),
        (None, 0, 503, True),
        (Reason.RESCUE, 3, 0, False),
        (Reason.REUSE_RACE, 1, 0, False),
    ],
)
def test_one_move_of_a_request_is_outside_the_budget(
    reason: Reason | None, retries: int, status: int, expected: bool
) -> None:
    assert needs_budget(reason, retries, upstream_status=status) is expected


@pytest.mark.parametrize(
    ("in_flight", "active", "expected"),
    [(0, 0, True), (2, 0, True), (3, 0, False), (3, 15, False), (3, 20, True), (19, 100, True), (20, 100, False)],
)
def test_the_budget_is_a_fifth_of_the_requests_but_at_least_three(in_flight: int, active: int, expected: bool) -> None:
    assert Budget(20, 3).allows(in_flight, active) is expected


ZONE_OF = ("a", "a", "b", "b", "c")
NEXT = [  # tried, slots of the tier, what to exclude
    ("nothing tried, nothing excluded", set(), (0, 1, 2, 3), [set()]),
    ("first a zone where it has not failed", {0}, (0, 1, 2, 3), [{0, 1}, {0}]),
    ("then any target not tried", {0, 2}, (0, 1, 2, 3), [{0, 2}]),
    ("a zone of one target", {4}, (0, 1, 4), [{4}]),
    ("the tier is used up", {0, 1}, (0, 1), []),
    ("what failed in another tier does not matter here", {4}, (0, 1), [{4}]),
    ("an empty tier", {0}, (), []),
]


@pytest.mark.parametrize(("tried", "tier", "expected"), [r[1:] for r in NEXT], ids=[r[0] for r in NEXT])
def test_where_a_retry_goes_next(tried: set[int], tier: tuple[int, ...], expected: list[set[int]]) -> None:
    assert list(exclusions(tried, ZONE_OF, tier)) == expected


def test_the_same_target_is_tried_again_only_after_a_growing_wait() -> None:
    assert [round(backoff(attempt, 0.0), 3) for attempt in range(4)] == [0.05, 0.1, 0.2, 0.4]
    assert backoff(0, 0.999) < 0.075
