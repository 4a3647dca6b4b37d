"""The router: the rules of a listener, compiled, and the one that a request belongs to.

The most specific rule wins, file order breaks ties:

1. priority, the higher first;
2. host: exact, wildcard with most labels, none;
3. path: exact, regex in file order, longest prefix, none;
4. more predicates (method, headers, query);
5. file order.

A rule whose predicates do not fit is passed over, and so is a better host that has no fitting rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from balancer.model.snapshot import Rule
from balancer.routing.patterns import (
    ANY_PATH,
    LONGEST_INPUT,
    PathKind,
    PathPattern,
    Predicates,
    host_pattern,
    is_under,
    path_pattern,
)

_NEAREST_OF = 64  # rules looked at to say which was nearest: an answer that costs no more with a thousand rules


@dataclass(frozen=True, slots=True)
class Matched:
    """The rule and its place among the listener's rules."""

    rule: Rule
    index: int


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """Rules match but for the method; `allow`: those that would do, sorted."""

    allow: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoRule:
    """No rule matches; `nearest`: a sentence about the one that came nearest."""

    nearest: str


class _Entry:
    """One rule, compiled."""

    __slots__ = ("matched", "paths", "predicates")

    def __init__(self, rule: Rule, index: int) -> None:
        match = rule.match
        self.matched = Matched(rule, index)
        self.paths = tuple(dict.fromkeys(path_pattern(written) for written in match.paths)) or (ANY_PATH,)
        self.predicates = Predicates(match)


class _Misses:
    """What was passed over because of its predicates."""

    __slots__ = ("methods", "others")

    def __init__(self) -> None:
        self.methods: set[str] = set()
        self.others = False  # a method fitted, a header or a query key did not


class _Paths:
    """The rules of one host, by path."""

    __slots__ = ("_any", "_exact", "_lengths", "_prefixes", "_regexes")

    def __init__(self) -> None:
        self._exact: dict[str, list[_Entry]] = {}
        self._regexes: dict[str, tuple[re.Pattern[str], list[_Entry]]] = {}
        self._prefixes: dict[str, list[_Entry]] = {}
        self._lengths: tuple[int, ...] = ()
        self._any: list[_Entry] = []

    def add(self, pattern: PathPattern, entry: _Entry) -> None:
        """Add a rule; rules come in file order."""
        if pattern.kind is PathKind.EXACT:
            entries = self._exact.setdefault(pattern.text, [])
        elif pattern.kind is PathKind.REGEX:
            entries = self._regexes.setdefault(pattern.text, (re.compile(pattern.text), []))[1]
        elif pattern.kind is PathKind.PREFIX:
            entries = self._prefixes.setdefault(pattern.text, [])
            self._lengths = tuple(sorted({*self._lengths, len(pattern.text)}, reverse=True))
        else:
            entries = self._any
        entries.append(entry)
        entries.sort(key=lambda entry: -entry.predicates.count)  # stable: file order breaks ties

    def unconditional(self) -> Matched | None:
        """Return the rule that every path ends at, None if that depends."""
        if self._exact or self._regexes or self._prefixes or not self._any:
            return None
        return None if self._any[0].predicates.count else self._any[0].matched

    def candidates(self, path: str) -> Iterator[list[_Entry]]:
        """Yield the rules whose path matches, class by class, best first."""
        exact = self._exact.get(path)
        if exact:
            yield exact
        if self._regexes and len(path) <= LONGEST_INPUT:
            for regex, entries in self._regexes.values():
                if regex.match(path):
                    yield entries
        for length in self._lengths:
            if length <= len(path):
                prefix = path[:length]
                found = self._prefixes.get(prefix)
                if found and is_under(path, prefix):
                    yield found
        if self._any:
            yield self._any


class _Hosts:
    """The rules of one priority, by host."""

    __slots__ = ("any", "exact", "wildcards")

    def __init__(self) -> None:
        self.exact: dict[str, _Paths] = {}
        self.wildcards: dict[str, _Paths] = {}
        self.any = _Paths()

    def of(self, written: str) -> _Paths:
        """Return the table for a host pattern as written, made if need be."""
        text, wild = host_pattern(written)
        if wild and not text:
            return self.any
        return (self.wildcards if wild else self.exact).setdefault(text, _Paths())

    def unconditional(self) -> Matched | None:
        """Return the rule that every request ends at, None if that depends."""
        return None if self.exact or self.wildcards else self.any.unconditional()

    def candidates(self, host: str | None) -> Iterator[_Paths]:
        """Yield the tables whose host matches, best first."""
        if host is not None:
            exact = self.exact.get(host)
            if exact:
                yield exact
            if self.wildcards:
                dot = host.find(".")
                while dot >= 0:
                    wildcard = self.wildcards.get(host[dot + 1 :])
                    if wildcard:
                        yield wildcard
                    dot = host.find(".", dot + 1)
        yield self.any


