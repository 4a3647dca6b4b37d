"""Explained: what a worker wrote of its requests on the board becomes the story that a person reads."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from balancer.board import layout, rings
from balancer.cli import explain as command
from balancer.cli.explain import text
from balancer.control.admin.views import time
from balancer.control.explain import look
from balancer.control.explain.names import Names
from balancer.control.explain.story import Json, line, story
from balancer.data.recent import Recent
from balancer.model.names import Evidence, PolicyName, State, ZoneMode
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import (
    FixedResponse,
    Forward,
    Match,
    Queue,
    Redirect,
    Retry,
    Rule,
    Snapshot,
    UpstreamTimeouts,
    Zones,
)
from tests.support.transports import FakeTransport
from tests.unit.data.stage import GET, OK, POST, Stage, exchange_of, group_of, stage

ONE_TRY = Retry(max_retries=0)
LOST = REASON_CODES[Reason.WORKER_LOST] + 1


def id_of(client: FakeTransport) -> str:
    """Return the id of a client's last request."""
    return exchange_of(client).request_id


def explain(set_: Stage, request_id: str, known: dict[Any, str] | None = None, old: bool = False) -> Json:
    """Return the story of a request, as the admin API would tell it."""
    found = look.find(set_.board, 1, request_id)
    assert found is not None, request_id
    snapshot: Snapshot | None = None if old else set_.snapshot
    return story(found, _names(set_), snapshot, set_.snapshot, known or {}, time, set_.clock.time())


def _names(set_: Stage) -> Names:
    zones = {(group.name, one.name): one.zone for group in set_.snapshot.target_groups for one in group.targets}
    return Names(set_.snapshot.slots, zones)


def refuse(set_: Stage, dial: int = -1) -> None:
    set_.loop.dials[dial].fail(errno.ECONNREFUSED)
    set_.loop.run()


def answered(set_: Stage) -> FakeTransport:
    client = set_.ask()
    set_.answer()
    return client


# One request each


def test_a_request_that_went_well() -> None:
    with stage(group_of(2)) as set_:
        told = explain(set_, id_of(answered(set_)))
        target = told["target"]
        assert told["sentence"] == f"Answered 200 by {target} (zone-{target[1]}) in 0.0 ms."
        assert (told["method"], told["host"], told["path"], told["status"]) == ("GET", "a.test", "/", 200)
        assert (told["listener"], told["target_group"], told["source"]) == ("web", "demo", "upstream")
        assert told["rule"] == {"name": "rules[0]", "index": 0, "action": "forward to demo"}
        assert told["nearest"] is None and told["config"] == {"version": 1, "revision": 1, "known": True}
        assert [one["reused"] for one in told["tries"]] == [False] and not told["open"]
        assert {one["target"]: one["taken"] for one in told["targets"]} == {
            name: name == target for name in ("t0", "t1")
        }


def test_the_short_way_and_the_long_way_tell_the_same() -> None:
    with stage(group_of(1)) as set_:
        client = answered(set_)
        first = explain(set_, id_of(client))
        client.feed(GET)  # on an idle connection, its head known: the short way
        set_.answer()
        second = explain(set_, id_of(client))
        differ = {name for name in first if first[name] != second[name]}
        assert differ <= {"request_id", "time", "tries"}
        assert second["tries"] == [{**first["tries"][0], "reused": True}]
        assert second["request_id"] != first["request_id"]


def test_the_query_is_not_kept() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask(b"GET /a?token=secret HTTP/1.1\r\nHost: a.test\r\n\r\n")
        set_.answer()
        assert explain(set_, id_of(client))["path"] == "/a"
        assert set_.board.find(0, layout.RECENT, b"secret", 0, layout.RECENT.slot * 4) == -1


