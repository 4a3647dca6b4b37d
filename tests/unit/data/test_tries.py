"""A request over its tries: when one fails it goes elsewhere, or its client is told why."""

from __future__ import annotations

import errno
import json

import pytest

from balancer.board import layout
from balancer.board.board import state_at
from balancer.data.target import MAX_CONNECTING
from balancer.model.names import Evidence, State
from balancer.model.reason import Reason
from balancer.model.snapshot import Queue, Retry, UpstreamTimeouts, Zones
from tests.support import http1
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, POST, Answers, Stage, group_of, stage

SLACK = 0.2
PUT_CHUNKED = b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + http1.chunked(b"body")
NO_RETRY = Retry(max_retries=0)


def warm(set_: Stage) -> None:
    """Let a connection to the first target be pooled."""
    set_.ask(GET)
    set_.answer(OK)
    set_.upstreams[-1].take()


def status_of(answer: bytes) -> int:
    return int(answer[9:12]) if answer else 0


# Connecting


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ECONNREFUSED, Reason.CONNECT_REFUSED),
        (errno.ECONNRESET, Reason.CONNECT_REFUSED),
        (errno.EHOSTUNREACH, Reason.CONNECT_UNREACHABLE),
        (errno.ENETUNREACH, Reason.CONNECT_UNREACHABLE),
        (errno.EMFILE, Reason.NO_LOCAL_RESOURCES),
        (errno.EADDRNOTAVAIL, Reason.NO_LOCAL_RESOURCES),
        (errno.ETIMEDOUT, Reason.CONNECT_TIMEOUT),
    ],
)
def test_a_connect_that_fails_says_why(code: int, reason: Reason) -> None:
    with stage(group_of(1, retry=NO_RETRY), log=True) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        set_.loop.dials[0].fail(code)
        set_.loop.run()
        answer = client.take()
        assert status_of(answer) == reason.status and f'details="{reason.word}"'.encode() in answer
        assert set_.failures(reason) == 1
        assert json.loads(set_.lines[0])["reason"] == reason.word
        set_.check_quiet()


def test_a_connect_that_takes_too_long_is_a_timeout() -> None:
    with stage(group_of(1, retry=NO_RETRY, timeouts=UpstreamTimeouts(connect=2.0))) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        set_.go(2.0 + SLACK)
        assert b"connect_timeout" in client.take()
        set_.check_quiet()


@pytest.mark.parametrize("request_", [GET, POST, PUT_CHUNKED])
def test_a_refused_connect_is_tried_elsewhere_whatever_the_method(request_: bytes) -> None:
    with stage(group_of(3)) as set_:
        answers = set_.origin = Answers(lambda head, body: OK)
        set_.accepts = False
        client = set_.ask(request_)
        first = set_.loop.dials[0]
        first.fail()
        set_.loop.run()
        second = set_.loop.dials[0]
        assert second.address != first.address
        set_.accept(second)
        set_.loop.run()
        assert status_of(client.take()) == 200 and len(answers.requests) == 1
        assert set_.retries(Reason.CONNECT_REFUSED) == 1
        set_.check_quiet()


def test_where_every_target_refuses_the_same_is_tried_again_after_a_moment() -> None:
    with stage(group_of(1)) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        set_.loop.dials[0].fail()
        set_.loop.run()
        assert not set_.loop.dials
        set_.go(0.2)
        set_.accept(set_.loop.dials[0])
        set_.loop.run()
        set_.answer(OK)
        assert status_of(client.take()) == 200
        set_.check_quiet()


def test_who_was_refused_is_not_tried_again_at_a_group_that_has_left_meanwhile() -> None:
    with stage(group_of(1), log=True) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        set_.loop.dials[0].fail()
        set_.loop.run()
        set_.publish_without("demo")
        set_.go(0.3)
        assert not set_.loop.dials
        assert b'details="target_removed"' in client.take()
        assert json.loads(set_.lines[0])["reason"] == Reason.TARGET_REMOVED.word


def test_who_was_refused_is_not_tried_again_at_a_target_that_has_left_meanwhile() -> None:
    with stage(group_of(1)) as set_:
        set_.accepts = False
        client = set_.ask(GET)
        set_.loop.dials[0].fail()
        set_.loop.run()
        set_.republish(targets=())
        set_.go(0.3)
        assert not set_.loop.dials
        assert b'details="target_removed"' in client.take()
        set_.check_quiet()