class Router:
    """The compiled rules of one listener.

    `header_names`: the header fields any rule looks at, in lower case; `uses_query`: whether any rule looks at the
    query. What no rule looks at cannot change the verdict, so a verdict may be remembered without it.
    """

    __slots__ = ("_entries", "_levels", "_only", "header_names", "uses_query")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._entries = tuple(_Entry(rule, index) for index, rule in enumerate(rules))
        self.header_names: frozenset[str] = frozenset(name.lower() for rule in rules for name, _ in rule.match.headers)
        self.uses_query = any(rule.match.query for rule in rules)
        levels: dict[int, _Hosts] = {}
        for rule, entry in zip(rules, self._entries):
            hosts = levels.setdefault(rule.priority, _Hosts())
            for host in dict.fromkeys(rule.match.hosts or ("*",)):
                table = hosts.of(host)
                for pattern in entry.paths:
                    table.add(pattern, entry)
        self._levels = tuple(levels[priority] for priority in sorted(levels, reverse=True))
        self._only = self._levels[0].unconditional() if self._levels else None

    def match(
        self, method: str, host: str | None, path: str, query: str, headers: Mapping[str, str]
    ) -> Matched | WrongMethod | NoRule:
        """Return the rule that the request belongs to, or why there is none.

        `host` as `host_key` gives it (None: an HTTP/1.0 request without Host, which matches only rules without hosts),
        `path` as `normalise` gives it, `query` raw without `?`; `headers` maps lower-case names to values, those of
        `header_names` suffice; several lines of one name are joined by `, `.
        """
        if self._only is not None:  # nothing to compare (-2 µs)
            return self._only
        misses = _Misses()
        for hosts in self._levels:
            for table in hosts.candidates(host):
                for entries in table.candidates(path):
                    for entry in entries:
                        predicates = entry.predicates
                        if not predicates.count:
                            return entry.matched
                        misfit = predicates.first_misfit(method, query, headers)
                        if not misfit:
                            return entry.matched
                        if misfit == "method":
                            misses.methods |= predicates.methods
                        else:
                            misses.others = True
        if misses.methods and not misses.others:
            return WrongMethod(tuple(sorted(misses.methods)))
        return NoRule(self._nearest(method, host, path, query, headers))

    def _nearest(self, method: str, host: str | None, path: str, query: str, headers: Mapping[str, str]) -> str:
        best, sentence = -1, "the listener has no rules"
        for entry in self._entries[:_NEAREST_OF]:
            fitted, misfit = _how_far(entry, method, host, path, query, headers)
            if fitted > best:
                best, sentence = fitted, f"nearest is rule {entry.matched.rule.name}, but {misfit}"
        return sentence


def _how_far(
    entry: _Entry, method: str, host: str | None, path: str, query: str, headers: Mapping[str, str]
) -> tuple[int, str]:
    """Return how many of host, path and method fit, in this order, and the phrase on the first that does not."""
    match = entry.matched.rule.match
    if match.hosts and not any(host_fits(written, host) for written in match.hosts):
        return 0, f"host {host!r} is not {alternatives(match.hosts)}" if host else "the request has no host"
    if not any(path_fits(pattern, path) for pattern in entry.paths):
        return 1, f"path {path[:200]!r} does not match {alternatives(match.paths)}"
    misfit = entry.predicates.first_misfit(method, query, headers)
    if misfit == "method":
        return 2, f"method {method} is not {alternatives(match.methods)}"
    return 3, misfit


def host_fits(written: str, host: str | None) -> bool:
    """Return whether a host is one that the pattern as written means."""
    text, wild = host_pattern(written)
    if not wild:
        return host == text
    return not text or (host is not None and host.endswith(f".{text}"))


def path_fits(pattern: PathPattern, path: str) -> bool:
    """Return whether a path in its normal form is one that the pattern means."""
    if pattern.kind is PathKind.EXACT:
        return path == pattern.text
    if pattern.kind is PathKind.REGEX:
        return len(path) <= LONGEST_INPUT and re.match(pattern.text, path) is not None
    return pattern.kind is PathKind.ANY or is_under(path, pattern.text)


def alternatives(words: Sequence[str]) -> str:
    """Return a few words of a list, as a sentence has them."""
    shown = [repr(word) for word in words[:3]]
    return " or ".join(shown) + (f" or {len(words) - 3} more" if len(words) > 3 else "")