def test_a_request_that_was_tried_elsewhere() -> None:
    with stage(group_of(2)) as set_:
        set_.accepts = False
        client = set_.ask()
        refuse(set_)
        set_.accept(set_.loop.dials[-1])
        set_.loop.run()
        set_.answer()
        told = explain(set_, id_of(client))
        first, second = (one["target"] for one in told["tries"])
        assert told["sentence"] == (
            f"Answered 200 by {second} (zone-{second[1]}) in 0.0 ms on try 2, after connect_refused at {first}."
        )
        assert [one["reason"] for one in told["tries"]] == ["connect_refused", ""]
        why = {one["target"]: one["why"] for one in told["targets"]}
        assert why == {first: "try 1 of 2: connect_refused", second: "taken (try 2 of 2)"}
        assert told["retries"] == 1 and look.kept(set_.board, 1).failed == 0


def test_of_many_tries_the_first_and_the_last_are_told_with_their_numbers() -> None:
    with stage(group_of(7, retry=Retry(max_retries=6))) as set_:
        set_.accepts = False
        client = set_.ask()
        for _ in range(6):
            refuse(set_)
        set_.accept(set_.loop.dials[-1])
        set_.loop.run()
        set_.answer()
        told = explain(set_, id_of(client))
        assert told["retries"] == 6 and told["try_count"] == 7
        assert [one["number"] for one in told["tries"]] == [1, 2, 3, 7]
        assert told["tries"][-1]["target"] == told["target"] and " on try 7, after " in told["sentence"]
        assert [one["why"] for one in told["targets"] if one["taken"]] == ["taken (try 7 of 7)"]
        assert "7 tries (4 of 7 shown: the first and the last) in" in text({**told, "listener": ""})


def test_a_request_that_nobody_took() -> None:
    with stage(group_of(1, retry=ONE_TRY)) as set_:
        set_.accepts = False
        client = set_.ask()
        refuse(set_)
        told = explain(set_, id_of(client))
        assert told["sentence"].startswith(
            "Answered 502 connect_refused after 0.0 ms: the target refused the connection ("
        )
        assert told["sentence"].endswith("), at t0 (zone-0).")
        assert (told["status"], told["reason"], told["source"]) == (502, "connect_refused", "balancer")
        assert [one["reason"] for one in told["tries"]] == ["connect_refused"] and told["detail"]


def test_nobody_who_could_take_it() -> None:
    with stage(group_of(2)) as set_:
        set_.state(0, State.DISABLED)
        set_.state(1, State.DRAINING)
        told = explain(set_, id_of(set_.ask()))
        assert told["sentence"] == (
            "Answered 503 no_healthy_target after 0.0 ms: no target of the group can be used: t0 disabled, t1 draining."
        )
        assert [one["why"] for one in told["targets"]] == ["out: disabled, on purpose", "out: draining, on purpose"]
        assert told["tries"] == [] and told["target"] == ""


def test_why_a_target_is_out_is_told_while_that_is_still_so() -> None:
    with stage(group_of(2)) as set_:
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        set_.state(1, State.HEALTHY)
        client = answered(set_)
        known = {(("demo", "t0"), State.UNHEALTHY, 0): "bad_status: status 503"}
        assert explain(set_, id_of(client), known)["targets"][0]["why"] == "out: unhealthy (bad_status: status 503)"
        assert explain(set_, id_of(client))["targets"][0]["why"] == "out: unhealthy (its checks fail)"


def test_a_request_that_waited_in_the_queue() -> None:
    with stage(group_of(1, max_connections=1, queue=Queue(1, 5.0))) as set_:
        first = set_.ask()
        second = set_.ask()
        set_.go(1.5)
        set_.answer()
        set_.loop.run()
        set_.answer()
        told = explain(set_, id_of(second))
        assert told["sentence"] == "Answered 200 by t0 (zone-0) in 1500 ms (1500 ms in the queue)."
        assert (told["queue_ms"], told["tries"][0]["start_ms"]) == (1500.0, 1500.0)
        assert explain(set_, id_of(first))["queue_ms"] == 0.0