def test_a_refused_request_whose_other_targets_are_full_waits_in_the_queue_for_one() -> None:
    with stage(group_of(2, max_connections=1, passive=None)) as set_:
        set_.accepts = False
        refused, busy = set_.client(), set_.client()
        for client in (refused, busy):
            client.feed(GET)
        set_.loop.run()
        first, second = set_.loop.dials
        set_.accept(second)
        set_.loop.run()
        first.fail()
        set_.loop.run()
        set_.go(0.3)  # whatever the clock looks at, it is not sent to who refused it
        assert set_.live.groups["demo"].waiting and len(set_.loop.dials) == 0
        set_.answer(OK)  # the other target has a place again
        assert status_of(busy.take()) == 200
        assert len(set_.upstreams) == 1 and set_.upstreams[0].take().count(b"GET / ") == 2
        set_.answer(OK)
        assert status_of(refused.take()) == 200
        set_.check_quiet()


def test_the_time_in_the_queue_is_one_for_all_its_stays_and_ends_with_what_the_last_try_said() -> None:
    with stage(group_of(2, max_connections=1, passive=None, queue=Queue(8, 3.0))) as set_:
        held = [set_.ask(GET) for _ in range(2)]
        client = set_.ask(GET)
        set_.go(2.0)
        set_.answer(OK, upstream=0)  # it goes there
        held.append(set_.ask(GET))  # and this one behind it
        for _ in range(2):  # the first time it might be the race of a pooled connection
            next(one for one in set_.upstreams[::-1] if not one.lost and one is not set_.upstreams[1]).feed_reset()
            set_.loop.run()
        set_.go(1.0 - SLACK)
        assert client.take() == b"" and len(set_.live.groups["demo"].waiting) == 1
        set_.go(2 * SLACK)
        answer = client.take()
        assert status_of(answer) == 502 and b'details="upstream_reset"' in answer


def test_when_the_time_in_the_queue_is_over_a_request_goes_where_it_failed_before_rather_than_nowhere() -> None:
    with stage(group_of(2, max_connections=1, passive=None, queue=Queue(8, 2.0))) as set_:
        client, busy = set_.ask(GET), set_.ask(GET)
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        set_.go(2.0 + SLACK)
        set_.answer(OK, upstream=2)
        set_.answer(OK, upstream=1)
        assert [status_of(one.take()) for one in (client, busy)] == [200] * 2
        set_.check_quiet()


def test_who_was_at_a_target_before_waits_before_those_who_were_not() -> None:
    with stage(group_of(2, max_connections=1, passive=None)) as set_:
        first, second = set_.ask(GET.replace(b"/", b"/1", 1)), set_.ask(GET.replace(b"/", b"/2", 1))
        crowd = [set_.ask(GET.replace(b"/", b"/c", 1)) for _ in range(3)]
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        set_.answer(OK, upstream=1)
        assert b"GET /1 " in set_.upstreams[1].take()
        for _ in range(3):
            set_.answer(OK, upstream=1)
            set_.answer(OK, upstream=2)
        assert [status_of(client.take()) for client in (first, second, *crowd)] == [200] * 5
        set_.check_quiet()


def test_who_waits_behind_one_that_was_refused_may_go_where_that_one_may_not() -> None:
    with stage(group_of(2, max_connections=1, passive=None)) as set_:
        set_.accepts = False
        refused, busy = set_.ask(GET), set_.ask(GET)
        first, second = set_.loop.dials
        set_.accept(second)
        set_.loop.run()
        behind = set_.ask(GET.replace(b"/", b"/behind", 1))
        first.fail()
        set_.loop.run()
        (dial,) = set_.loop.dials
        assert dial.address == first.address, "the place that the first one left"
        set_.accept(dial)
        set_.loop.run()
        assert b"GET /behind " in set_.upstreams[1].take()
        set_.answer(OK, upstream=1)
        set_.answer(OK, upstream=0)
        set_.answer(OK, upstream=0)
        assert [status_of(client.take()) for client in (behind, busy, refused)] == [200] * 3
        set_.check_quiet()


