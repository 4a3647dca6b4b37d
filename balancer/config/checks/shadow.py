"""Which rules can never match, since another takes every request first.

The most specific match wins (2.4): higher priority, then the host, then the path, then the number of predicates, then
the place in the file. A rule is a set of pairs (host pattern, path pattern) with the same predicates.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator

from balancer.config.fault import Finding, Steps, warning
from balancer.config.sections.rules import Match, Rule
from balancer.routing.patterns import is_under

Pair = tuple[str, str]  # host pattern and path pattern; "" is any
Values = frozenset[tuple[str, str, str]]  # header or query, name, value
Predicates = tuple[Values, frozenset[str]]  # and the methods
_MOST_PAIRS = 10_000  # of one rule
_MOST_HIGHER = 200  # rules of higher priority that are looked at
_MOST_VALUES = 6  # of one rule: they are tried in all combinations
_ANY_PATH = ("", "/", "~.*", "~^.*", "~/", "~^/", "~/.*", "~^/.*", "~^/.*$")


def shadowed(rules: tuple[Rule, ...], steps: Steps) -> Iterator[Finding]:
    """Yield a fault for each rule that repeats another's match, a warning for one that can never match."""
    exact: dict[tuple[Pair, int, Predicates], int] = {}  # the first rule with exactly this match
    alike: dict[tuple[Pair, int, Values], dict[frozenset[str], int]] = defaultdict(dict)  # the same, by its methods
    ranked = sorted(range(len(rules)), key=lambda index: -rules[index].priority)
    ranks = [-rules[index].priority for index in ranked]
    for index, rule in enumerate(rules):
        pairs = _pairs(rule.match)
        values, methods = _values(rule.match), frozenset(rule.match.methods)
        repeated = [(exact[key], pair) for pair in pairs if (key := (pair, rule.priority, (values, methods))) in exact]
        if repeated:
            other, pair = repeated[0]
            yield Finding((*steps, index), f"{_called(rules, other)} takes {_words(pair)} already", "remove one")
        elif pairs:
            higher = _covered(rules, ranked[: bisect.bisect_left(ranks, -rule.priority)][:_MOST_HIGHER], rule)
            blockers = []
            for pair in pairs:
                equals = [alike.get((pair, rule.priority, wider), {}) for wider in _generalised(values)]
                first = (other for found in equals for theirs, other in found.items() if _hold(theirs, methods))
                taken = (other for other, hosts, paths in higher if pair[0] in hosts and pair[1] in paths)
                blockers.append(next(itertools.chain(first, taken), None))
            if None not in blockers:
                problem = f"can never match: {_called(rules, blockers[0] or 0)} goes first and takes every request"
                yield warning((*steps, index), problem, "remove it, or give it a higher priority")
        for pair in pairs:
            exact.setdefault((pair, rule.priority, (values, methods)), index)
            alike[pair, rule.priority, values].setdefault(methods, index)


def _pairs(match: Match) -> list[Pair]:
    """Return every pair, or none at all if there are so many that nobody would read the answer."""
    hosts, paths = match.hosts or ("",), match.paths or ("",)
    return [] if len(hosts) * len(paths) > _MOST_PAIRS else list(dict.fromkeys(itertools.product(hosts, paths)))


def _covered(rules: tuple[Rule, ...], higher: list[int], rule: Rule) -> list[tuple[int, set[str], set[str]]]:
    """Return which of the rules of higher priority take which hosts and paths of `rule` before it."""
    found = []
    for other in higher:
        match = rules[other].match
        if _wider(match, rule.match):
            hosts = {host for host in rule.match.hosts or ("",) if _any_covers(_host_covers, match.hosts, host)}
            paths = {path for path in rule.match.paths or ("",) if _any_covers(_path_covers, match.paths, path)}
            found.append((other, hosts, paths))
    return found


def _any_covers(covers: Callable[[str, str], bool], ones: tuple[str, ...], other: str) -> bool:
    return not ones or any(covers(one, other) for one in ones)


def _values(match: Match) -> Values:
    headers = {("header", name.lower(), value) for name, value in match.headers.items()}
    return frozenset(headers | {("query", name, value) for name, value in match.query.items()})


def _generalised(values: Values) -> Iterator[Values]:
    """Yield the values, and what holds wherever they do and asks for as much: some of them only have to be there."""
    fixed = sorted(value for value in values if value[2] != "*")[:_MOST_VALUES]
    for count in range(len(fixed) + 1):
        for some in itertools.combinations(fixed, count):
            yield values - set(some) | {(kind, name, "*") for kind, name, _ in some}


def _hold(one: frozenset[str], other: frozenset[str]) -> bool:
    """Return whether methods `one` hold wherever `other` do, asking for as much: none is every method."""
    return bool(one) == bool(other) and other <= (one | {"HEAD"} if "GET" in one else one)


def _wider(one: Match, other: Match) -> bool:
    """Return whether the predicates of `one` hold wherever those of `other` do."""
    methods = set(one.methods) | ({"HEAD"} if "GET" in one.methods else set())
    if methods and not (other.methods and set(other.methods) <= methods):
        return False
    theirs = _values(other)
    names = {(kind, name) for kind, name, _ in theirs}
    return all(
        (kind, name) in names if value == "*" else (kind, name, value) in theirs for kind, name, value in _values(one)
    )


def _host_covers(one: str, other: str) -> bool:
    if one in ("", other):
        return True
    return one.startswith("*.") and other.removeprefix("*").endswith(one[1:])


def _path_covers(one: str, other: str) -> bool:
    if one in _ANY_PATH or one == other:
        return True
    return one.startswith("/") and not other.startswith("~") and is_under(other.removeprefix("="), one)


def _called(rules: tuple[Rule, ...], index: int) -> str:
    return rules[index].name or f"rules[{index}]"


def _words(pair: Pair) -> str:
    host, path = pair
    if host and path:
        return f"{host}{path}" if path.startswith("/") else f"{host} {path}"
    return host or path or "every request"