@pytest.mark.parametrize("noted", [0.0, 0.5], ids=["not noted before", "noted before"])
def test_a_request_that_waits_in_the_queue_after_its_target_was_lost_is_at_none(noted: float) -> None:
    with stage(group_of(2, max_connections=1)) as set_:
        client, _ = set_.ask(), set_.ask()
        set_.go(noted)
        target = exchange_of(client).target
        assert target is not None
        set_.state(int(target.name[1]), State.UNHEALTHY, Evidence.SOFT)
        set_.go(3.0)
        told = explain(set_, id_of(client))
        assert told["sentence"] == (
            f"Under way for {(3 + noted) * 1000:.0f} ms (3000 ms in the queue),"
            f" without a target yet on try 2, after rescue at {target.name}."
        )
        assert told["tries"][0]["duration_ms"] == noted * 1000


def test_a_queue_that_took_too_long_or_was_full() -> None:
    with stage(group_of(1, max_connections=1, queue=Queue(1, 2.0))) as set_:
        set_.ask()
        waits, turned_away = set_.ask(), set_.ask()
        told = explain(set_, id_of(turned_away))
        assert told["sentence"] == (
            "Answered 503 queue_full after 0.0 ms: every target is at max_connections and the queue is full."
        )
        assert told["targets"][0]["why"] == "in rotation, but at max_connections"
        set_.go(2.2)
        told = explain(set_, id_of(waits))
        assert told["reason"] == "queue_timeout" and 2000 <= told["queue_ms"] < 2200
        assert " in the queue)" in told["sentence"] and told["tries"] == []


def test_a_target_that_was_full_when_another_was_looked_for_is_told_to_be() -> None:
    with stage(group_of(2, max_connections=1, passive=None)) as set_:
        client, _ = set_.ask(), set_.ask()
        target = exchange_of(client).target
        set_.upstreams[0].feed_reset()
        set_.go(0.5)
        told = explain(set_, id_of(client))
        other = next(one for one in told["targets"] if target is not None and one["target"] != target.name)
        assert other["why"] == "in rotation, but at max_connections"


def test_a_full_target_that_was_passed_over() -> None:
    with stage(group_of(2, max_connections=1)) as set_:
        busy = set_.ask()
        busy_at = exchange_of(busy).target
        assert busy_at is not None
        told = explain_after(set_, 2)
        others = [one for one in told if one["target"] != busy_at.name]
        assert others == told, "both went to the other one"
        whys = {one["why"] for story_ in told for one in story_["targets"] if one["target"] == busy_at.name}
        assert "in rotation, but at max_connections" in whys


def explain_after(set_: Stage, count: int) -> list[Json]:
    """Return the stories of `count` requests, one after the other."""
    told = []
    for _ in range(count):
        client = set_.ask()
        set_.answer()
        told.append(explain(set_, id_of(client)))
    return told


RULES = (
    Rule("beta", Match(paths=("/x/",), headers=(("x-beta", "1"),)), Forward((("demo", 1),))),
    Rule("old", Match(paths=("/old",)), Redirect("/new")),
    Rule("fixed", Match(paths=("/fixed",)), FixedResponse(204)),
    Rule("post", Match(paths=("/post",), methods=("POST",)), FixedResponse(204)),
    Rule("x", Match(paths=("/x/",)), Forward((("demo", 3), ("demo", 1)))),
)


def test_what_a_rule_answers_is_no_failure_whatever_its_status() -> None:
    rules = (Rule("closed", Match(), FixedResponse(503, body="back at noon")),)
    with stage(rules=rules) as set_:
        assert set_.ask(GET).take().startswith(b"HTTP/1.1 503")
        assert rings.last(set_.board, 0, layout.RECENT) == 1
        assert rings.last(set_.board, 0, layout.FAILED) == 0


