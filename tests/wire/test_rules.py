"""Which rule a request meets, and what the rule then does, end to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener, target
from tests.support.failure import expect_failure
from tests.support.http1 import chunked
from tests.support.raw import RawClient, Response, ask, request
from tests.support.recorder import Recorder

Address = tuple[str, int]


def says(name: str, priority: int | None = None, **match: Any) -> dict[str, Any]:
    """Return a rule that answers with its own name."""
    rule: dict[str, Any] = {"action": {"fixed_response": {"body": name}}}
    if match:
        rule["match"] = match
    if priority is not None:
        rule["priority"] = priority
    return rule


RULES = {
    "hosts": [
        says("any"),
        says("wild", hosts=["*.shop.test"]),
        says("exact", hosts=["a.shop.test"]),
        says("deeper", hosts=["*.b.shop.test"]),
    ],
    "hosts-fall-through": [
        says("exact-only", hosts=["a.shop.test"], paths=["/only"]),
        says("wild-v1", hosts=["*.shop.test"], paths=["/v1"]),
        says("any"),
    ],
    "prefixes": [
        says("root", paths=["/"]),
        says("v1", paths=["/v1"]),
        says("v1-long", paths=["/v1/long"]),
        says("v1-long-slash", paths=["/v1/long/"]),
        says("v2-slash", paths=["/v2/"]),
    ],
    "kinds-of-path": [
        says("prefix", paths=["/v1"]),
        says("longer-prefix", paths=["/v1/abc"]),
        says("regex-second", paths=["~^/v1/[a-z]+"]),
        says("regex-third", paths=["~/v1/a"]),
        says("exact", paths=["=/v1/abc"]),
        says("rest"),
    ],
    "predicates": [
        says("plain", paths=["/p"]),
        says("post", paths=["/p"], methods=["POST"]),
        says("post-beta", paths=["/p"], methods=["POST"], headers={"X-Beta": "1"}),
        says("query", paths=["/p"], query={"q": "1"}),
        says("spaced", paths=["/p"], query={"s": "a b"}),
    ],
    "headers": [
        says("value", paths=["/a"], headers={"x-a": "1"}),
        says("joined", paths=["/a"], headers={"x-a": "1, 2"}),
        says("present", paths=["/b"], headers={"x-b": "*"}),
        says("pattern", paths=["/c"], headers={"x-c": "~v[0-9]+"}),
        says("rest"),
    ],
    "file-order": [
        says("first", paths=["/p"], headers={"x-a": "*"}),
        says("second", paths=["/p"], headers={"x-b": "*"}),
        says("rest"),
    ],
    "priority": [
        says("exact", hosts=["a.test"], paths=["=/x"]),
        says("first", 10, paths=["/x"]),
        says("last", -10, hosts=["b.test"], paths=["=/y"]),
        says("rest"),
    ],
}  # fmt: skip

# listener, request line's target, Host, further fields, the rule that answers
TABLE: list[tuple[str, str, str, tuple[str, ...], str]] = [
    ("hosts", "/", "a.shop.test", (), "exact"),
    ("hosts", "/", "A.Shop.TEST", (), "exact"),
    ("hosts", "/", "a.shop.test:8080", (), "exact"),
    ("hosts", "/", "a.shop.test.", (), "exact"),
    ("hosts", "/", "c.shop.test", (), "wild"),
    ("hosts", "/", "x.c.shop.test", (), "wild"),
    ("hosts", "/", "b.shop.test", (), "wild"),
    ("hosts", "/", "x.b.shop.test", (), "deeper"),
    ("hosts", "/", "y.x.b.shop.test", (), "deeper"),
    ("hosts", "/", "shop.test", (), "any"),
    ("hosts", "/", "xshop.test", (), "any"),
    ("hosts", "/", "other.test", (), "any"),
    ("hosts", "/", "[::1]:80", (), "any"),
    ("hosts", "http://a.shop.test/", "a.shop.test", (), "exact"),
    ("hosts-fall-through", "/only", "a.shop.test", (), "exact-only"),
    ("hosts-fall-through", "/v1", "a.shop.test", (), "wild-v1"),
    ("hosts-fall-through", "/v2", "a.shop.test", (), "any"),
    ("hosts-fall-through", "/only", "b.shop.test", (), "any"),
    ("prefixes", "/", "a.test", (), "root"),
    ("prefixes", "/v1", "a.test", (), "v1"),
    ("prefixes", "/v1/", "a.test", (), "v1"),
    ("prefixes", "/v1/x", "a.test", (), "v1"),
    ("prefixes", "/v1?x=/v1/long", "a.test", (), "v1"),
    ("prefixes", "/v10", "a.test", (), "root"),
    ("prefixes", "/v1.0", "a.test", (), "root"),
    ("prefixes", "/V1", "a.test", (), "root"),
    ("prefixes", "/v1/long", "a.test", (), "v1-long"),
    ("prefixes", "/v1/longer", "a.test", (), "v1"),
    ("prefixes", "/v1/long/", "a.test", (), "v1-long-slash"),
    ("prefixes", "/v1/long/x", "a.test", (), "v1-long-slash"),
    ("prefixes", "/v2", "a.test", (), "root"),
    ("prefixes", "/v2/", "a.test", (), "v2-slash"),
    ("prefixes", "/v2/x", "a.test", (), "v2-slash"),
    ("prefixes", "/%76%31/x", "a.test", (), "v1"),
    ("prefixes", "/v2/../v1/x", "a.test", (), "v1"),
    ("prefixes", "/v1/%2e%2e/v2/x", "a.test", (), "v2-slash"),
    ("prefixes", "//v1//long", "a.test", (), "v1-long"),
    ("prefixes", "/v1%2Flong", "a.test", (), "root"),
    ("prefixes", "/v1;x=1", "a.test", (), "root"),
    ("kinds-of-path", "/v1/abc", "a.test", (), "exact"),
    ("kinds-of-path", "/v1/abc/d", "a.test", (), "regex-second"),
    ("kinds-of-path", "/v1/xyz", "a.test", (), "regex-second"),
    ("kinds-of-path", "/v1/a", "a.test", (), "regex-second"),
    ("kinds-of-path", "/v1/1", "a.test", (), "prefix"),
    ("kinds-of-path", "/x/v1/a", "a.test", (), "rest"),
    ("predicates", "/p", "a.test", (), "plain"),
    ("predicates", "/p?q=1", "a.test", (), "query"),
    ("predicates", "/p?q=2", "a.test", (), "plain"),
    ("predicates", "/p?q=%31", "a.test", (), "query"),
    ("predicates", "/p?a=0&q=1", "a.test", (), "query"),
    ("predicates", "/p?q=1&q=2", "a.test", (), "query"),
    ("predicates", "/p?q=2&q=1", "a.test", (), "plain"),
    ("predicates", "/p?q=1;x=2", "a.test", (), "plain"),
    ("predicates", "/p?q", "a.test", (), "plain"),
    ("predicates", "/p?s=a+b", "a.test", (), "spaced"),
    ("predicates", "/p?s=a%20b", "a.test", (), "spaced"),
    ("headers", "/a", "a.test", ("x-A: 1",), "value"),
    ("headers", "/a", "a.test", ("X-A: 1", "x-a: 2"), "joined"),
    ("headers", "/a", "a.test", ("X-A: 1, 2",), "joined"),
    ("headers", "/a", "a.test", ("X-A: 2",), "rest"),
    ("headers", "/b", "a.test", ("X-B: whatever",), "present"),
    ("headers", "/b", "a.test", (), "rest"),
    ("headers", "/c", "a.test", ("X-C: v12",), "pattern"),
    ("headers", "/c", "a.test", ("X-C: x12",), "rest"),
    ("file-order", "/p", "a.test", ("X-A: 1", "X-B: 1"), "first"),
    ("file-order", "/p", "a.test", ("X-B: 1",), "second"),
    ("priority", "/x", "a.test", (), "first"),
    ("priority", "/y", "b.test", (), "rest"),
]


@pytest.fixture(scope="module")
def recorders() -> Iterator[dict[str, Recorder]]:
    names = ("stable", "canary", "heavy", "middle", "light")
    made = {name: Recorder(name) for name in names}
    yield made
    for one in made.values():
        one.close()


REDIRECTS = [
    ("/plain/", "https://{host}/new{path}", None),
    ("/query/", "https://{host}/x?only={path}", 301),
    ("/parts/", "{scheme}://{host}:{port}/moved{path}", 302),
    ("/see/", "/elsewhere", 303),
    ("/keep/", "https://other.test{path}", 307),
]


@pytest.fixture(scope="module")
def balancer(recorders: dict[str, Recorder]) -> Iterator[Balancer]:
    redirects = [
        {"match": {"paths": [path]}, "action": {"redirect": {"to": to} | ({"status": status} if status else {})}}
        for path, to, status in REDIRECTS
    ]
    answers = [
        {
            "match": {"paths": ["/gone"]},
            "action": {"fixed_response": {"status": 410, "body": "gone\n", "content_type": "text/html"}},
        },
        {"match": {"paths": ["/empty"]}, "action": {"fixed_response": {"status": 200}}},
    ]
    spread = [
        target(name, recorders[name].address, weight=weight)
        for name, weight in (("heavy", 5), ("middle", 3), ("light", 1))
    ]
    config = {
        "listeners": [
            *(listener(name, rules) for name, rules in RULES.items()),
            listener("redirects", redirects),
            listener("answers", answers),
            listener(
                "methods", [says("get", paths=["/m"], methods=["GET"]), says("put", paths=["/m"], methods=["PUT"])]
            ),
            listener("canary", [forward({"stable": 9, "canary": 1})]),
            listener("zero", [forward({"stable": 1, "canary": 0})]),
            listener("half-empty", [forward({"nobody": 1, "stable": 1})]),
            listener("weights", [forward("spread")]),
        ],
        "target_groups": [
            group("stable", recorders["stable"].address),
            group("canary", recorders["canary"].address),
            group("nobody"),
            group("spread", targets=spread),
        ],
    }
    with Balancer(config) as made:
        yield made


@pytest.fixture(scope="module")
def addresses(balancer: Balancer) -> dict[str, Address]:
    found = {}
    for one in balancer.status()["listeners"]:
        host, _, port = one["address"].rpartition(":")
        found[one["name"]] = (host, int(port))
    return found


@pytest.mark.parametrize(("name", "where", "host", "fields", "rule"), TABLE, ids=lambda value: str(value) or "-")
def test_the_most_specific_rule_answers(
    name: str, where: str, host: str, fields: tuple[str, ...], rule: str, addresses: dict[str, Address]
) -> None:
    response = ask(addresses[name], request("GET", where, *fields, host=host))
    assert (response.status, response.body.decode()) == (200, rule)


def test_methods_choose_between_rules(addresses: dict[str, Address]) -> None:
    def rule(*args: str) -> str:
        return ask(addresses["predicates"], request(*args)).body.decode()

    assert rule("POST", "/p") == "post"
    assert rule("POST", "/p", "x-beta: 1") == "post-beta"
    assert rule("POST", "/p", "x-beta: 2") == "post"
    assert rule("PUT", "/p", "x-beta: 1") == "plain"


def test_a_request_without_host_meets_rules_without_hosts_only(addresses: dict[str, Address]) -> None:
    assert ask(addresses["hosts"], request(host=None, version="1.0")).body == b"any"


def test_no_rule_is_a_404_and_the_connection_stays(balancer: Balancer, addresses: dict[str, Address]) -> None:
    with RawClient(addresses["answers"]) as client:
        response = client.ask(request("GET", "/nothing"))
        line = expect_failure(response, balancer, "no_rule", 404)
        assert (line["target_group"], line["target"]) in (("", ""), (None, None)), line
        assert not response.closes
        assert client.ask(request("GET", "/empty")).status == 200


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("text/html", "text/plain"),
        ("text/html, image/*", "text/plain"),
    ],
)
def test_a_failure_is_a_problem_document_only_where_the_client_takes_json(
    accept: str, kind: str, balancer: Balancer, addresses: dict[str, Address]
) -> None:
    response = ask(addresses["answers"], request("GET", "/nothing", f"Accept: {accept}"))
    expect_failure(response, balancer, "no_rule", 404)
    assert (response.get("content-type") or "").partition(";")[0] == kind, response.head.raw


@pytest.mark.parametrize("body", [b"", b"a" * 1000, b"a" * 60_000])
@pytest.mark.parametrize("coding", ["sized", "chunked"])
def test_our_own_answer_keeps_the_connection_when_little_of_the_body_remains(
    body: bytes, coding: str, addresses: dict[str, Address]
) -> None:
    data = request("POST", "/nothing", body=body)
    if coding == "chunked":
        data = request("POST", "/nothing", "Transfer-Encoding: chunked") + chunked(body)
    with RawClient(addresses["answers"]) as client:
        client.send_apart([data[:-10], data[-10:]])
        response = client.recv_response()
        assert (response.status, response.closes) == (404, False)
        assert client.ask(request("GET", "/empty")).status == 200


def test_our_own_answer_ends_the_connection_when_much_of_the_body_remains(addresses: dict[str, Address]) -> None:
    with RawClient(addresses["answers"]) as client:
        client.send(request("POST", "/nothing", "Content-Length: 10000000"))
        response = client.recv_response()
        assert (response.status, response.closes) == (404, True)
        client.expect_closed()


def test_a_method_that_no_rule_takes_is_a_405_with_allow(balancer: Balancer, addresses: dict[str, Address]) -> None:
    response = ask(addresses["methods"], request("DELETE", "/m"))
    expect_failure(response, balancer, "method_not_allowed", 405)
    assert {word.strip() for word in (response.get("allow") or "").split(",")} == {"GET", "HEAD", "PUT"}


def test_head_meets_the_rule_for_get_and_gets_no_body(addresses: dict[str, Address]) -> None:
    with RawClient(addresses["methods"]) as client:
        client.send(request("HEAD", "/m") + request("GET", "/m"))
        response = client.recv_response("HEAD")
        assert (response.status, response.get("content-length")) == (200, "3")
        assert client.recv_response().body == b"get"


def test_a_fixed_answer_is_what_the_file_says(addresses: dict[str, Address], balancer: Balancer) -> None:
    response = ask(addresses["answers"], request("GET", "/gone/x"))
    assert (response.status, response.body, response.get("content-type")) == (410, b"gone\n", "text/html")
    assert response.get("date")
    assert response.get("server") == "balancer"
    line = balancer.logged(response.get("x-request-id") or "")
    assert (line["status"], line["source"], line["reason"]) == (410, "balancer", ""), line
    assert ask(addresses["answers"], request("GET", "/empty")).body == b""


@pytest.mark.parametrize(
    ("where", "status", "location"),
    [
        ("/plain/x", 308, "https://a.test/new/plain/x"),
        ("/plain/x?y=1&z=2", 308, "https://a.test/new/plain/x?y=1&z=2"),
        ("/plain/%C3%A4%20b", 308, "https://a.test/new/plain/%C3%A4%20b"),
        ("/query/x?y=1", 301, "https://a.test/x?only=/query/x"),
        ("/parts/x", 302, "http://a.test:{port}/moved/parts/x"),
        ("/see/x", 303, "/elsewhere"),
        ("/keep/x?y", 307, "https://other.test/keep/x?y"),
    ],
)
def test_a_redirect_says_where(where: str, status: int, location: str, addresses: dict[str, Address]) -> None:
    with RawClient(addresses["redirects"]) as client:
        response = client.ask(request("GET", where, host="a.test"))
        wanted = location.replace("{port}", str(addresses["redirects"][1]))
        assert (response.status, response.get("location"), response.closes) == (status, wanted, False)


def ask_many(address: Address, count: int) -> list[str]:
    with RawClient(address) as client:
        answers: list[Response] = [client.ask(request()) for _ in range(count)]
    assert {one.status for one in answers} == {200}
    return [one.get("x-recorder") or "" for one in answers]


def test_nine_to_one_is_exact_over_a_thousand(addresses: dict[str, Address]) -> None:
    names = ask_many(addresses["canary"], 1000)
    assert Counter(names) == {"stable": 900, "canary": 100}
    assert all(names[at : at + 10].count("canary") == 1 for at in range(0, 1000, 10)), "the one comes once in ten"


def test_a_group_of_weight_zero_gets_nothing(addresses: dict[str, Address]) -> None:
    assert set(ask_many(addresses["zero"], 50)) == {"stable"}


def test_a_group_without_a_target_is_skipped(addresses: dict[str, Address]) -> None:
    assert set(ask_many(addresses["half-empty"], 20)) == {"stable"}


def test_weights_of_targets_are_exact_and_smooth(addresses: dict[str, Address]) -> None:
    names = ask_many(addresses["weights"], 90)
    assert Counter(names) == {"heavy": 50, "middle": 30, "light": 10}
    assert all(Counter(names[at : at + 9]) == {"heavy": 5, "middle": 3, "light": 1} for at in range(0, 90, 9))