def test_who_waits_behind_one_that_was_tried_elsewhere_may_go_where_only_that_one_was() -> None:
    """Found by an attacker: both had lost a target, and the second was forgotten until the first was placed."""
    with stage(group_of(3, max_connections=1, passive=None, retry=Retry(max_retries=3))) as set_:

        def ask(name: bytes) -> FakeTransport:
            return set_.ask(GET.replace(b"/", b"/" + name, 1))

        twice, *busy = ask(b"twice"), ask(b"b"), ask(b"c")
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        busy.append(ask(b"d"))  # at the first target
        set_.answer(OK, upstream=1)  # twice is at the second now
        for _ in range(2):  # the first time it might be the race of a pooled connection
            next(one for one in set_.upstreams[::-1] if b"GET /twice " in one.take()).feed_reset()
            set_.loop.run()
        once = ask(b"once")  # at the second target, while the first and the third are full
        set_.upstreams[-1].feed_reset()
        set_.loop.run()
        assert len(set_.live.groups["demo"].waiting) == 2
        set_.answer(OK, upstream=3)  # the first target has a place: twice was there already
        assert b"GET /once " in set_.upstreams[3].take()
        set_.answer(OK, upstream=3)
        set_.answer(OK, upstream=2)
        set_.answer(OK, upstream=2)
        assert [status_of(client.take()) for client in (twice, once, *busy)] == [200] * 5
        set_.check_quiet()


def test_who_left_while_it_waited_gets_no_place_and_no_answer() -> None:
    with stage(group_of(2, max_connections=1, passive=None, queue=Queue(8, 2.0)), log=True) as set_:
        refused, busy = set_.ask(GET), set_.ask(GET)
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        there, gone, behind = set_.ask(GET), set_.ask(GET), set_.ask(GET.replace(b"/", b"/behind", 1))
        gone.feed_reset()
        set_.loop.run()
        set_.answer(OK, upstream=2)  # where the first in line was refused
        assert status_of(there.take()) == 200 and b"GET /behind " in set_.upstreams[2].take()
        late = set_.ask(GET)
        late.feed_reset()
        set_.go(2.0 + SLACK)  # its time would be over now
        set_.answer(OK, upstream=2)
        set_.answer(OK, upstream=1)
        assert [status_of(client.take()) for client in (behind, busy, refused)] == [200, 200, 502]
        assert [json.loads(line)["reason"] for line in set_.lines].count("client_closed") == 2
        set_.check_quiet()


def test_a_request_whose_target_is_reset_while_the_others_are_full_waits_in_the_queue_for_one() -> None:
    with stage(group_of(2, max_connections=1, passive=None)) as set_:
        cut, busy = set_.ask(GET), set_.ask(GET)
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        set_.go(0.3)
        assert set_.live.groups["demo"].waiting and cut.take() == b""
        set_.answer(OK)
        assert status_of(busy.take()) == 200
        set_.answer(OK)
        assert status_of(cut.take()) == 200
        set_.check_quiet()


@pytest.mark.parametrize("count", [1, 2])
def test_a_target_that_is_full_takes_nobody_who_was_refused_there_before(count: int) -> None:
    with stage(group_of(count, max_connections=1, passive=None)) as set_:
        set_.accepts = False
        again, *crowd = (set_.client() for _ in range(count + 1))
        again.feed(GET)
        set_.loop.run()
        for _ in range(count):  # each target refuses
            set_.loop.dials[0].fail()
            set_.loop.run()
        set_.accepts = True
        for client in crowd:  # and takes as many as it may before the moment is over
            client.feed(GET)
        set_.loop.run()
        set_.go(0.3)
        assert [target.active for target in set_.targets] == [1] * count
        for number in range(count):
            set_.answer(OK, upstream=number)
        assert [status_of(client.take()) for client in crowd] == [200] * count
        set_.answer(OK, upstream=0)
        assert status_of(again.take()) == 200
        set_.check_quiet()


def test_connects_in_progress_are_bounded_and_the_others_wait_for_one_or_for_a_freed_one() -> None:
    with stage(group_of(1)) as set_:
        set_.accepts = False
        clients = [set_.ask(GET) for _ in range(MAX_CONNECTING + 2)]
        assert len(set_.loop.dials) == MAX_CONNECTING
        set_.accept(set_.loop.dials[0])
        set_.loop.run()
        assert len(set_.loop.dials) == MAX_CONNECTING  # one more has begun
        set_.answer(OK)
        set_.answer(OK)  # the last one took the freed connection
        assert sum(bool(client.take()) for client in clients) == 2
        for client in clients:
            client.feed_reset()
        set_.go(3.0)
        set_.check_quiet()