def test_panic_is_told_where_it_let_a_target_serve() -> None:
    with stage(group_of(2)) as set_:
        set_.state(0, State.UNHEALTHY, Evidence.SOFT)
        set_.state(1, State.UNHEALTHY, Evidence.SOFT)
        told = explain(set_, id_of(answered(set_)))
        assert sorted(one["why"] for one in told["targets"]) == [
            "in rotation though unhealthy (panic: too few are well); it was not picked",
            "taken though unhealthy (panic: too few are well): the one whose turn it is by weight (round_robin)",
        ]


@pytest.mark.parametrize(
    ("path", "sentence", "rule", "nearest"),
    [
        ("/x/1", "Answered 200 by t0 (zone-0) in 0.0 ms.", "x", ("beta", "its header x-beta was not '1'")),
        ("/old", "Answered 308 by the balancer itself, by old.", "old", ("beta", "its path '/old' does not")),
        ("/fixed", "Answered 204 by the balancer itself, by fixed.", "fixed", ("beta", "its path '/fixed' does not")),
        (
            "/post",
            "Answered 405 method_not_allowed after 0.0 ms: no rule allows this method here; nearest is post, but its "
            "method GET is not 'POST'.",
            None,
            ("post", "its method GET is not 'POST'"),
        ),
        (
            "/none",
            "Answered 404 no_rule after 0.0 ms: no rule of this listener matches the request; nearest is beta, but its "
            "path '/none' does not match '/x/'.",
            None,
            ("beta", "its path '/none' does not match '/x/'"),
        ),
    ],
)
def test_the_rule_that_matched_and_the_nearest_that_did_not(
    path: str, sentence: str, rule: str | None, nearest: tuple[str, str]
) -> None:
    with stage(group_of(1), rules=RULES) as set_:
        set_.origin = lambda transport: transport.loop.call_soon(transport.feed, OK)
        told = explain(set_, id_of(set_.ask(f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())))
        assert told["sentence"] == sentence
        assert (told["rule"]["name"] if told["rule"] else None) == rule
        assert told["nearest"]["name"] == nearest[0] and told["nearest"]["why"].startswith(nearest[1])


def test_rules_that_are_not_known_any_more_are_not_guessed() -> None:
    with stage(group_of(1), rules=RULES) as set_:
        client = set_.ask(b"GET /old HTTP/1.1\r\nHost: a.test\r\n\r\n")
        told = explain(set_, id_of(client), old=True)
        assert (told["rule"], told["nearest"], told["rules"]) == (None, None, [])
        assert told["config"]["known"] is False
        assert "configuration version 1 is not known any more" in command.text(told)


def test_a_head_that_could_not_be_read() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask(b"GET /a HTTP/1.1\r\n\r\n")
        request_id = client.take().decode().partition("X-Request-ID: ")[2].partition("\r\n")[0]
        told = explain(set_, request_id)
        assert told["sentence"] == (
            "Answered 400 bad_host after 0.0 ms: the Host is missing, doubled or malformed (HTTP/1.1 without Host)."
        )
        assert (told["method"], told["path"], told["rule"], told["nearest"]) == ("GET", "/a", None, None)


def test_a_client_that_left() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask()
        set_.go(0.05)
        request_id = id_of(client)
        client.feed_reset()
        set_.loop.run()
        told = explain(set_, request_id)
        assert told["sentence"] == (
            "Given up, client_closed: the client left before the answer was complete, after 50.0 ms, while it was at "
            "t0 (zone-0)."
        )


def test_an_answer_that_was_cut() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask()
        request_id = id_of(client)
        set_.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        set_.upstreams[-1].feed_reset()
        set_.loop.run()
        told = explain(set_, request_id)
        assert told["sentence"].startswith("Cut off after 0.0 ms, response_truncated: the target stopped in the middle")
        assert (told["status"], told["source"], told["reason"]) == (200, "upstream", "response_truncated")


