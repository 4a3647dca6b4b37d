"""nearest: which rule did not get a request and by what, told from host, path and method alone."""

from __future__ import annotations

import pytest

from balancer.model.snapshot import FixedResponse, Match, Rule
from balancer.routing.nearest import nearest, verdicts

ACTION = FixedResponse(204)
RULES = (
    Rule("beta", Match(paths=("/v1/",), headers=(("x-beta", "1"),)), ACTION),
    Rule("api", Match(hosts=("api.test",), paths=("/v1/",)), ACTION),
    Rule("posts", Match(paths=("/v1/",), methods=("POST",)), ACTION),
    Rule("v1", Match(paths=("/v1/",)), ACTION),
    Rule("exact", Match(paths=("=/v2",), query=(("a", "*"), ("b", "~x+"))), ACTION),
    Rule("v2", Match(paths=("/v2",)), ACTION),
    Rule("wild", Match(hosts=("*.shop.test",)), ACTION),
)
BY_NAME = {rule.name: index for index, rule in enumerate(RULES)}


@pytest.mark.parametrize(
    ("chosen", "method", "host", "path", "near", "why"),
    [
        ("v1", "GET", "a.test", "/v1/x", "beta", "its header x-beta was not '1'"),
        ("beta", "GET", "a.test", "/v1/x", "posts", "its method GET is not 'POST'"),
        ("posts", "POST", "a.test", "/v1/x", "beta", "its header x-beta was not '1'"),
        ("api", "GET", "api.test", "/v1/x", "posts", "its method GET is not 'POST'"),
        ("exact", "GET", "a.test", "/v2", "beta", "its path '/v2' does not match '/v1/'"),
        (
            "v2",
            "GET",
            "a.test",
            "/v2",
            "exact",
            "one of these is so: its query key a was missing, its query key b was not like 'x+'",
        ),
        ("wild", "GET", "a.shop.test", "/", "beta", "its path '/' does not match '/v1/'"),
        ("", "GET", "a.test", "/v3", "beta", "its path '/v3' does not match '/v1/'"),
        ("", "GET", None, "/v3", "beta", "its path '/v3' does not match '/v1/'"),
    ],
)
def test_the_nearest_rule_is_named_with_what_did_not_fit(
    chosen: str, method: str, host: str | None, path: str, near: str, why: str
) -> None:
    found = nearest(verdicts(RULES, BY_NAME.get(chosen, -1), method, host, path))
    assert found is not None and (found.rule, found.why) == (near, why)


@pytest.mark.parametrize(
    ("chosen", "host", "path", "told"),
    [
        ("api", "api.test", "/v1/x", {"v1": "later", "beta": "later", "posts": "method", "v2": "path", "wild": "host"}),
        ("v1", "a.test", "/v1/x", {"api": "host", "beta": "predicate", "v1": "matched", "exact": "path"}),
    ],
)
def test_each_rule_gets_a_verdict(chosen: str, host: str, path: str, told: dict[str, str]) -> None:
    found = {one.rule: one.misfit for one in verdicts(RULES, BY_NAME[chosen], "GET", host, path)}
    assert found.items() >= told.items() and len(found) == len(RULES)


def test_rules_are_told_in_the_order_in_which_the_router_prefers_them() -> None:
    found = [one.rule for one in verdicts(RULES, BY_NAME["api"], "GET", "api.test", "/v1/x")]
    assert found[:4] == ["api", "beta", "posts", "v1"]


def test_a_higher_priority_comes_before_a_better_host() -> None:
    rules = (
        Rule("host", Match(hosts=("a.test",)), ACTION),
        Rule("first", Match(headers=(("x-a", "*"),)), ACTION, priority=5),
    )
    found = verdicts(rules, 0, "GET", "a.test", "/")
    assert [one.rule for one in found] == ["first", "host"] and found[0].why == "its header x-a was missing"


def test_nothing_is_said_of_a_host_or_path_that_was_cut() -> None:
    found = verdicts(RULES, -1, "GET", "a.test", "/v1/x", cut=True)
    assert {one.rule: one.misfit for one in found} == {
        "beta": "predicate",
        "api": "unknown",
        "posts": "method",
        "v1": "predicate",
        "exact": "unknown",
        "v2": "unknown",
        "wild": "unknown",
    }


def test_where_every_rule_fits_none_is_nearest() -> None:
    assert nearest(verdicts((Rule("all", Match(), ACTION),), 0, "GET", "a.test", "/")) is None
    assert nearest(()) is None


def test_what_a_rule_asks_for_by_a_secret_is_not_told() -> None:
    match = Match(headers=(("authorization", "Bearer s3cr3t"),), query=(("token", "~s3cr3t"), ("key", "*")))
    found = verdicts([Rule("r", match, ACTION)], -1, "GET", "a.test", "/")
    assert found[0].why == (
        "one of these is so: its header authorization was missing or had another value, "
        "its query key token was missing or had another value, its query key key was missing"
    )
