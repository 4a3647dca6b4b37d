"""Rules: each leads somewhere, can match something, and takes no longer than a request may."""

from __future__ import annotations

from collections.abc import Iterator

from balancer.config.addresses import split_address
from balancer.config.checks.patterns import path_refusal, refusal
from balancer.config.checks.scope import Scope
from balancer.config.checks.shadow import shadowed
from balancer.config.fault import Finding, Steps, warning
from balancer.config.fields import listed, nearest
from balancer.config.sections.listeners import Listener
from balancer.config.sections.rules import Action, FixedResponse, Match, Rule
from balancer.routing.patterns import is_under

MAX_REGEX = 100
MAX_BODY = 64 * 1024
_UNSEEN = {"host": "hosts", "content-length": "limits.body"}  # what no rule sees → what to use instead
_UNSEEN |= dict.fromkeys(("connection", "upgrade", "expect", "transfer-encoding", "x-request-id"), "paths or methods")
_UNSEEN |= dict.fromkeys(("x-forwarded-for", "x-real-ip"), "a listener of its own for those clients")
_SMALLEST_HEAD, _LARGEST_HEAD = 1024, 1024 * 1024


def rules(scope: Scope) -> Iterator[Finding]:
    """Yield what is wrong with each listener and its rules."""
    for index, listener in enumerate(scope.configuration.listeners):
        steps: Steps = ("listeners", index)
        for number, rule in enumerate(listener.rules):
            place: Steps = (*steps, "rules", number)
            yield from _match(rule.match, (*place, "match"))
            if scope.is_whole((*place, "action")):
                yield from _action(scope, rule.action, (*place, "action"))
                yield from _loop(listener, rule, (*place, "action"))
        if scope.is_whole((*steps, "rules")):
            yield from _catch_all(listener, steps)
            yield from shadowed(listener.rules, (*steps, "rules"))
        yield from _limits(listener, steps)


def _limits(listener: Listener, steps: Steps) -> Iterator[Finding]:
    if listener.timeouts.request_header == 0:
        problem = "without this limit a client can hold a connection for ever"
        yield warning((*steps, "timeouts", "request_header"), problem, "write a time such as 10s")
    if not _SMALLEST_HEAD <= listener.limits.head <= _LARGEST_HEAD:
        place: Steps = (*steps, "limits", "head")
        yield Finding(place, "a head is kept in memory whole", "write a size from 1KiB to 1MiB, such as 32KiB")
    for index, networks in enumerate(listener.trusted_proxies):
        if any(network in ("0.0.0.0/0", "::/0") for network in networks):
            problem = "every client could choose its own address"
            yield warning((*steps, "trusted_proxies", index), problem, "name the proxies in front of this balancer")
    count = sum(_patterns(rule.match) for rule in listener.rules)
    if count > MAX_REGEX:
        problem = f"{count} regular expressions are too many"
        yield Finding((*steps, "rules"), problem, f"at most {MAX_REGEX} a listener; use prefixes", on_key=True)


def _patterns(match: Match) -> int:
    values = (*match.paths, *match.headers.values(), *match.query.values())
    return sum(value.startswith("~") for value in values)


def _match(match: Match, steps: Steps) -> Iterator[Finding]:
    for index, path in enumerate(match.paths):
        if path.startswith("~") and (refused := path_refusal(path)) is not None:
            yield Finding((*steps, "paths", index), *refused)
    for key in ("headers", "query"):
        seen: set[str] = set()
        for name, value in getattr(match, key).items():
            if value.startswith("~") and (refused := refusal(value)) is not None:
                yield Finding((*steps, key, name), *refused)
            folded = name.lower() if key == "headers" else name
            if key == "headers" and folded in _UNSEEN:
                problem = "no rule sees this header: it is made anew for each request"
                yield Finding((*steps, key, name), problem, f"use {_UNSEEN[folded]}", on_key=True)
            if folded in seen:
                yield Finding((*steps, key, name), "this header stands here twice", "keep one of them", on_key=True)
            seen.add(folded)


def _action(scope: Scope, action: Action, steps: Steps) -> Iterator[Finding]:
    written = [key for key in ("forward", "redirect", "fixed_response") if getattr(action, key) is not None]
    if not written:
        yield Finding(steps, "nothing is done", "write forward, redirect or fixed_response")
    elif len(written) > 1:
        yield Finding((*steps, written[1]), f"{listed(written)}: only one can be done", "keep one", on_key=True)
    if action.forward is not None:
        yield from _forward(scope, action.forward, (*steps, "forward"))
    if action.fixed_response is not None:
        yield from _fixed(action.fixed_response, (*steps, "fixed_response"))


def _forward(scope: Scope, groups: dict[str, int], steps: Steps) -> Iterator[Finding]:
    for name in groups:
        if scope.group_names is not None and name not in scope.group_names:
            meant = nearest(name, scope.group_names)
            known = listed(sorted(scope.group_names)[:5]) if scope.group_names else "one under target_groups"
            yield Finding((*steps, name), f"there is no target group '{name}'", f"write {meant or known}")
    if not any(groups.values()):
        yield Finding(steps, "every weight is 0: nobody would get a request", "give one of them a weight")


def _fixed(fixed: FixedResponse, steps: Steps) -> Iterator[Finding]:
    if len(fixed.body.encode(errors="replace")) > MAX_BODY:
        yield Finding((*steps, "body"), "the body is larger than 64 KiB", "serve it from a target")
    if fixed.body and fixed.status in (204, 205, 304):
        yield Finding((*steps, "body"), f"an answer with status {fixed.status} has no body", "remove it, or write 200")


def _loop(listener: Listener, rule: Rule, steps: Steps) -> Iterator[Finding]:
    """A redirect to the very URL that was asked for, where that can be proved."""
    redirect = rule.action.redirect
    if redirect is None or rule.action.forward is not None or rule.action.fixed_response is not None:
        return
    to = redirect.to.removesuffix("?{query}")
    _, port = split_address(listener.address) or ("", 0)
    same = {"{path}", "{scheme}://{host}{path}", "{scheme}://{host}:{port}{path}", "http://{host}:{port}{path}"}
    if port == 80:
        same.add("http://{host}{path}")
    goes_on = to.startswith("/") and "{" not in to and "?" not in to and _covers(rule, to)
    if to in same or (goes_on and not any(other is not rule and _covers(other, to) for other in listener.rules)):
        problem = f"{redirect.to} leads back to the request itself"
        yield Finding((*steps, "redirect", "to"), problem, "lead to another host or path")


def _covers(rule: Rule, path: str) -> bool:
    prefixes = [pattern for pattern in rule.match.paths if pattern.startswith("/")]
    exact = f"={path}" in rule.match.paths
    return not rule.match.paths or exact or any(is_under(path, prefix) for prefix in prefixes)


def _catch_all(listener: Listener, steps: Steps) -> Iterator[Finding]:
    if not listener.rules:
        yield warning((*steps, "name"), "without rules every request gets 404", "write rules: [{action: {forward: …}}]")
    elif not any(_takes_all(rule.match) for rule in listener.rules):
        problem = "a request that matches no rule gets 404"
        yield warning((*steps, "rules"), problem, "end with a rule without match", on_key=True)


def _takes_all(match: Match) -> bool:
    narrow = match.hosts or match.methods or match.headers or match.query
    return not narrow and (not match.paths or "/" in match.paths)