def test_who_waits_too_long_for_a_connect_has_a_connect_timeout() -> None:
    with stage(group_of(1, retry=NO_RETRY, timeouts=UpstreamTimeouts(connect=1.0))) as set_:
        set_.accepts = False
        clients = [set_.ask(GET) for _ in range(2 * MAX_CONNECTING + 1)]
        set_.go(1.0 + SLACK)  # the second thirty-two have their connects, the last waited in vain
        assert sum(b"connect_timeout" in client.take() for client in clients) == MAX_CONNECTING + 1
        set_.go(1.0)
        assert sum(b"connect_timeout" in client.take() for client in clients) == MAX_CONNECTING
        set_.check_quiet()


# The target ends the connection before it answers


@pytest.mark.parametrize(
    ("request_", "retried"), [(GET, True), (PUT_CHUNKED, True), (POST, False), (POST.replace(b"POST", b"PATCH"), False)]
)
def test_only_what_may_be_repeated_is_sent_again_after_a_reset(request_: bytes, retried: bool) -> None:
    with stage(group_of(3)) as set_:
        client = set_.ask(request_)
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        if not retried:
            assert b"upstream_reset" in client.take() and len(set_.upstreams) == 1
            return
        whole = bytes(set_.upstreams[1].received)
        assert whole.split(b"\r\n", 1)[0] == request_.split(b"\r\n", 1)[0] and (b"body" in whole) == (
            b"body" in request_
        )
        set_.answer(OK)
        assert status_of(client.take()) == 200
        assert set_.retries(Reason.UPSTREAM_RESET) == 1
        set_.check_quiet()


def test_a_body_beyond_the_replay_buffer_is_not_sent_again() -> None:
    with stage(group_of(3, retry=Retry(replay_buffer=1000))) as set_:
        client = set_.ask(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2000\r\n\r\n" + bytes(1500))
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        assert b"upstream_reset" in client.take() and len(set_.upstreams) == 1


def test_a_body_is_read_ahead_of_a_connection_only_as_far_as_it_is_kept() -> None:
    with stage(group_of(1, retry=Retry(replay_buffer=1000))) as set_:
        set_.accepts = False
        client = set_.ask(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5000\r\n\r\n" + bytes(2000))
        assert not client.is_reading()
        client.feed(bytes(3000))
        target = set_.accept(set_.loop.dials[0])
        set_.loop.run()
        assert client.is_reading()
        assert target.received.endswith(bytes(5000))


def test_no_second_try_once_a_byte_of_the_answer_is_with_the_client() -> None:
    with stage(group_of(3)) as set_:
        client = set_.ask(GET)
        set_.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        set_.upstreams[0].feed_reset()
        set_.loop.run()
        assert client.was_reset and len(set_.upstreams) == 1


def test_retries_are_bounded() -> None:
    with stage(group_of(5, retry=Retry(max_retries=2))) as set_:
        client = set_.ask(GET)
        for number in range(3):
            assert len(set_.upstreams) == number + 1
            set_.upstreams[-1].feed_eof()
            set_.loop.run()
        assert b"upstream_closed" in client.take()
        assert len({upstream.peer for upstream in set_.upstreams}) == 3
        set_.check_quiet()


def test_the_budget_bounds_what_multiplies_load() -> None:
    retry = Retry(max_retries=3, on=("timeout",), budget_percent=0, budget_min=1)
    with stage(group_of(5, retry=retry, timeouts=UpstreamTimeouts(response_header=5.0), passive=None)) as set_:
        clients = [set_.ask(GET) for _ in range(3)]
        set_.go(5.0 + SLACK)
        answered = [client for client in clients if b"response_timeout" in client.take()]
        assert len(answered) == 2 and set_.retries(Reason.BUDGET) == 2 and set_.retries(Reason.RESPONSE_TIMEOUT) == 1


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 2),
        (b"HTTP/1.1 503 No\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", 2),
    ],
)
def test_a_status_is_tried_elsewhere_where_the_group_wants_it(answer: bytes, tries: int) -> None:
    with stage(group_of(2, retry=Retry(on=("503",)))) as set_:
        client = set_.ask(GET)
        set_.answer(answer)
        assert len(set_.upstreams) == tries
        if tries == 2:
            assert client.take() == b""
            set_.answer(OK)
            assert status_of(client.take()) == 200
        else:
            assert client.take().startswith(answer[:12])
        set_.check_quiet()


# The race for a pooled connection


