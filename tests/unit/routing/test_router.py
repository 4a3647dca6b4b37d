"""Which rule a request belongs to: the precedence of rules."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from balancer.model.snapshot import FixedResponse, Match, Rule
from balancer.routing.router import Matched, NoRule, Router, WrongMethod


def rule(name: str, priority: int = 0, **match: tuple[object, ...]) -> Rule:
    return Rule(name, Match(**match), FixedResponse(), priority)  # type: ignore[arg-type]


def name_of(verdict: Matched | WrongMethod | NoRule) -> str:
    return verdict.rule.name if isinstance(verdict, Matched) else type(verdict).__name__


def ask(
    router: Router,
    host: str | None,
    path: str,
    method: str = "GET",
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> Matched | WrongMethod | NoRule:
    return router.match(method, host, path, query, headers or {})


RULES = Router(
    [
        rule("rest"),
        rule("shops", hosts=("*.shop.example",)),
        rule("eu shops", hosts=("*.eu.shop.example",)),
        rule("api", hosts=("api.example.com", "API2.example.com")),
        rule("api v1", hosts=("api.example.com",), paths=("/v1/",)),
        rule("api v1 users", hosts=("api.example.com",), paths=("/v1/users",)),
        rule("api me", hosts=("api.example.com",), paths=("=/v1/users/me",)),
        rule("api number", hosts=("api.example.com",), paths=("~^/v1/users/[0-9]+",)),
        rule("api any user", hosts=("api.example.com",), paths=("~^/v1/users/[0-9]+/x",)),
        rule("beta", hosts=("api.example.com",), paths=("/v1/",), headers=(("X-Beta", "1"),)),
        rule("beta post", hosts=("api.example.com",), paths=("/v1/",), headers=(("X-Beta", "1"),), methods=("POST",)),
        rule("shop list", hosts=("a.shop.example",), paths=("/list",)),
        rule("v1", paths=("/v1",)),
        rule("first of two", paths=("/same",)),
        rule("second of two", paths=("/same",)),
        rule("local", hosts=("localhost",), paths=("/a",)),
        rule("v6", hosts=("[2001:DB8::0:1]",)),
        rule("coffee", paths=("=/café",)),
    ]
)

PRECEDENCE = [  # why, host, path, method, headers, rule
    ("nothing else fits", "x.example", "/", "GET", {}, "rest"),
    ("a wildcard before no host", "a.shop.example", "/", "GET", {}, "shops"),
    ("a wildcard matches any depth", "b.a.shop.example", "/", "GET", {}, "shops"),
    ("a wildcard does not match the apex", "shop.example", "/", "GET", {}, "rest"),
    ("a wildcard does not match half a label", "ashop.example", "/", "GET", {}, "rest"),
    ("the wildcard with most labels", "x.eu.shop.example", "/", "GET", {}, "eu shops"),
    ("the apex of the longer wildcard is under the shorter", "eu.shop.example", "/", "GET", {}, "shops"),
    ("an exact host", "api.example.com", "/other", "GET", {}, "api"),
    ("a rule's host is matched in any case", "api2.example.com", "/", "GET", {}, "api"),
    ("an address of version 6 in another writing", "[2001:db8::1]", "/", "GET", {}, "v6"),
    ("the host comes before the path", "api.example.com", "/same", "GET", {}, "api"),
    ("a better host without a fitting rule falls through", "localhost", "/b", "GET", {}, "rest"),
    ("and so through an exact host to its wildcard", "a.shop.example", "/cart", "GET", {}, "shops"),
    ("a longer prefix before a shorter", "api.example.com", "/v1/users/x", "GET", {}, "api v1 users"),
    ("an exact path before a regex and a prefix", "api.example.com", "/v1/users/me", "GET", {}, "api me"),
    ("a regex before a prefix", "api.example.com", "/v1/users/7", "GET", {}, "api number"),
    ("regexes in file order", "api.example.com", "/v1/users/7/x", "GET", {}, "api number"),
    ("a prefix ends at a segment", "x.example", "/v10", "GET", {}, "rest"),
    ("a prefix matches itself", "x.example", "/v1", "GET", {}, "v1"),
    ("a prefix matches what is under it", "x.example", "/v1/x", "GET", {}, "v1"),
    ("a prefix with a slash does not match without", "api.example.com", "/v1", "GET", {}, "api"),
    ("a prefix with a slash matches itself", "api.example.com", "/v1/", "GET", {}, "api v1"),
    ("a header is one predicate more", "api.example.com", "/v1/", "GET", {"x-beta": "1"}, "beta"),
    ("two predicates before one", "api.example.com", "/v1/", "POST", {"x-beta": "1"}, "beta post"),
    ("another value does not count", "api.example.com", "/v1/", "GET", {"x-beta": "2"}, "api v1"),
    ("a longer prefix before more predicates", "api.example.com", "/v1/users", "GET", {"x-beta": "1"}, "api v1 users"),
    ("file order breaks ties", "x.example", "/same", "GET", {}, "first of two"),
    ("a path is written as people write it", "x.example", "/caf%C3%A9", "GET", {}, "coffee"),
    ("without a host only rules without hosts", None, "/v1/x", "GET", {}, "v1"),
]


@pytest.mark.parametrize(
    ("host", "path", "method", "headers", "expected"), [r[1:] for r in PRECEDENCE], ids=[r[0] for r in PRECEDENCE]
)
def test_the_most_specific_rule_wins(
    host: str | None, path: str, method: str, headers: dict[str, str], expected: str
) -> None:
    assert name_of(ask(RULES, host, path, method, headers=headers)) == expected


def test_a_priority_comes_before_everything() -> None:
    router = Router(
        [rule("exact", hosts=("a.example",), paths=("=/x",)), rule("maintenance", priority=1), rule("rest")]
    )
    assert name_of(ask(router, "a.example", "/x")) == "maintenance"


def test_a_lower_priority_serves_what_a_higher_one_leaves() -> None:
    router = Router(
        [rule("low", priority=-1), rule("high", priority=5, methods=("DELETE",)), rule("plain", paths=("/p",))]
    )
    assert name_of(ask(router, "a.example", "/p")) == "plain"
    assert name_of(ask(router, "a.example", "/q")) == "low"
    assert name_of(ask(router, "a.example", "/p", "DELETE")) == "high"


VALUES = [  # written, given, fits
    ("1", "1", True),
    ("1", "1, 2", False),
    ("1", None, False),
    ("*", "anything", True),
    ("*", "", True),
    ("*", None, False),
    ("~^v[12]$", "v2", True),
    ("~^v[12]$", "v3", False),
    ("~v", "xv", False),
]


@pytest.mark.parametrize(("written", "given", "fits"), VALUES)
def test_header_values(written: str, given: str | None, fits: bool) -> None:
    router = Router([rule("r", headers=(("X-Version", written),))])
    headers = {} if given is None else {"x-version": given}
    assert isinstance(ask(router, "a", "/", headers=headers), Matched) is fits


QUERIES = [  # key, value, query, fits
    ("v", "1", "v=1", True),
    ("v", "1", "v=2&v=1", False),
    ("v", "1", "a=b&v=1", True),
    ("v", "a b", "v=a+b", True),
    ("v", "a b", "v=a%20b", True),
    ("v", "a+b", "v=a%2Bb", True),
    ("v", "1;w=2", "v=1;w=2", True),
    ("w", "2", "v=1;w=2", False),
    ("v", "*", "v", True),
    ("v", "*", "vv=1", False),
    ("v w", "1", "v%20w=1", True),
    ("v", "*", "", False),
    ("v", "~^[0-9]+$", "v=42", True),
]


@pytest.mark.parametrize(("key", "value", "query", "fits"), QUERIES)
def test_query_values(key: str, value: str, query: str, fits: bool) -> None:
    router = Router([rule("r", query=((key, value),))])
    assert isinstance(ask(router, "a", "/", query=query), Matched) is fits


def test_get_serves_head_and_nothing_else() -> None:
    router = Router([rule("r", methods=("GET",))])
    assert name_of(ask(router, "a", "/", "HEAD")) == "r"
    assert ask(router, "a", "/", "POST") == WrongMethod(("GET", "HEAD"))


def test_a_wrong_method_names_those_of_every_rule_that_would_do() -> None:
    router = Router(
        [
            rule("a", paths=("/x",), methods=("PUT",)),
            rule("b", paths=("/x/",), methods=("GET",)),
            rule("c", paths=("/y",), methods=("PATCH",)),
        ]
    )
    assert ask(router, "a", "/x/1", "POST") == WrongMethod(("GET", "HEAD", "PUT"))
    assert isinstance(ask(router, "a", "/z", "POST"), NoRule)


def test_where_a_method_fits_and_a_header_does_not_the_method_is_not_to_blame() -> None:
    router = Router([rule("a", methods=("PUT",)), rule("b", methods=("GET",), headers=(("x", "1"),))])
    assert isinstance(ask(router, "a", "/"), NoRule)


NEAREST = [
    ("a host", [rule("r", hosts=("api.example.com",))], "host 'x.example' is not 'api.example.com'"),
    ("a path", [rule("h", hosts=("o",)), rule("r", paths=("/v1/",))], "path '/v2' does not match '/v1/'"),
    ("a header", [rule("r", headers=(("X-Beta", "1"),))], "header x-beta is not '1'"),
    ("a query key", [rule("r", query=(("v", "1"),))], "query key v is not '1'"),
    ("many", [rule("r", paths=("/a", "/b", "/c", "/d"))], "path '/v2' does not match '/a' or '/b' or '/c' or 1 more"),
]


@pytest.mark.parametrize(("rules", "misfit"), [r[1:] for r in NEAREST], ids=[r[0] for r in NEAREST])
def test_a_request_without_a_rule_is_told_which_came_nearest(rules: list[Rule], misfit: str) -> None:
    assert ask(Router(rules), "x.example", "/v2") == NoRule(f"nearest is rule r, but {misfit}")


def test_a_listener_without_rules_says_so() -> None:
    assert ask(Router([]), "x.example", "/") == NoRule("the listener has no rules")


def test_a_request_without_host_is_told_so() -> None:
    assert ask(Router([rule("api", hosts=("a",))]), None, "/") == NoRule(
        "nearest is rule api, but the request has no host"
    )


def test_a_router_says_what_it_looks_at() -> None:
    assert RULES.header_names == {"x-beta"}
    assert not RULES.uses_query
    assert Router([rule("q", query=(("v", "1"),))]).uses_query


def test_a_match_makes_nothing_new() -> None:
    assert ask(RULES, "x.example", "/") is ask(RULES, "y.example", "/z")


def test_what_a_rule_asks_for_by_a_secret_is_not_told() -> None:
    by_header = [rule("r", headers=(("authorization", "Bearer s3cr3t"),))]
    by_query = [rule("r", query=(("token", "~s3cr3t"),))]
    for rules, part in ((by_header, "header authorization"), (by_query, "query key token")):
        assert ask(Router(rules), "a", "/") == NoRule(f"nearest is rule r, but {part} is missing or has another value")
    there = [rule("r", headers=(("authorization", "*"),))]
    assert ask(Router(there), "a", "/") == NoRule("nearest is rule r, but header authorization is not '*'")
