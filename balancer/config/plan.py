"""plan: two snapshots → what would be added, changed and removed, object by object, and what each change costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from balancer.config.fault import Fault, Place
from balancer.model.secret import MASK, masked
from balancer.model.snapshot import (
    Discover,
    FixedResponse,
    Forward,
    Listener,
    Match,
    RateLimit,
    Redirect,
    Rule,
    Snapshot,
    Target,
    TargetGroup,
)
from balancer.model.units import format_duration, format_rate, format_size

OPEN = "applied without closing connections"
RESTART = "needs a restart: a reload cannot change it"
_SIZES = {"body", "buffer_limit", "head", "min_body_rate", "replay_buffer"}
_Named = TypeVar("_Named", Listener, Rule, TargetGroup, Target)
_UNNAMED = re.compile(r"rules\[\d+\]")


class Kind(StrEnum):
    """What happens to an object."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a changed object, old and new as they stand in YAML."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Change:
    """One object that differs. `path` uses names; `cost` is one phrase; `restart`: a reload refuses it."""

    kind: Kind
    object: str  # listener, rule, target group, target, discovery, section
    path: str
    cost: str
    fields: tuple[Field, ...] = ()
    restart: bool = False


def diff(old: Snapshot, new: Snapshot) -> tuple[Change, ...]:
    """Return every difference between two configurations; nothing for equal ones.

    Versions, resolved addresses and discovered targets are no part of a configuration.
    """
    return (*_sections(old, new), *_listeners(old, new), *_groups(old, new))


def arranged(new: Snapshot, old: Snapshot) -> Snapshot:
    """Return `new` with its parts in the order of `old`: `diff` goes by name and says nothing of order."""

    def rules(one: Listener, before: Listener | None) -> Listener:
        return one if before is None else replace(one, rules=_in_order(one.rules, before.rules))

    def targets(one: TargetGroup, before: TargetGroup | None) -> TargetGroup:
        return one if before is None else replace(one, targets=_in_order(one.targets, before.targets))

    listeners = {one.name: one for one in old.listeners}
    groups = {one.name: one for one in old.target_groups}
    return replace(
        new,
        listeners=tuple(rules(one, listeners.get(one.name)) for one in _in_order(new.listeners, old.listeners)),
        target_groups=tuple(
            targets(one, groups.get(one.name)) for one in _in_order(new.target_groups, old.target_groups)
        ),
    )


def _in_order(new: tuple[_Named, ...], old: tuple[_Named, ...]) -> tuple[_Named, ...]:
    places = {one.name: place for place, one in enumerate(old)}
    return tuple(sorted(new, key=lambda one: places.get(one.name, len(places))))


def restart_faults(changes: tuple[Change, ...], places: Mapping[str, Place]) -> tuple[Fault, ...]:
    """Return a fault for each change that a reload must refuse. `places`: where those settings stand."""
    faults = []
    for change in changes:
        if change.restart:
            place = places.get(change.path, places.get("", Place("configuration")))
            was = change.fields[0]
            remedy = f"restart the balancer, or write {was.old} again"
            problem = f"a reload cannot change {was.old} to {was.new}"
            faults.append(Fault(place.file, place.line, place.column, change.path, problem, remedy))
    return tuple(faults)


# sections