@pytest.mark.parametrize("end", ["feed_eof", "feed_reset"])
def test_a_pooled_connection_that_closes_as_it_is_used_is_replaced_by_a_new_one(end: str) -> None:
    with stage(group_of(1, retry=NO_RETRY)) as set_:
        warm(set_)
        client = set_.ask(GET)
        assert len(set_.upstreams) == 1
        getattr(set_.upstreams[0], end)()
        set_.loop.run()
        assert len(set_.upstreams) == 2
        set_.answer(OK)
        assert status_of(client.take()) == 200
        assert set_.retries(Reason.REUSE_RACE) == 1
        assert set_.targets[0].streaks is not None and not set_.targets[0].troubled  # nobody's fault
        set_.check_quiet()


def test_the_race_is_lost_once_only() -> None:
    with stage(group_of(1, retry=NO_RETRY)) as set_:
        warm(set_)
        client = set_.ask(GET)
        for _ in range(2):
            set_.upstreams[-1].feed_eof()
            set_.loop.run()
        assert b"upstream_closed" in client.take() and len(set_.upstreams) == 2
        set_.check_quiet()


def test_a_post_that_loses_the_race_is_answered_with_its_reason() -> None:
    with stage(group_of(1)) as set_:
        warm(set_)
        client = set_.ask(POST)
        set_.upstreams[0].feed_eof()
        set_.loop.run()
        assert b"upstream_closed" in client.take() and len(set_.upstreams) == 1


def test_a_post_takes_a_rested_connection_only_if_the_kernel_has_heard_no_end() -> None:
    for ended in (False, True):
        with stage(group_of(1)) as set_:
            warm(set_)
            set_.go(2.0)
            set_.upstreams[0].sock.ended = ended
            set_.ask(POST)
            assert len(set_.upstreams) == 1 + ended


# Rescue


def test_what_waits_on_a_target_that_turns_unhealthy_is_moved() -> None:
    with stage(group_of(2, retry=NO_RETRY)) as set_:
        clients = [set_.ask(GET) for _ in range(4)]
        there = [i for i, upstream in enumerate(set_.upstreams) if upstream.peer[0] == "10.0.0.0"]
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        assert all(set_.upstreams[i].lost for i in there)
        for upstream in list(set_.upstreams):
            if not upstream.lost:
                upstream.feed(OK)
        set_.loop.run()
        assert [status_of(client.take()) for client in clients] == [200] * 4
        assert set_.retries(Reason.RESCUE) == len(there) == 2
        set_.check_quiet()


def test_a_request_that_is_moved_takes_a_place_that_those_who_wait_do_not_take_too() -> None:
    """One target comes back as another is lost: who was there goes first, and `max_connections` holds."""
    with stage(group_of(2, max_connections=1, retry=NO_RETRY)) as set_:
        set_.state(1, State.UNHEALTHY, Evidence.HARD)
        clients = [set_.ask(GET) for _ in range(2)]

        def write(cells: memoryview[int]) -> None:
            for number, state, evidence in ((0, State.UNHEALTHY, Evidence.HARD), (1, State.HEALTHY, Evidence.NONE)):
                at = state_at(set_.snapshot.slots[f"state|demo|t{number}"])
                cells[at + layout.STATE], cells[at + layout.EVIDENCE] = state.code, evidence.code

        set_.board.publish(write)
        set_.live.states()
        set_.loop.run()
        assert [target.active for target in set_.targets] == [0, 1]
        for _ in clients:
            set_.answer(OK, upstream=1)
        assert [status_of(client.take()) for client in clients] == [200] * 2
        set_.check_quiet()


def test_a_request_that_was_moved_has_all_its_retries() -> None:
    with stage(group_of(3, retry=Retry(max_retries=1), passive=None)) as set_:
        client = set_.ask(GET)
        first = set_.upstreams[0].peer[0]
        set_.accepts = False
        set_.state(int(first[-1]), State.UNHEALTHY, Evidence.SOFT)
        set_.loop.dials[0].fail()  # where it was moved to
        set_.loop.run()
        set_.accept(set_.loop.dials[0])
        set_.loop.run()
        set_.answer(OK)
        assert status_of(client.take()) == 200
        assert (set_.retries(Reason.RESCUE), set_.retries(Reason.CONNECT_REFUSED)) == (1, 1)
        set_.check_quiet()


def test_what_waits_on_a_lost_target_while_the_others_are_full_waits_in_line_for_one() -> None:
    with stage(group_of(2, max_connections=1, retry=NO_RETRY)) as set_:
        clients = [set_.ask(GET) for _ in range(2)]
        lost, other = sorted(set_.upstreams, key=lambda one: one.peer[0])
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        assert lost.lost and set_.live.groups["demo"].waiting
        for _ in clients:
            other.feed(OK)
            set_.loop.run()
        assert [status_of(client.take()) for client in clients] == [200] * 2
        assert set_.retries(Reason.RESCUE) == 1
        set_.check_quiet()


