"""story: one request as the JSON of the admin API: rule, targets, tries, and the reason in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from balancer.board.records import MOST_TRIES, NONE, Record, Try
from balancer.board.scenes import Scene, Seen
from balancer.control.explain import words
from balancer.control.explain.look import Found
from balancer.control.explain.names import Names
from balancer.control.explain.words import milliseconds
from balancer.control.facts import Key
from balancer.model.names import STATES, PolicyName, State
from balancer.model.reason import Reason
from balancer.model.snapshot import Rule, Snapshot, TargetGroup
from balancer.picking import zones
from balancer.routing import paths
from balancer.routing.nearest import Verdict, nearest, verdicts

Json = dict[str, Any]
Time = Callable[[float], str | None]
# (target, state, since in monotonic ms) → why it is in that state; only what is so still can be known.
States = Mapping[tuple[Key, State, int], str]
MOST_RULES = 50  # rules told of


def line(record: Record, names: Names, time: Time) -> Json:
    """Return what a list shows of a request."""
    reason = words.reason_of(record.reason)
    return {
        "request_id": record.request_id,
        "time": time(record.started),
        "listener": names.listener(record.listener),
        "method": record.method,
        "host": record.host,
        "path": record.path,
        "status": record.status,
        "source": "upstream" if record.from_upstream else "balancer",
        "reason": reason.word if reason is not None else "",
        "target_group": names.group(record.group),
        "target": names.target(record.target)[1],
        "zone": names.zone(record.target),
        "duration_ms": _ms(record.duration),
        "queue_ms": _ms(record.queue),
        "connect_ms": _ms(record.connect),
        "first_byte_ms": _ms(record.first_byte),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "retries": record.retries,
        "upstream_status": record.upstream_status,
    }


def story(
    found: Found,
    names: Names,
    snapshot: Snapshot | None,
    running: Snapshot,
    states: States,
    time: Time,
    now: float,
    unresolved: Mapping[str, str] = MappingProxyType({}),
) -> Json:
    """Return all there is to say of a request.

    `snapshot`: the configuration it met, None if that is not known any more; `running`: the one of today; `states`:
    why targets are in the state they are in now; `now` in seconds since 1970;
    `unresolved`: target group → which of its names do not resolve now, and why.
    """
    record = _so_far(found.record, now)
    rules = _rules(record, names, snapshot)
    verdict = nearest(rules)
    matched = _matched(record, names, snapshot)
    group = _group(record, names, snapshot) or _group(record, names, running)
    policy = group.policy if group is not None else None
    return {
        **line(record, names, time),
        "sentence": sentence(record, names, matched, verdict, found.scene, unresolved),
        "open": record.open,
        "cut": record.cut,
        "detail": record.detail,
        "place": found.place,
        "config": {"version": record.version, "revision": record.revision, "known": snapshot is not None},
        "rule": None
        if matched is None
        else {"name": matched.name, "index": record.rule, "action": words.action(matched)},
        "nearest": None if verdict is None else {"name": verdict.rule, "index": verdict.index, "why": verdict.why},
        "rules": [
            {"name": one.rule, "index": one.index, "verdict": one.misfit, "why": one.why} for one in rules[:MOST_RULES]
        ],
        "policy": policy.value if policy is not None else "",
        "pick": words.pick(policy) if policy is not None and found.scene is not None else "",
        "tiers": _tiers(found.scene, group),
        "target_count": found.scene.count if found.scene is not None else 0,
        "targets": _targets(record, found.scene, names, policy or PolicyName.ROUND_ROBIN, states, time),
        "try_count": (_numbers(record) or (1 if names.target(record.target)[1] else 0,))[-1],
        "tries": _tries(record, names),
    }


def _so_far(record: Record, now: float) -> Record:
    """Return the record of a request under way as it is now; it was written when that was first noticed."""
    more = now - record.started - record.duration
    if not record.open or more <= 0:
        return record
    tries = record.tries
    queue = record.queue
    if record.target == NONE:  # its tries are over: it waits, in the queue if it has a time there
        queue += more if queue else 0.0
    elif tries:
        tries = (*tries[:-1], replace(tries[-1], seconds=tries[-1].seconds + more))
    return replace(record, duration=record.duration + more, queue=queue, tries=tries)


# Rules


def _rules(record: Record, names: Names, snapshot: Snapshot | None) -> tuple[Verdict, ...]:
    listener = _listener_rules(record, names, snapshot)
    if not record.method or not listener or (record.rule < 0 and not _was_routed(record)):
        return ()
    path = paths.normalise(record.path.encode("latin-1"))
    host = paths.host_key(record.host.encode("latin-1")) if record.host else None
    return verdicts(
        listener, record.rule, record.method, host, path.match if path is not None else None, cut=record.cut
    )


def _was_routed(record: Record) -> bool:
    return words.reason_of(record.reason) in (Reason.NO_RULE, Reason.METHOD_NOT_ALLOWED)


def _listener_rules(record: Record, names: Names, snapshot: Snapshot | None) -> tuple[Rule, ...]:
    if snapshot is None:
        return ()
    name = names.listener(record.listener)
    return next((one.rules for one in snapshot.listeners if one.name == name), ())


def _matched(record: Record, names: Names, snapshot: Snapshot | None) -> Rule | None:
    rules = _listener_rules(record, names, snapshot)
    return rules[record.rule] if 0 <= record.rule < len(rules) else None


# Targets


def _group(record: Record, names: Names, snapshot: Snapshot | None) -> TargetGroup | None:
    name = names.group(record.group)
    groups = snapshot.target_groups if snapshot is not None else ()
    return next((one for one in groups if one.name == name), None)


def _tiers(scene: Scene | None, group: TargetGroup | None) -> list[Json]:
    if scene is None:
        return []
    named: tuple[tuple[str, ...], ...] = ()
    if group is not None:
        named = zones.tiers(group.zones, tuple(dict.fromkeys(target.zone for target in group.targets)))
    padded = [*named, *((),) * max(0, len(scene.shares) - len(named))]
    return [
        {"zones": list(tier), "share": share, "panic": panic}
        for tier, share, panic in zip(padded, scene.shares, scene.panic)
    ]


def _targets(
    record: Record, scene: Scene | None, names: Names, policy: PolicyName, states: States, time: Time
) -> list[Json]:
    if scene is None:
        return []
    found = []
    for seen in scene.targets:
        key, state = names.target(seen.target), STATES[seen.state]
        known = states.get((key, state, seen.since), "")
        found.append(
            {
                "target": key[1],
                "zone": names.zone(seen.target),
                "state": state.value,
                "since": time(scene.at_wall - scene.at + seen.since / 1000) if seen.since else None,
                "weight": seen.weight / 100,
                "in_rotation": seen.in_rotation,
                "taken": seen.target == record.target,
                "why": _why(record, scene, seen, policy, known),
            }
        )
    return found


def _why(record: Record, scene: Scene, seen: Seen, policy: PolicyName, known: str) -> str:
    numbers = _numbers(record)
    tried = [index for index, one in enumerate(record.tries) if one.target == seen.target]
    if tried:
        last = words.reason_of(record.tries[tried[-1]].reason)
        told = " and ".join(str(numbers[index]) for index in tried)
        which = f"try {told} of {numbers[-1]}" if numbers[-1] > 1 else "tried"
        return f"taken ({which})" if last is None else f"{which}: {last.word}"
    if seen.target == record.target:
        return words.taken(STATES[seen.state], policy)
    share = scene.shares[seen.tier] if 0 <= seen.tier < len(scene.shares) else 0
    full = seen.target in record.passed or words.reason_of(record.reason) in words.FULL
    return words.standing(seen, share, policy, full, known)


def _numbers(record: Record) -> tuple[int, ...]:
    """Return which tries of the request those are that the record kept: the first ones, and the last."""
    kept = len(record.tries)
    last = max(kept, record.retries + 1) if kept >= MOST_TRIES else kept
    return (*range(1, kept), last) if kept else ()


def _tries(record: Record, names: Names) -> list[Json]:
    tries = record.tries
    if not tries and names.target(record.target)[1]:  # it went to one target, and that was that
        tries = (Try(record.target, record.reason, record.queue, record.connect, record.duration, record.reused),)
    return [
        {
            "number": number,
            "target": names.target(one.target)[1],
            "zone": names.zone(one.target),
            "reason": reason.word if (reason := words.reason_of(one.reason)) is not None else "",
            "start_ms": _ms(one.start),
            "connect_ms": _ms(one.connect),
            "duration_ms": _ms(one.seconds),
            "reused": one.reused,
        }
        for number, one in zip(_numbers(record) or (1,), tries)
    ]


# The sentence


def sentence(
    record: Record,
    names: Names,
    matched: Rule | None,
    verdict: Verdict | None,
    scene: Scene | None,
    unresolved: Mapping[str, str],
) -> str:
    """Return in one sentence what became of a request, and why."""
    reason = words.reason_of(record.reason)
    took = milliseconds(record.duration)
    at = _at(record, names)
    if record.queue >= 0.0005:
        took += f" ({milliseconds(record.queue)} in the queue)"
    last = record.tries[-1] if record.tries else None
    past = record.tries[:-1] if last is not None and last.target == record.target else record.tries
    before = words.after([(names.target(one.target)[1], words.reason_of(one.reason)) for one in past])
    if before:
        number = max(len(past) + 1, (_numbers(record) or (0,))[-1])
        before = f" on try {number},{before}"
    if record.open:
        return f"Under way for {took}, {f'at {at}' if at else 'without a target yet'}{before}."
    if reason is None and at:
        return f"Answered {record.status} by {at} in {took}{before}."
    if reason is None:
        return f"Answered {record.status} by the balancer itself{f', by {matched.name}' if matched else ''}."
    while_at = f"while it was at {at}" if at else "before it had a target"
    if reason is Reason.WORKER_LOST:
        return f"Lost, {reason.word}: {reason.sentence}, about {took} after it began, {while_at}{before}."
    if reason is Reason.CLIENT_CLOSED:
        return f"Given up, {reason.word}: {reason.sentence}, after {took}, {while_at}{before}."
    cut = record.from_upstream or not record.status
    told = f"Cut off after {took}, {reason.word}" if cut else f"Answered {record.status} {reason.word} after {took}"
    told += f": {reason.sentence}"
    if reason in (Reason.NO_RULE, Reason.METHOD_NOT_ALLOWED):
        near = words.nearest(verdict)
        return f"{told}{'; ' + near if near else ''}."
    if reason is Reason.NO_TARGETS:
        lost = unresolved.get(names.group(record.group), "")
        return f"{told}{'; ' + lost if lost else ''}{before}."
    if reason is Reason.NO_HEALTHY_TARGET and scene is not None:
        return f"{told}: {_states(scene, names)}{before}."
    where = f", at {at}" if at else ""
    return f"{told}{f' ({record.detail})' if record.detail else ''}{where}{before}."


def _at(record: Record, names: Names) -> str:
    target, zone = names.target(record.target)[1], names.zone(record.target)
    return f"{target} ({zone})" if zone else target


def _states(scene: Scene, names: Names) -> str:
    told = [f"{names.target(seen.target)[1]} {STATES[seen.state].value}" for seen in scene.targets[:8]]
    more = scene.count - len(told)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
