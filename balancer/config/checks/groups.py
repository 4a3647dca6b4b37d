"""Target groups: targets that can be reached, checks that can pass, times that fit together."""

from __future__ import annotations

from collections.abc import Iterator

from balancer.config.checks.machine import bound, collide
from balancer.config.checks.patterns import refusal
from balancer.config.checks.scope import Scope
from balancer.config.checks.zones import zones
from balancer.config.fault import Finding, Steps, warning
from balancer.config.sections.health_check import HealthCheck
from balancer.config.sections.target_groups import TargetGroup
from balancer.model.names import CheckType
from balancer.model.units import format_duration

_SHORTEST_INTERVAL = 0.1
_SHORTEST_TIMEOUT = 0.01
_LONG_IDLE = 60.0  # nginx, the most patient of the usual servers, keeps a connection for 75 seconds
_HTTP_ONLY = ("path", "method", "host", "headers", "expected_statuses", "expect_body")


def groups(scope: Scope) -> Iterator[Finding]:
    """Yield what is wrong with each group."""
    for index, group in enumerate(scope.configuration.target_groups):
        steps: Steps = ("target_groups", index)
        if scope.is_whole((*steps, "targets")) and scope.is_whole((*steps, "discover")):
            yield from _targets(scope, group, steps)
            if scope.is_whole((*steps, "zones")):
                yield from zones(group, steps)
        if group.health_check is not None and scope.is_whole((*steps, "health_check")):
            yield from _health_check(group.health_check, (*steps, "health_check"))
        yield from _times(group, steps)
    yield from _unused(scope)


def _unused(scope: Scope) -> Iterator[Finding]:
    if not scope.configuration.listeners or not scope.is_whole(("listeners",)):
        return
    rules = (rule for listener in scope.configuration.listeners for rule in listener.rules)
    used = {name for rule in rules for name in rule.action.forward or ()}
    for index, group in enumerate(scope.configuration.target_groups):
        if group.name not in used:
            yield warning(
                ("target_groups", index, "name"), "no rule forwards here", "write a rule, or remove the group"
            )


def _targets(scope: Scope, group: TargetGroup, steps: Steps) -> Iterator[Finding]:
    if not group.targets and not group.discover:
        yield warning((*steps, "name"), "this group has no targets", "write targets: or discover:")
    elif not any([*(target.weight for target in group.targets), *(entry.weight for entry in group.discover)]):
        where: Steps = (*steps, "targets") if group.targets else (*steps, "discover")
        yield Finding(where, "every weight is 0: nobody would get a request", "give one of them a weight", on_key=True)
    seen: dict[str, str] = {}
    own = [(bound(listener.address), listener.name) for listener in scope.configuration.listeners]
    for index, target in enumerate(group.targets):
        place: Steps = (*steps, "targets", index, "address")
        if target.address in seen:
            yield warning(place, f"{target.address} is {seen[target.address]} too", "give one of them a greater weight")
        seen.setdefault(target.address, target.name)
        here = bound(target.address)
        name = next((name for address, name in own if collide(here, address) and _is_own(here)), None)
        if name is not None:
            yield warning(place, f"{target.address} is this balancer's own listener {name}", "name the backend")
        elif here is not None and here[0].is_unspecified:
            yield Finding(place, f"'{target.address}' is no address of a backend", f"write 127.0.0.1:{here[1]}")
    found: set[str] = set()
    for index, entry in enumerate(group.discover):
        if entry.dns in found:
            yield Finding(
                (*steps, "discover", index, "dns"), f"'{entry.dns}' is looked up twice here", "keep one of them"
            )
        found.add(entry.dns)


def _is_own(here: object) -> bool:
    address = here[0] if isinstance(here, tuple) else None
    return address is not None and (address.is_loopback or address.is_unspecified)


def _health_check(check: HealthCheck, steps: Steps) -> Iterator[Finding]:
    if check.type is not CheckType.HTTP:
        for key in _HTTP_ONLY:
            if key in check.model_fields_set:
                problem = "only an http check looks at this"
                yield warning((*steps, key), problem, "write type: http, or remove it", on_key=True)
                break
    elif check.expect_body.startswith("~") and (refused := refusal(check.expect_body)) is not None:
        yield Finding((*steps, "expect_body"), *refused)
    elif check.expect_body and check.method == "HEAD":
        yield Finding((*steps, "expect_body"), "the answer to HEAD has no body", "write method: GET")
    for key in ("interval", "fast_interval", "unhealthy_interval"):
        length = getattr(check, key)
        if length is not None and length < _SHORTEST_INTERVAL:
            yield Finding((*steps, key), f"'{format_duration(length)}' is too short", "write 100ms or more")
    if check.timeout < _SHORTEST_TIMEOUT:
        yield Finding((*steps, "timeout"), f"'{format_duration(check.timeout)}' is too short", "write 10ms or more")
    interval = format_duration(check.interval)
    if check.timeout > check.interval >= _SHORTEST_INTERVAL:
        problem = f"{format_duration(check.timeout)} is longer than the interval of {interval}"
        yield warning((*steps, "timeout"), problem, f"write {interval} or less")
    if check.fast_interval is not None and check.fast_interval > check.interval >= _SHORTEST_INTERVAL:
        problem = f"{format_duration(check.fast_interval)} is longer than the interval of {interval}"
        yield warning((*steps, "fast_interval"), problem, f"write {interval} or less")


def _times(group: TargetGroup, steps: Steps) -> Iterator[Finding]:
    times = group.timeouts
    place: Steps = (*steps, "timeouts")
    for key in ("connect", "response_header"):
        if getattr(times, key) == 0:
            yield warning((*place, key), "without this limit a request can wait for ever", "write a time such as 60s")
    if 0 < times.request <= times.connect:
        problem = f"the whole request may take {format_duration(times.request)}, connecting alone"
        remedy = f"write more than {format_duration(times.connect)}"
        yield warning((*place, "request"), f"{problem} {format_duration(times.connect)}", remedy)
    if times.upstream_idle > _LONG_IDLE:
        problem = f"few servers keep an idle connection for {format_duration(times.upstream_idle)}"
        yield warning((*place, "upstream_idle"), problem, "write less than your targets' keep-alive time, such as 4s")
    passive = group.passive
    if passive is not None and passive.base_ejection > passive.max_ejection:
        problem = f"{format_duration(passive.base_ejection)} is more than max_ejection"
        remedy = f"write {format_duration(passive.max_ejection)} or less"
        yield Finding((*steps, "passive", "base_ejection"), problem, remedy)