def test_what_waits_on_a_lost_target_stays_where_not_even_the_queue_has_room() -> None:
    with stage(group_of(2, max_connections=1, retry=NO_RETRY, queue=Queue(size=0))) as set_:
        for client in [set_.ask(GET) for _ in range(2)]:
            assert client.take() == b""
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        assert not any(upstream.lost for upstream in set_.upstreams)
        set_.answer(OK, upstream=0)
        set_.answer(OK, upstream=1)
        set_.check_quiet()


def test_what_stayed_on_a_lost_target_is_moved_once_there_is_a_place() -> None:
    """Found by an attacker: it was asked only once, when the target was lost, and waited there for its own timeout."""
    with stage(group_of(2, max_connections=1, retry=NO_RETRY, queue=Queue(size=0))) as set_:
        clients = [set_.ask(GET) for _ in range(2)]
        lost, other = sorted(set_.upstreams, key=lambda one: one.peer[0])
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        set_.go(1.0)
        assert not lost.lost
        other.feed(OK)
        set_.go(SLACK)
        assert lost.lost
        other.feed(OK)
        set_.loop.run()
        assert [status_of(client.take()) for client in clients] == [200] * 2
        assert set_.retries(Reason.RESCUE) == 1
        set_.check_quiet()


def test_what_stayed_on_a_lost_target_is_moved_when_another_is_well_again() -> None:
    with stage(group_of(2, retry=NO_RETRY, zones=Zones(panic_threshold=0))) as set_:
        set_.state(1, State.UNHEALTHY, Evidence.SOFT)
        client = set_.ask(GET)
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        set_.go(1.0)
        assert [upstream.lost for upstream in set_.upstreams] == [False]
        assert set_.upstreams[0].peer[0] == "10.0.0.0"
        set_.state(1, State.HEALTHY, Evidence.NONE)
        set_.go(SLACK)
        set_.answer(OK, upstream=1)
        assert status_of(client.take()) == 200
        set_.check_quiet()


def test_in_panic_nothing_is_moved_from_one_lost_target_to_another_but_once() -> None:
    with stage(group_of(3, retry=NO_RETRY)) as set_:
        for number in (1, 2):
            set_.state(number, State.UNHEALTHY, Evidence.SOFT)
        client = set_.ask(GET)
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        tries = len(set_.upstreams)
        assert tries <= 2
        set_.go(1.0)
        assert len(set_.upstreams) == tries
        set_.answer(OK, upstream=tries - 1)
        assert status_of(client.take()) == 200
        set_.check_quiet()


@pytest.mark.parametrize("request_", [POST, GET])
def test_a_request_that_may_not_be_moved_or_has_nowhere_to_go_stays(request_: bytes) -> None:
    with stage(group_of(1 if request_ is GET else 2)) as set_:
        client = set_.ask(request_)
        which = int(set_.upstreams[0].peer[0][-1])
        set_.state(which, State.UNHEALTHY, Evidence.SOFT)
        set_.answer(OK, upstream=0)
        assert status_of(client.take()) == 200


def test_an_answer_that_has_begun_is_not_moved() -> None:
    with stage(group_of(2)) as set_:
        client = set_.ask(GET)
        which = int(set_.upstreams[0].peer[0][-1])
        set_.answer(OK[:-1])
        set_.state(which, State.UNHEALTHY, Evidence.SOFT)
        set_.answer(b"k")
        assert client.take().endswith(b"ok")


def test_requests_that_have_no_connection_yet_are_moved_too() -> None:
    with stage(group_of(2)) as set_:
        set_.accepts = False
        clients = [set_.ask(GET) for _ in range(2)]
        set_.state(0, State.UNHEALTHY, Evidence.HARD)
        set_.origin = Answers(lambda head, body: OK)
        for dial in list(set_.loop.dials):
            if dial.address[0] == "10.0.0.1":
                set_.accept(dial)
        set_.loop.run()
        assert all(status_of(client.take()) == 200 for client in clients)


def test_who_waits_for_a_connect_to_a_target_that_is_lost_is_not_forgotten() -> None:
    with stage(group_of(1)) as set_:
        set_.accepts = False
        clients = [set_.ask(GET) for _ in range(MAX_CONNECTING + 3)]
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        set_.go(15.0)
        assert all(b"connect_timeout" in client.take() for client in clients)
        set_.check_quiet()