def _sections(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    if old.workers != new.workers:
        field = Field("workers", str(old.workers), str(new.workers))
        yield Change(Kind.CHANGED, "section", "workers", RESTART, (field,), restart=True)
    if old.admin.address != new.admin.address:
        field = Field("address", old.admin.address, new.admin.address)
        yield Change(Kind.CHANGED, "section", "admin.address", RESTART, (field,), restart=True)
    rest = _differences(old.admin, replace(new.admin, address=old.admin.address))
    if rest:
        yield Change(Kind.CHANGED, "section", "admin", "applies to the next admin request", rest)
    if old.stop_timeout != new.stop_timeout:
        field = Field("stop_timeout", format_duration(old.stop_timeout), format_duration(new.stop_timeout))
        yield Change(Kind.CHANGED, "section", "stop_timeout", "applies to the next stop", (field,))
    if old.buffer_limit != new.buffer_limit:
        field = Field(
            "buffer_limit", *(_shown("buffer_limit", limit) for limit in (old.buffer_limit, new.buffer_limit))
        )
        yield Change(Kind.CHANGED, "section", "buffer_limit", "applies at once", (field,))
    if old.access_log != new.access_log:
        log = _differences(old.access_log, new.access_log)
        if not old.access_log.path or not new.access_log.path:
            log = (Field("access_log", old.access_log.path or "off", new.access_log.path or "off"),)
        yield Change(Kind.CHANGED, "section", "access_log", "lines go there from now on; none is lost", log)


# listeners and their rules


def _listeners(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before = {listener.name: listener for listener in old.listeners}
    after = {listener.name: listener for listener in new.listeners}
    for name, listener in before.items():
        if name not in after:
            cost = f"gives up {listener.address}; its connections end after their current response"
            yield Change(Kind.REMOVED, "listener", f"listeners.{name}", cost)
    for name, listener in after.items():
        if name not in before:
            cost = f"binds {listener.address}, or the reload fails as a whole"
            yield Change(Kind.ADDED, "listener", f"listeners.{name}", cost)
            continue
        changed = _differences(before[name], listener, without=("rules",))
        if before[name].address != listener.address:
            cost = f"binds {listener.address}; connections on {before[name].address} end after their current response"
            yield Change(Kind.CHANGED, "listener", f"listeners.{name}", cost, changed)
        elif changed:
            yield Change(Kind.CHANGED, "listener", f"listeners.{name}", OPEN, changed)
        yield from _rules(before[name], listener)


def _rules(old: Listener, new: Listener) -> Iterator[Change]:
    cost = "applies to the next request"
    if old.rules == new.rules:
        return
    before, after = _keyed(old.rules), _keyed(new.rules)
    come = dict.fromkeys(key for key in after if key not in before)
    places = {after[key].name: key for key in reversed(come)}
    twins: dict[object, object] = {}
    for key, rule in before.items():  # a rule without a name whose match was edited is still the rule in that place
        if key not in after and _UNNAMED.fullmatch(rule.name) and rule.name in places:
            twins[key] = places.pop(rule.name)
            del come[twins[key]]
    before = {twins.get(key, key): rule for key, rule in before.items()}
    for key, rule in before.items():
        if key not in after:
            yield Change(Kind.REMOVED, "rule", _rule_path(old, rule), cost)
    for key, rule in after.items():
        if key in come:
            yield Change(Kind.ADDED, "rule", _rule_path(new, rule), cost)
        elif changed := _rule_differences(before[key], rule):
            yield Change(Kind.CHANGED, "rule", _rule_path(new, rule), cost, changed)
    kept = dict.fromkeys(key for key in before if key in after and key not in come)
    if list(kept) != [key for key in after if key in kept]:
        order = Field("order", *(", ".join(rule.name for rule in rules) for rules in (old.rules, new.rules)))
        yield Change(Kind.CHANGED, "rule", f"listeners.{new.name}.rules", cost, (order,))


def _keyed(rules: tuple[Rule, ...]) -> dict[object, Rule]:
    """Return the rules by what makes them the same in two files: the name, or else what they match."""
    seen: Counter[object] = Counter()
    keyed: dict[object, Rule] = {}  # in the order of the rules
    for rule in rules:
        key: object = _masked(rule.match) if _UNNAMED.fullmatch(rule.name) else rule.name
        keyed[key, seen[key]] = rule
        seen[key] += 1
    return keyed


def _masked(match: Match) -> Match:
    """Return what a rule matches as the admin API shows it: that is what one side of a plan may be."""
    headers, query = (
        tuple((name, masked(name, value)) for name, value in pairs) for pairs in (match.headers, match.query)
    )
    return replace(match, headers=headers, query=query)


def _rule_differences(old: Rule, new: Rule) -> tuple[Field, ...]:
    changed = _differences(old, new, without=("name", "action"))
    if old.action != new.action:
        changed += (Field("action", _action(old.action), _action(new.action)),)
    return changed


def _rule_path(listener: Listener, rule: Rule) -> str:
    separator = "." if _UNNAMED.fullmatch(rule.name) else ".rules."
    return f"listeners.{listener.name}{separator}{rule.name}"


def _action(action: Forward | Redirect | FixedResponse) -> str:
    if isinstance(action, Forward):
        if len(action.groups) == 1:
            return f"forward {action.groups[0][0]}"
        return f"forward {', '.join(f'{name}: {weight}' for name, weight in action.groups)}"
    if isinstance(action, Redirect):
        return f"redirect {action.to} {action.status}"
    return f"fixed_response {action.status} {len(action.body.encode(errors='replace'))}B {action.content_type}"


# groups and their targets


def _groups(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before = {group.name: group for group in old.target_groups}
    after = {group.name: group for group in new.target_groups}
    for name, group in before.items():
        if name not in after:
            cost = f"drains its targets for up to {format_duration(group.drain_timeout)}"
            yield Change(Kind.REMOVED, "target group", f"target_groups.{name}", cost)
    for name, group in after.items():
        if name not in before:
            cost = "its targets get requests at once, and their first checks"
            yield Change(Kind.ADDED, "target group", f"target_groups.{name}", cost)
            continue
        if before[name] == group:
            continue
        changed = _differences(before[name], group, without=("targets", "discover"))
        if changed:
            cost = OPEN
            if before[name].health_check != group.health_check:
                cost = "states stay, every target is checked again at once"
            yield Change(Kind.CHANGED, "target group", f"target_groups.{name}", cost, changed)
        yield from _targets(before[name], group)
        yield from _discovery(before[name], group)


def _targets(old: TargetGroup, new: TargetGroup) -> Iterator[Change]:
    before = {target.name: target for target in old.targets if not _is_discovered(target)}
    after = {target.name: target for target in new.targets if not _is_discovered(target)}
    drain = format_duration(new.drain_timeout)
    path = f"target_groups.{new.name}.targets"
    for name in before:
        if name not in after:
            yield Change(Kind.REMOVED, "target", f"{path}.{name}", f"drains {name} for up to {drain}")
    for name, target in after.items():
        if name not in before:
            cost = "gets requests at once"
            if new.health_check is not None and before:
                cost = "gets requests after its first good check"
            yield Change(Kind.ADDED, "target", f"{path}.{name}", cost)
        elif changed := _differences(before[name], target, without=("ip", "port")):
            cost = "applies to the next pick"
            if (target.drain or target.disabled) and not (before[name].drain or before[name].disabled):
                cost = f"drains {name} for up to {drain}"
            elif (before[name].drain or before[name].disabled) and not (target.drain or target.disabled):
                cost = "serves again after its first good check, unless it is drained by the operator"
            if before[name].address != target.address:
                cost = f"drains {before[name].address} for up to {drain}; the new address is checked first"
            yield Change(Kind.CHANGED, "target", f"{path}.{name}", cost, changed)


def _discovery(old: TargetGroup, new: TargetGroup) -> Iterator[Change]:
    before = {entry.dns: entry for entry in old.discover}
    after = {entry.dns: entry for entry in new.discover}
    path = f"target_groups.{new.name}.discover"
    for name in before:
        if name not in after:
            cost = f"drains what it found for up to {format_duration(new.drain_timeout)}"
            yield Change(Kind.REMOVED, "discovery", f"{path}.{name}", cost)
    for name, entry in after.items():
        if name not in before:
            yield Change(Kind.ADDED, "discovery", f"{path}.{name}", "looked up at once; its targets are checked first")
        elif changed := _differences(before[name], entry):
            yield Change(
                Kind.CHANGED, "discovery", f"{path}.{name}", _discovery_cost(before[name], entry, new), changed
            )


def _discovery_cost(old: Discover, new: Discover, group: TargetGroup) -> str:
    if old.port == new.port:
        return "applies to the next pick"
    return f"drains what it found on port {old.port} for up to {format_duration(group.drain_timeout)}"


def _is_discovered(target: Target) -> bool:
    return "#" in target.name  # no name in a file can have it


# fields


def _differences(old: Any, new: Any, without: tuple[str, ...] = (), prefix: str = "") -> tuple[Field, ...]:
    """Return the fields in which two values of one class differ, those of their parts with a dotted name."""
    found: list[Field] = []
    for field in fields(old):
        one, other = getattr(old, field.name), getattr(new, field.name)
        if field.name in without or one == other or (field.name in ("headers", "query") and _may_be_same(one, other)):
            continue
        name = f"{prefix}{field.name}"
        if field.name == "token":
            if MASK not in (one, other):
                found.append(Field(name, MASK if one else "none", MASK if other else "none"))
        elif is_dataclass(one) and is_dataclass(other):
            found += _differences(one, other, prefix=f"{name}.")
        else:
            found.append(Field(name, _shown(field.name, one), _shown(field.name, other)))
    return tuple(found)


def _may_be_same(one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...]) -> bool:
    """Return whether headers or query keys are equal but for values that were masked on the way."""
    if [name for name, _ in one] != [name for name, _ in other]:
        return False
    return all(MASK in (mine, theirs) or mine == theirs for (_, mine), (_, theirs) in zip(one, other))


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "off"
    if isinstance(value, RateLimit):
        return f"{format_rate(value.rate)} burst {value.burst} key {value.key}"
    if is_dataclass(value):
        return "on"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format_rate(value) if name == "rate" else format_duration(value)
    if name in _SIZES:
        return format_size(value) if value else "0"
    if name == "expected_statuses":
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in value)
    if name in ("headers", "query"):
        return "{" + ", ".join(f"{key}: {masked(key, text)}" for key, text in value) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    return str(value) if value != "" else "none"
