"""story: one request as the JSON of the admin API: rule, targets, tries, and the reason in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from balancer.board.records import Record
from balancer.board.scenes import Scene, Seen
from balancer.control.explain import words
from balancer.control.explain.look import Found
from balancer.control.explain.names import Names
from balancer.control.explain.words import milliseconds
from balancer.model.names import STATES, PolicyName
from balancer.model.reason import Reason
from balancer.model.snapshot import Rule, Snapshot, TargetGroup
from balancer.picking import zones
from balancer.routing import paths
from balancer.routing.nearest import Verdict, nearest, verdicts

Json = dict[str, Any]
Time = Callable[[float], str | None]
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


def story(found: Found, names: Names, snapshot: Snapshot | None, running: Snapshot, time: Time) -> Json:
    """Return all there is to say of a request.

    `snapshot`: the configuration it met, None if that is not known any more; `running`: the one of today.
    """
    record = found.record
    rules = _rules(record, names, snapshot)
    verdict = nearest(rules)
    matched = _matched(record, names, snapshot)
    group = _group(record, names, snapshot) or _group(record, names, running)
    policy = group.policy if group is not None else None
    tries = _tries(record, names)
    return {
        **line(record, names, time),
        "sentence": sentence(record, names, matched, verdict, found.scene),
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
        "targets": _targets(record, found.scene, names, policy or PolicyName.ROUND_ROBIN, time),
        "tries": tries,
    }


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


def _targets(record: Record, scene: Scene | None, names: Names, policy: PolicyName, time: Time) -> list[Json]:
    if scene is None:
        return []
    return [
        {
            "target": names.target(seen.target)[1],
            "zone": names.zone(seen.target),
            "state": STATES[seen.state].value,
            "since": time(scene.at_wall - scene.at + seen.since / 1000) if seen.since else None,
            "weight": seen.weight / 100,
            "in_rotation": seen.in_rotation,
            "taken": seen.target == record.target,
            "why": _why(record, scene, seen, policy),
        }
        for seen in scene.targets
    ]


def _why(record: Record, scene: Scene, seen: Seen, policy: PolicyName) -> str:
    reason = words.reason_of(record.reason)
    tried = [number for number, one in enumerate(record.tries, 1) if one.target == seen.target]
    if tried:
        last = words.reason_of(record.tries[tried[-1] - 1].reason)
        which = "tried" if len(record.tries) == 1 else f"try {' and '.join(map(str, tried))} of {len(record.tries)}"
        return f"taken ({which})" if last is None else f"{which}: {last.word}"
    if seen.target == record.target:
        return f"taken: {words.pick(policy)}"
    share = scene.shares[seen.tier] if 0 <= seen.tier < len(scene.shares) else None
    panic = 0 <= seen.tier < len(scene.panic) and scene.panic[seen.tier]
    return words.standing(seen, share, panic, policy, reason)


def _tries(record: Record, names: Names) -> list[Json]:
    tries = record.tries
    if not tries and names.target(record.target)[1]:
        wait = record.queue
        return [_one_try(names, record.target, 0, wait, record.connect, record.duration - wait, record.reused)]
    # Between two tries lies next to nothing, but for the wait before the same target again: laid from the end.
    found: list[Json] = []
    end = record.duration
    for one in reversed(tries):
        start = max(0.0, end - one.seconds)
        found.append(_one_try(names, one.target, one.reason, start, one.connect, one.seconds, one.reused))
        end = start
    return found[::-1]


def _one_try(names: Names, target: int, code: int, start: float, connect: float, seconds: float, reused: bool) -> Json:
    reason = words.reason_of(code)
    return {
        "target": names.target(target)[1],
        "zone": names.zone(target),
        "reason": reason.word if reason is not None else "",
        "start_ms": _ms(start),
        "connect_ms": _ms(connect),
        "duration_ms": _ms(seconds),
        "reused": reused,
    }


# The sentence


def sentence(record: Record, names: Names, matched: Rule | None, verdict: Verdict | None, scene: Scene | None) -> str:
    """Return in one sentence what became of a request, and why."""
    reason = words.reason_of(record.reason)
    target = names.target(record.target)[1]
    past = record.tries[:-1] if record.tries and record.tries[-1].target == record.target else record.tries
    before = words.after([(names.target(one.target)[1], words.reason_of(one.reason)) for one in past])
    queued = f", after {milliseconds(record.queue)} in the queue" if record.queue >= 0.0005 else ""
    took = milliseconds(record.duration)
    zone = names.zone(record.target)
    at = f"{target} ({zone})" if zone else target
    if record.open:
        where = f"at {at}" if target else "without a target yet"
        return f"it is under way for {took}, {where}{queued}{before}"
    if reason is None and target:
        return f"{at} answered {record.status} in {took}{queued}{before}"
    if reason is None:
        rule = f"by rule {matched.name}" if matched is not None else "by itself"
        return f"the balancer answered {record.status} {rule}"
    answered = f"it was answered {record.status}" if record.status and not record.from_upstream else "it was cut off"
    if reason is Reason.WORKER_LOST:
        where = f"it was at {at}" if target else "it had no target yet"
        return f"it got no answer, {reason.word}: {reason.sentence} after about {took}, while {where}{before}"
    if reason is Reason.CLIENT_CLOSED:
        where = f" from {at}" if target else ""
        return f"{reason.word}: {reason.sentence}{where}, after {took}{queued}{before}"
    clause = f"{answered}, {reason.word}: {reason.sentence}"
    if reason in (Reason.NO_RULE, Reason.METHOD_NOT_ALLOWED):
        near = words.nearest(verdict)
        return f"{clause}{'; ' + near if near else ''}"
    if reason is Reason.NO_HEALTHY_TARGET and scene is not None:
        return f"{clause}: {_states(scene, names)}{before}"
    where = f" ({at}, after {took})" if target else ""
    detail = f": {record.detail}" if record.detail else ""
    return f"{clause}{where}{detail}{queued}{before}"


def _states(scene: Scene, names: Names) -> str:
    told = [f"{names.target(seen.target)[1]} {STATES[seen.state].value}" for seen in scene.targets[:8]]
    more = scene.count - len(told)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
