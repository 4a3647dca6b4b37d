"""The patterns of a rule, compiled: hosts, paths, and predicates on method, headers and query.

Written forms: host `api.example.com` or `*.shop.example` (any depth, never the apex); path `/prefix`, `=/exact`,
`~regex` (from the start); header and query value exact, `*` (present) or `~regex`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote_plus

from balancer.model.secret import ANY, is_secret
from balancer.model.snapshot import Match
from balancer.routing.paths import host_key, normalise

LONGEST_INPUT = 8192  # characters; no regex is run on more
_ASCII = "".join(chr(code) for code in range(128))


class PathKind(Enum):
    """How a path pattern is compared, best first."""

    EXACT = "exact"
    REGEX = "regex"
    PREFIX = "prefix"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """One path pattern; `text` in the normal form of paths (a regex as written, without `~`)."""

    kind: PathKind
    text: str = ""


ANY_PATH = PathPattern(PathKind.ANY)


def path_pattern(written: str) -> PathPattern:
    """Return the pattern; its text is brought to the form in which requests are matched."""
    if written.startswith("~"):
        return PathPattern(PathKind.REGEX, written[1:])
    if written.startswith("="):
        return PathPattern(PathKind.EXACT, _normal(written[1:]))
    return PathPattern(PathKind.PREFIX, _normal(written))


def is_under(path: str, prefix: str) -> bool:
    """Return whether `path` is `prefix` or lies under it, at the border of a segment: /v10 is not under /v1."""
    return path.startswith(prefix) and (len(path) == len(prefix) or prefix[-1:] == "/" or path[len(prefix)] == "/")


def host_pattern(written: str) -> tuple[str, bool]:
    """Return (host, False), or (the part behind the star's dot, True), or ("", True) for `*`: any host."""
    text = written.lower().rstrip(".")
    if text == "*":
        return "", True
    if text.startswith("["):
        return host_key(text.encode()) or text, False
    return (text[2:], True) if text.startswith("*.") else (text, False)


class Value:
    """What a header or a query key must say."""

    __slots__ = ("_exact", "_regex", "otherwise")

    def __init__(self, name: str, written: str) -> None:
        known = not is_secret(name) or written == ANY
        self.otherwise = f"is not {written!r}" if known else "is missing or has another value"
        self._regex = re.compile(written[1:]) if written.startswith("~") else None
        self._exact = None if written == ANY or self._regex else written

    def fits(self, value: str | None) -> bool:
        """Return whether the value (None: absent) is as asked."""
        if value is None:
            return False
        if self._regex:
            return len(value) <= LONGEST_INPUT and self._regex.match(value) is not None
        return self._exact is None or value == self._exact


class Predicates:
    """The parts of a match beside host and path. More of them win over fewer."""

    __slots__ = ("count", "headers", "methods", "query")

    def __init__(self, match: Match) -> None:
        methods = set(match.methods)
        if "GET" in methods:
            methods.add("HEAD")
        self.methods: frozenset[str] = frozenset(methods)
        self.headers = tuple((name.lower(), Value(name, value)) for name, value in match.headers)
        self.query = tuple((name, Value(name, value)) for name, value in match.query)
        self.count = bool(match.methods) + len(self.headers) + len(self.query)

    def first_misfit(self, method: str, query: str, headers: Mapping[str, str]) -> str:
        """Return the first part that does not fit: `method`, or a phrase on a header or query key; "" if all fit."""
        if self.methods and method not in self.methods:
            return "method"
        for name, value in self.headers:
            if not value.fits(headers.get(name)):
                return f"header {name} {value.otherwise}"
        for name, value in self.query:
            if not value.fits(query_value(query, name)):
                return f"query key {name} {value.otherwise}"
        return ""


def query_value(query: str, key: str) -> str | None:
    """Return the first value of the key, decoded (`+` is a space), None if it is absent. `;` separates nothing."""
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if (unquote_plus(name) if "%" in name or "+" in name else name) == key:
            return unquote_plus(value)
    return None


def _normal(text: str) -> str:
    escaped = quote(text, safe=_ASCII).encode("ascii")
    normal = normalise(escaped)
    return escaped.decode("ascii") if normal is None else normal.match