def test_an_id_of_a_trusted_peer_is_found_however_long() -> None:
    long = b"a" * 100 + b"0123456789.trace-id_28bytes."
    with stage(group_of(1), trusted_proxies=("203.0.113.0/24",)) as set_:
        for request_id in (long, b"trace-01"):
            client = set_.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: %b\r\n\r\n" % request_id)
            set_.answer()
            assert id_of(client) == request_id.decode()
            assert explain(set_, request_id.decode())["status"] == 200


def test_a_5xx_of_the_target_is_among_the_failed() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask()
        set_.answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        assert explain(set_, id_of(client))["sentence"] == "Answered 500 by t0 (zone-0) in 0.0 ms."
        assert [one.record.status for one in look.latest(set_.board, 1, 5, failed=True)] == [500]


def test_a_group_of_many_targets_says_how_many_are_not_told() -> None:
    with stage(group_of(300)) as set_:
        told = explain(set_, id_of(answered(set_)))
        assert told["target_count"] == 300 and 190 < len(told["targets"]) < 300
        assert command.text(told).endswith(f"  and {300 - len(told['targets'])} more\n")


def test_a_configuration_that_was_taken_back_leaves_no_scene() -> None:
    with stage(group_of(1)) as set_:
        sockets: Any = {"web": set_._sock}
        other = replace(set_.group, max_connections=7)
        set_.live.build(replace(set_.snapshot, target_groups=(other,)), sockets)
        before = rings.last(set_.board, 0, layout.SCENES)
        set_.live.withdraw()
        client = answered(set_)
        client.feed(GET)
        set_.answer()
        found = look.find(set_.board, 1, id_of(client))
        assert found is not None and found.record.scene == before == 1


def test_zones_without_a_share_and_a_policy_in_words() -> None:
    zones = Zones(ZoneMode.ACTIVE_BACKUP, order=("zone-1", "zone-0"))
    with stage(group_of(2, zones=zones, policy=PolicyName.LEAST_CONN)) as set_:
        told = explain(set_, id_of(answered(set_)))
        assert [one["why"] for one in told["targets"]] == [
            "ready, but its zone had no share of the traffic",
            "taken: the one with the fewest requests in flight for its weight (least_conn)",
        ]
        assert told["tiers"] == [
            {"zones": ["zone-1"], "share": 100, "panic": False},
            {"zones": ["zone-0"], "share": 0, "panic": False},
        ]


# Requests under way, and workers that are lost


def test_a_request_under_way_is_explained_too_and_leaves_nothing_behind() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask()
        set_.go(0.35)
        told = explain(set_, id_of(client))
        assert told["open"] and told["sentence"] == "Under way for 350 ms, at t0 (zone-0)."
        assert told["tries"][0]["duration_ms"] == told["duration_ms"] == 350.0
        set_.answer()
        told = explain(set_, id_of(client))
        assert not told["open"] and told["status"] == 200
        assert rings.find(set_.board, 0, layout.OPEN, id_of(client)) is None


def under_way(set_: Stage) -> FakeTransport:
    return set_.ask()


def connecting(set_: Stage) -> FakeTransport:
    set_.accepts = False
    return set_.ask()


def waiting(set_: Stage) -> FakeTransport:
    set_.ask()
    return set_.ask()


@pytest.mark.parametrize(
    ("begin", "where"),
    [
        (under_way, "while it was at t0 (zone-0)"),
        (connecting, "while it was at t0 (zone-0)"),
        (waiting, "in the queue) after it began, before it had a target."),
    ],
)
def test_what_was_inside_a_worker_that_was_lost_is_told(begin: Callable[[Stage], FakeTransport], where: str) -> None:
    with stage(group_of(1, max_connections=1)) as set_:
        client = begin(set_)
        set_.go(0.35)
        request_id = id_of(client)
        rings.inherit(set_.board, 0, LOST, set_.clock.time() + 1.0)
        told = explain(set_, request_id)
        assert (told["reason"], told["status"], told["open"]) == ("worker_lost", 0, False)
        assert told["sentence"].startswith("Lost, worker_lost: the worker that served the request was lost, about 13")
        assert where in told["sentence"]


