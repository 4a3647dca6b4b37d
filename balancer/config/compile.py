"""Checked configuration → Snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from balancer.config.addresses import is_ip, split_address
from balancer.config.sections import rules as section_rules
from balancer.config.sections.configuration import AUTO, Configuration
from balancer.config.sections.health_check import HealthCheck
from balancer.config.sections.listeners import Listener
from balancer.config.sections.rate_limit import RateLimit
from balancer.config.sections.section import Section
from balancer.config.sections.target_groups import Target, TargetGroup
from balancer.config.sections.zones import Zones
from balancer.model import snapshot as model


def compile_snapshot(configuration: Configuration, token: str, cpus: Callable[[], int]) -> model.Snapshot:
    """Return the snapshot of a configuration without faults; version and revision are given by whoever accepts it."""
    admin = configuration.admin
    log = configuration.access_log
    return model.Snapshot(
        workers=cpus() if configuration.workers == AUTO else configuration.workers,
        admin=model.Admin(address=admin.address, insecure=admin.insecure, token=token, hosts=admin.hosts),
        stop_timeout=configuration.stop_timeout,
        buffer_limit=configuration.buffer_limit,
        access_log=model.AccessLog(path="", format="json") if log is None else model.AccessLog(**_plain(log)),
        listeners=tuple(_listener(listener) for listener in configuration.listeners),
        target_groups=tuple(_group(group) for group in configuration.target_groups),
    )


def _plain(section: Section) -> dict[str, Any]:
    return {name: getattr(section, name) for name in type(section).model_fields}


def _listener(listener: Listener) -> model.Listener:
    return model.Listener(
        name=listener.name,
        address=listener.address,
        protocol=listener.protocol,
        timeouts=model.ClientTimeouts(**_plain(listener.timeouts)),
        limits=model.Limits(**_plain(listener.limits)),
        trusted_proxies=tuple(dict.fromkeys(network for networks in listener.trusted_proxies for network in networks)),
        rules=tuple(_rule(rule, index) for index, rule in enumerate(listener.rules)),
        upgrade=listener.upgrade,
        rate_limit=None if listener.rate_limit is None else _rate_limit(listener.rate_limit),
    )


def _rate_limit(limit: RateLimit) -> model.RateLimit:
    return model.RateLimit(limit.rate, limit.burst or max(1, round(2 * limit.rate)), limit.key)


def _rule(rule: section_rules.Rule, index: int) -> model.Rule:
    match = rule.match
    return model.Rule(
        name=rule.name or f"rules[{index}]",
        match=model.Match(
            hosts=match.hosts,
            paths=match.paths,
            methods=match.methods,
            headers=tuple((name.lower(), value) for name, value in match.headers.items()),
            query=tuple(match.query.items()),
        ),
        action=_action(rule.action),
        priority=rule.priority,
        rate_limit=None if rule.rate_limit is None else _rate_limit(rule.rate_limit),
    )


def _action(action: section_rules.Action) -> model.Action:
    if action.redirect is not None:
        return model.Redirect(**_plain(action.redirect))
    if action.fixed_response is not None:
        return model.FixedResponse(**_plain(action.fixed_response))
    return model.Forward(tuple((action.forward or {}).items()))


def _group(group: TargetGroup) -> model.TargetGroup:
    return model.TargetGroup(
        name=group.name,
        protocol=group.protocol,
        policy=group.policy,
        health_check=None if group.health_check is None else _health_check(group.health_check),
        zones=_zones(group.zones),
        timeouts=model.UpstreamTimeouts(**_plain(group.timeouts)),
        retry=model.Retry(**_plain(group.retry)),
        passive=None if group.passive is None else model.Passive(**_plain(group.passive)),
        max_connections=group.max_connections,
        queue=model.Queue(**_plain(group.queue)),
        wait_for_target=group.wait_for_target,
        slow_start=group.slow_start,
        drain_timeout=group.drain_timeout,
        rescue=group.rescue,
        targets=tuple(_target(target) for target in group.targets),
        discover=tuple(model.Discover(**_plain(entry)) for entry in group.discover),
    )


def _health_check(check: HealthCheck) -> model.HealthCheck:
    written = _plain(check) | {"headers": tuple(check.headers.items())}
    fast = model.HealthCheck().fast_interval if check.fast_interval is None else check.fast_interval
    written["fast_interval"] = min(fast, check.interval)
    written["unhealthy_interval"] = check.interval if check.unhealthy_interval is None else check.unhealthy_interval
    return model.HealthCheck(**written)


def _zones(zones: Zones) -> model.Zones:
    return model.Zones(**(_plain(zones) | {"local": zones.local or ""}))


def _target(target: Target) -> model.Target:
    host, port = split_address(target.address) or ("", 0)
    return model.Target(
        name=target.name,
        address=target.address,
        ip=host if is_ip(host) else "",
        port=port,
        weight=target.weight,
        zone=target.zone,
        drain=target.drain,
        disabled=target.disabled,
    )
