"""Who asks too often is told to wait: by address or field, before the rules or after, over workers and reloads."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest

from balancer.board import layout
from balancer.data.rates import Limiter, Rates
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import FixedResponse, Forward, Match, RateLimit, Rule
from balancer.picking.bucket import SECOND
from tests.unit.data.stage import GET, OK, Answers, Stage, group_of, stage

LIMIT = RateLimit(1.0, 2)
KEYED = RateLimit(1.0, 2, "header:x-api-key")


def statuses(set_: Stage, count: int, data: bytes = GET, peer: str = "203.0.113.9") -> list[int]:
    """Ask so many times on one connection; return the statuses."""
    set_.origin = Answers(lambda head, body: OK)
    client, found = set_.client(peer), []
    for _ in range(count):
        client.feed(data)
        set_.loop.run()
        found.append(int(client.take()[9:12]))
    return found


def test_the_burst_is_served_the_rest_is_told_when_to_come_back() -> None:
    with stage(rate_limit=RateLimit(0.1, 2), log=True) as set_:
        assert statuses(set_, 4) == [200, 200, 429, 429]
        client = set_.ask(GET)
        answer = client.take()
        assert b"\r\nRetry-After: 10\r\n" in answer or b"\r\nRetry-After: 9\r\n" in answer
        assert answer.count(b"Retry-After") == 1 and b'details="rate_limited"' in answer
        assert not client.is_closing(), "the connection is kept"
        assert set_.cell("reasons|", REASON_CODES[Reason.RATE_LIMITED]) == 3
        assert '"status":429,"source":"balancer","reason":"rate_limited"' in set_.lines[-1]
        assert "client_ip, listener web" in set_.lines[-1]
        set_.check_quiet()


@pytest.mark.parametrize("kept", [True, False])
def test_every_request_is_asked_whether_its_head_is_known_or_not(kept: bool) -> None:
    with stage(rate_limit=RateLimit(1e-3, 5), remember=kept) as set_:
        assert statuses(set_, 8) == [200] * 5 + [429] * 3


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("203.0.113.9", "203.0.113.10", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.10", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
    ],
)
def test_a_client_is_an_address_or_a_network_of_64_bits(one: str, other: str, together: bool) -> None:
    with stage(rate_limit=RateLimit(1e-3, 1)) as set_:
        assert statuses(set_, 1, peer=one) == [200]
        assert statuses(set_, 1, peer=other) == [429 if together else 200]


def test_behind_a_trusted_proxy_the_client_is_the_one_it_names() -> None:
    def by(client: bytes) -> bytes:
        return GET.replace(b"Host", b"X-Forwarded-For: 6.6.6.6, " + client + b"\r\nHost")

    with stage(rate_limit=RateLimit(1e-3, 1), trusted_proxies=("10.0.0.0/8",)) as set_:
        assert statuses(set_, 2, by(b"192.0.2.1"), "10.0.0.1") == [200, 429]
        assert statuses(set_, 1, by(b"192.0.2.2"), "10.0.0.2") == [200]
        assert statuses(set_, 1, by(b"192.0.2.1"), "10.0.0.3") == [429]
        assert statuses(set_, 1, by(b"192.0.2.1:4711"), "10.0.0.3") == [429], "a port makes no other client"
        assert statuses(set_, 2, by(b"[2001:db8::1]:1"), "10.0.0.3") == [200, 429]
        assert statuses(set_, 1, by(b"2001:db8::2"), "10.0.0.3") == [429]
        assert statuses(set_, 2, by(b"192.0.2.9"), "203.0.113.1") == [200, 429]
        assert statuses(set_, 1, by(b"192.0.2.10"), "203.0.113.1") == [429], "who is not trusted chooses nothing"


def test_a_field_has_buckets_by_its_value_and_those_without_it_by_address() -> None:
    def key(value: bytes) -> bytes:
        return GET.replace(b"Host", b"X-Api-Key: " + value + b"\r\nHost")

    with stage(rate_limit=KEYED) as set_:
        assert statuses(set_, 3, key(b"a")) == [200, 200, 429]
        assert statuses(set_, 3, key(b"b")) == [200, 200, 429]
        assert statuses(set_, 3) == [200, 200, 429]
        assert statuses(set_, 1, peer="203.0.113.10") == [200]


def test_a_rules_limit_is_for_what_it_matches_and_after_the_listeners() -> None:
    api = Rule("api", Match(paths=("/api",)), Forward((("demo", 1),)), rate_limit=RateLimit(1e-3, 1))
    rest = Rule("rest", Match(), FixedResponse(200, "x"))
    ask = GET.replace(b"/ ", b"/api ", 1)
    with stage(rules=(api, rest), rate_limit=RateLimit(1e-3, 4), log=True) as set_:
        assert statuses(set_, 2, ask) == [200, 429]
        assert '"target_group":"demo"' in set_.lines[-1] and "client_ip, rule api" in set_.lines[-1]
        assert set_.failures(Reason.RATE_LIMITED) == 1
        assert statuses(set_, 3) == [200, 200, 429]
        assert "client_ip, listener web" in set_.lines[-1]
        assert statuses(set_, 1, ask) == [429] and "listener web" in set_.lines[-1]


def test_what_no_rule_matches_counts_for_the_listener() -> None:
    rule = Rule("api", Match(paths=("/api",)), FixedResponse(200, "x"))
    with stage(rules=(rule,), rate_limit=RateLimit(1e-3, 2)) as set_:
        assert statuses(set_, 3) == [404, 404, 429]


def test_a_body_that_nobody_wants_is_read_and_thrown_away_or_ends_the_connection() -> None:
    with stage(rate_limit=RateLimit(1e-3, 1)) as set_:
        assert statuses(set_, 1) == [200]
        small = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody")
        assert small.take().startswith(b"HTTP/1.1 429") and not small.is_closing()
        large = set_.ask(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000000\r\n\r\nbody")
        assert large.take().startswith(b"HTTP/1.1 429") and large.saw_eof
        assert len(set_.upstreams) == 1 and not set_.upstreams[0].take().count(b"POST")


def test_buckets_outlive_a_reload_of_other_objects_and_of_the_limit_itself() -> None:
    with stage(rate_limit=RateLimit(1e-3, 2)) as set_:
        assert statuses(set_, 1) == [200]
        set_.publish(replace(set_.snapshot, target_groups=(set_.group, group_of(1, "other"))))
        assert statuses(set_, 2) == [200, 429]
        (listener,) = set_.snapshot.listeners
        set_.publish(replace(set_.snapshot, listeners=(replace(listener, rate_limit=None),)))
        assert statuses(set_, 3) == [200] * 3
        set_.publish(replace(set_.snapshot, listeners=(replace(listener, rate_limit=RateLimit(1e-3, 3)),)))
        assert statuses(set_, 2) == [200, 429], "a greater burst is granted, what was taken is not given back"


def test_without_a_limit_no_bucket_is_asked() -> None:
    with stage() as set_, mock.patch.object(Rates, "take", side_effect=AssertionError):
        assert statuses(set_, 3) == [200] * 3


def test_values_that_a_client_makes_up_push_no_address_out_of_its_bucket() -> None:
    with stage() as set_:
        rates, now = Rates(set_.board, 0, 1), 7 * SECOND
        login = Limiter("web", "login", RateLimit(1 / 60, 3))
        api = Limiter("web", "api", RateLimit(1 / 360, 1, "header:x-api-key"))
        assert [rates.take(login, "192.0.2.1", now) == 0 for _ in range(4)] == [True] * 3 + [False]
        for number in range(2 * layout.SETS * layout.WAYS):
            rates.take(api, str(number), now)
        assert rates.take(login, "192.0.2.1", now) > 0


def test_workers_share_the_buckets_of_a_client() -> None:
    with stage() as set_:
        workers = [Rates(set_.board, place, 3) for place in range(3)]
        limiter = Limiter("web", "", RateLimit(100.0, 200))
        now = 7 * SECOND
        granted = [0, 0, 0]
        for step in range(9_000):
            now += SECOND // 900
            granted[step % 3] += workers[step % 3].take(limiter, "192.0.2.1", now) == 0
        assert sum(granted) == pytest.approx(200 + 1000, rel=0.01)
        assert workers[0].take(limiter, "192.0.2.2", now) == 0, "another client has a bucket of its own"