def test_a_successor_goes_on_after_the_records_of_the_lost() -> None:
    with stage(group_of(1)) as set_:
        before = [id_of(answered(set_)) for _ in range(3)]
        set_.place.recent = Recent(set_.board, 0)
        after = id_of(answered(set_))
        assert [one.record.request_id for one in look.latest(set_.board, 1, 9, failed=False)] == [after, *before[::-1]]


def test_more_open_requests_than_the_table_holds_cost_only_their_story() -> None:
    with stage(group_of(1, max_connections=0)) as set_:
        set_.place.recent._free[:] = [1]
        clients = [set_.ask() for _ in range(3)]
        set_.go(0.35)
        assert sum(look.find(set_.board, 1, id_of(client)) is not None for client in clients) == 1
        looks = set_.place.head[layout.ROW_OPEN_FULL]
        assert looks > 0, "and a metric tells of it"
        for number in range(3):
            set_.answer(upstream=number)
        assert all(look.find(set_.board, 1, id_of(client)) is not None for client in clients)
        set_.go(0.35)
        assert set_.place.head[layout.ROW_OPEN_FULL] == looks


# Lists


def test_the_latest_come_first_and_the_failed_by_themselves() -> None:
    with stage(group_of(1, retry=ONE_TRY)) as set_:
        good = []
        for _ in range(3):
            good.append(id_of(answered(set_)))
            set_.go(0.01)
        set_.upstreams[0].feed_eof()
        set_.accepts = False
        bad = set_.ask()
        refuse(set_)
        names = _names(set_)
        latest = [line(one.record, names, time) for one in look.latest(set_.board, 1, 3, failed=False)]
        assert [one["request_id"] for one in latest] == [id_of(bad), good[2], good[1]]
        assert [one.record.request_id for one in look.latest(set_.board, 1, 3, failed=True)] == [id_of(bad)]
        kept = look.kept(set_.board, 1)
        assert (kept.recent, kept.failed) == (4, 1) and kept.oldest < kept.oldest_failed


# Text


def test_the_text_shows_tries_as_bars_and_targets_with_their_reasons() -> None:
    with stage(group_of(2)) as set_:
        set_.accepts = False
        client = set_.ask()
        set_.go(0.06)
        refuse(set_)
        set_.accept(set_.loop.dials[-1])
        set_.go(0.02)
        set_.answer()
        told = explain(set_, id_of(client))
        lines = command.text(told).splitlines()
        assert lines[0] == "GET a.test/" and lines[1].startswith(told["request_id"])
        assert told["sentence"] in lines
        assert "2 tries in 80 ms, first byte after 80 ms" in lines
        bars = [line_.split("  ") for line_ in lines if "█" in line_]
        assert [sum(part.count("█") for part in bar) for bar in bars] == [30, 10]
        assert any(line_.startswith("  → ") and "taken (try 2 of 2)" in line_ for line_ in lines)


@pytest.mark.parametrize("changes", [{"timeouts": UpstreamTimeouts(request=0.2)}, {"max_connections": 3}])
def test_a_reload_does_not_change_what_was(changes: dict[str, Any]) -> None:
    with stage(group_of(2)) as set_:
        request_id = id_of(answered(set_))
        before = explain(set_, request_id)
        kept = set_.snapshot
        set_.publish(replace(set_.snapshot, version=2, target_groups=(replace(set_.group, **changes),)))
        found = look.find(set_.board, 1, request_id)
        assert found is not None
        assert story(found, _names(set_), kept, set_.snapshot, {}, time, 0.0) == before
        assert explain(set_, id_of(answered(set_)))["config"]["version"] == 2


def test_a_post_is_told_like_any_other() -> None:
    with stage(group_of(1)) as set_:
        client = set_.ask(POST)
        set_.answer()
        told = explain(set_, id_of(client))
        assert (told["method"], told["bytes_in"], told["bytes_out"]) == ("POST", 4, 2)
