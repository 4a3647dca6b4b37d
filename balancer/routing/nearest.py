"""nearest: why each rule of a listener did or did not get a request, said afterwards from what is kept of it. Pure.

Host, method and path are known, headers and query are not. But it is known which rule got the request: one that comes
before it and fits by host, path and method must have failed by a header or by the query, and so must every such rule
where none got it. That is how a predicate that was never kept can be named.

The order is the router's: priority, host, path, number of predicates, place in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from balancer.model.secret import ANY, is_secret
from balancer.model.snapshot import Rule
from balancer.routing.patterns import ANY_PATH, PathKind, PathPattern, Predicates, host_pattern, path_pattern
from balancer.routing.router import alternatives, host_fits, path_fits

_PATHS = (PathKind.EXACT, PathKind.REGEX, PathKind.PREFIX, PathKind.ANY)
_MANY = 1_000_000  # more paths than a rule has
_FITTED = {"host": 0, "path": 1, "method": 2, "predicate": 3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule. `why` is a clause with "it" for the request.

    `misfit`: `host`, `path`, `method` or `predicate` (a header or query key), the first that did not fit; `later`: all
    fitted, but a rule that comes before it got the request; `matched`: this one got it; `unknown`: it cannot be told,
    because host or path were cut.
    """

    rule: str
    index: int
    misfit: str
    why: str


def verdicts(
    rules: Sequence[Rule], chosen: int, method: str, host: str | None, path: str | None, *, cut: bool = False
) -> tuple[Verdict, ...]:
    """Return a verdict on each rule, in the order in which the router prefers them for this request.

    `chosen`: the place of the rule that got the request, -1 if none did. `host` as `host_key` gives it, `path` as
    `normalise` does; None: there was none that could be read. `cut`: host and path may be shorter than they were, so
    nothing is said of a rule that they do not fit.
    """
    ranked = sorted(range(len(rules)), key=lambda index: _rank(rules, index, host, path))
    place = {index: position for position, index in enumerate(ranked)}
    found = []
    for index in ranked:
        rule = rules[index]
        if index == chosen:
            found.append(Verdict(rule.name, index, "matched", "it fits"))
            continue
        misfit, why = _misfit(rule, method, host, path)
        if misfit in ("host", "path") and cut:
            misfit, why = "unknown", "host or path are longer than what was kept of them"
        elif not misfit and chosen >= 0 and place[index] > place[chosen]:
            misfit, why = "later", f"it fits too, but {rules[chosen].name} comes before it"
        elif not misfit:
            misfit, why = "predicate", _eliminated(rule)
        found.append(Verdict(rule.name, index, misfit, why))
    return tuple(found)


def nearest(found: Sequence[Verdict]) -> Verdict | None:
    """Return the rule that came nearest of those that did not fit; None if every rule did.

    Of equally near ones it is the first in the file: the one that the router names too.
    """
    missed = [one for one in found if one.misfit in _FITTED]
    return max(missed, key=lambda one: (_FITTED[one.misfit], -one.index), default=None)


def _misfit(rule: Rule, method: str, host: str | None, path: str | None) -> tuple[str, str]:
    """Return the first part that does not fit, and the clause on it; "" if host, path and method do."""
    match = rule.match
    if match.hosts and not any(host_fits(written, host) for written in match.hosts):
        return "host", f"its host {host!r} is not {alternatives(match.hosts)}" if host else "it has no host"
    if match.paths and (path is None or not any(path_fits(path_pattern(written), path) for written in match.paths)):
        shown = "" if path is None else f" {path[:200]!r}"
        return "path", f"its path{shown} does not match {alternatives(match.paths)}"
    methods = Predicates(match).methods
    if methods and method not in methods:
        return "method", f"its method {method} is not {alternatives(match.methods)}"
    return "", ""


def _eliminated(rule: Rule) -> str:
    parts = [_clause("header", name, value) for name, value in rule.match.headers]
    parts += [_clause("query key", name, value) for name, value in rule.match.query]
    if not parts:
        return "it fits (nothing that was kept of it says why not)"
    return parts[0] if len(parts) == 1 else f"one of these is so: {', '.join(parts)}"


def _clause(kind: str, name: str, value: str) -> str:
    if value == ANY:
        return f"its {kind} {name} was missing"
    if is_secret(name):
        return f"its {kind} {name} was missing or had another value"
    return f"its {kind} {name} was not {f'like {value[1:]!r}' if value.startswith('~') else repr(value)}"


def _rank(rules: Sequence[Rule], index: int, host: str | None, path: str | None) -> tuple[int, ...]:
    """Return the key by which the router would come to a rule; what does not fit comes after what does."""
    rule = rules[index]
    hosts = [host_pattern(written) for written in rule.match.hosts or ("*",) if host_fits(written, host)]
    by_host, best = min(((_host_rank(*one), one) for one in hosts), default=((3, 0), None))
    patterns = [path_pattern(written) for written in rule.match.paths] or [ANY_PATH]
    fitting = [pattern for pattern in patterns if path is not None and path_fits(pattern, path)]
    by_path = min((_path_rank(rules, rule, best, pattern) for pattern in fitting), default=(len(_PATHS), 0))
    return (-rule.priority, *by_host, *by_path, -Predicates(rule.match).count, index)


def _host_rank(text: str, wild: bool) -> tuple[int, int]:
    if not wild:
        return 0, 0
    return (1, -text.count(".")) if text else (2, 0)


def _path_rank(
    rules: Sequence[Rule], rule: Rule, host: tuple[str, bool] | None, pattern: PathPattern
) -> tuple[int, int]:
    order = 0
    if pattern.kind is PathKind.PREFIX:
        order = -len(pattern.text)
    elif pattern.kind is PathKind.REGEX:  # in the order of the file: where the first rule of this host has it
        written = "~" + pattern.text
        uses = (
            index * _MANY + other.match.paths.index(written)
            for index, other in enumerate(rules)
            if other.priority == rule.priority
            and host in [host_pattern(name) for name in other.match.hosts or ("*",)]
            and written in other.match.paths
        )
        order = next(uses, 0)  # none: its host does not fit
    return _PATHS.index(pattern.kind), order
