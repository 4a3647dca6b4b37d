"""What holds for any text as a configuration, and for any request before any rules."""

from __future__ import annotations

import tempfile
from pathlib import Path

from balancer.config.load import load
from balancer.config.plan import diff
from balancer.model.codec import decode, encode
from balancer.model.snapshot import FixedResponse, Match, Rule
from balancer.routing import paths
from balancer.routing.backtracking import regex_fault
from balancer.routing.patterns import LONGEST_INPUT
from balancer.routing.router import Matched, NoRule, Router, WrongMethod
from tests.property.test_config import is_judged
from tests.property.test_routing import HOST_PATTERNS, PATH_PATTERNS, plainly

_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
_FILE = Path(_FOLDER.name, "c.yaml")


def configuration(data: bytes) -> None:
    """Any bytes are a snapshot or faults with places; never an exception; reading twice gives the same."""
    if b"${file:" in data or b"token_file" in data:
        return  # would read from the machine that fuzzes
    _FILE.write_bytes(data)
    loaded = load(_FILE, {"A": "1"}, cpus=lambda: 1, nofile=1024)
    is_judged(loaded, _FILE)
    if loaded.snapshot is not None:
        assert decode(encode(loaded.snapshot)) == loaded.snapshot
        assert diff(loaded.snapshot, loaded.snapshot) == ()


class _Choices:
    """Choices taken from bytes, one each; 0 where they have run out."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def one(self, count: int) -> int:
        self.at += 1
        return self.data[self.at - 1] % count if self.at <= len(self.data) else 0

    def some(self, words: list[str], most: int) -> tuple[str, ...]:
        return tuple(words[self.one(len(words))] for _ in range(self.one(most + 1)))


def _rules(choices: _Choices) -> list[Rule]:
    rules = []
    for number in range(choices.one(9)):
        match = Match(
            hosts=choices.some(HOST_PATTERNS, 2),
            paths=choices.some(PATH_PATTERNS, 2),
            methods=choices.some(["GET", "POST"], 1),
            headers=((("k", ["1", "*"][choices.one(2)]),) if choices.one(2) else ()),
            query=((("v", ["1", "~^[12]"][choices.one(2)]),) if choices.one(2) else ()),
        )
        rules.append(Rule(f"r{number}", match, FixedResponse(), choices.one(2)))
    return rules


def router(data: bytes) -> None:
    """The router finds what a plain reading of its rules finds, for any rules and any request; one rule, always."""
    choices = _Choices(data)
    rules = _rules(choices)
    method = ["GET", "HEAD", "POST", "PUT"][choices.one(4)]
    host = ["a.x", "b.a.x", "c.b.a.x", "x", "y", "ax", None][choices.one(7)]
    path = ["/", "/p", "/p/", "/p/q", "/p/q/r", "/pq", "/q", "/P"][choices.one(8)]
    query = ["", "v=1", "v=2", "v=3", "w=1"][choices.one(5)]
    headers = [{}, {"k": "1"}, {"k": "2"}][choices.one(3)]
    found = Router(rules).match(method, host, path, query, headers)
    expected = plainly(rules, method, host, path, query, headers)
    if isinstance(found, Matched):
        assert found.rule.name == expected
        assert rules[found.index] is found.rule
    elif isinstance(found, WrongMethod):
        assert found.allow == expected
    else:
        assert isinstance(found, NoRule)
        assert expected == ""
        assert found.nearest


_ODD = Router(
    [
        Rule("exact", Match(hosts=("a.test",), paths=("=/exact",)), FixedResponse()),
        Rule("regex", Match(paths=(r"~^/r[0-9]+/([^/]+)/x$",)), FixedResponse()),
        Rule("wild", Match(hosts=("*.a.test",), paths=("/v1/", "/v")), FixedResponse()),
        Rule("query", Match(query=(("q", "~^[a-f]+$"),), headers=(("x-beta", "1"),)), FixedResponse()),
        Rule("all", Match(), FixedResponse()),
    ]
)


def matchers(data: bytes) -> None:
    """Any bytes as path, host, query and expression: a normal form or none, a rule always, never an exception."""
    target, _, rest = data.partition(b"\n")
    host_bytes, _, query = rest.partition(b"\n")
    normal, host = paths.normalise(target), paths.host_key(host_bytes)
    if host is not None:
        assert paths.host_key(host.encode()) == host
    if normal is not None:
        assert normal.forward.startswith(b"/")
        assert paths.normalise(normal.forward) == normal
        assert not {b".", b".."} & set(normal.forward.split(b"/"))
        found = _ODD.match("GET", host, normal.match, query.decode("latin-1"), {"x-beta": "1"})
        assert isinstance(found, Matched), "the rule without a match takes everything"
    expression = rest[:60].decode("latin-1")
    if regex_fault(expression) is None and "\n" not in expression:
        rules = [Rule("r", Match(paths=("~" + expression,)), FixedResponse()), Rule("all", Match(), FixedResponse())]
        for path in ("/", "/" + "a" * (LONGEST_INPUT - 1), "/" + "ab" * 500 + "\n"):
            assert isinstance(Router(rules).match("GET", None, path, "", {}), Matched)
