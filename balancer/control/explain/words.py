"""words: what records and scenes say, in words that a person reads. Pure.

Clauses begin with a small letter and have no full stop: they are put together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from balancer.board.scenes import Seen
from balancer.model.names import EVIDENCES, STATES, Evidence, PolicyName, State
from balancer.model.reason import REASONS, Reason
from balancer.model.snapshot import FixedResponse, Forward, Redirect, Rule
from balancer.routing.nearest import Verdict

_PICKS = {
    PolicyName.ROUND_ROBIN: "the one whose turn it is by weight (round_robin)",
    PolicyName.LEAST_CONN: "the one with the fewest requests in flight for its weight (least_conn)",
}
_NOT_PICKED = {
    PolicyName.ROUND_ROBIN: "in rotation; it was not its turn",
    PolicyName.LEAST_CONN: "in rotation; another had fewer requests in flight for its weight",
}
FULL = frozenset({Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT})


def reason_of(code: int) -> Reason | None:
    """Return the reason of a record's code (0: none)."""
    return REASONS[code - 1] if 0 < code <= len(REASONS) else None


def pick(policy: PolicyName) -> str:
    """Return how a policy picks."""
    return _PICKS.get(policy, policy.value)


def taken(state: State, policy: PolicyName) -> str:
    """Return why a target was the one that was taken."""
    if state in (State.HEALTHY, State.UNKNOWN):
        return f"taken: {pick(policy)}"
    return f"taken though {state.value} (panic: too few are well): {pick(policy)}"


def action(rule: Rule) -> str:
    """Return what a rule does."""
    match rule.action:
        case Forward(groups) if len(groups) == 1:
            return f"forward to {groups[0][0]}"
        case Forward(groups):
            return f"forward to {', '.join(f'{name} ({weight})' for name, weight in groups)} by weight"
        case Redirect(to, status):
            return f"redirect {status} to {to}"
        case FixedResponse(status):
            return f"answer {status}"


def standing(seen: Seen, share: int, policy: PolicyName, full: bool, known: str) -> str:
    """Return why a target that was not tried was not.

    `share`: its tier's, in percent; `full`: it was at max_connections; `known`: why it is in its state.
    """
    state = STATES[seen.state]
    if seen.in_rotation:
        return _passed_over(state, share, policy, full)
    if seen.no_address:
        return "out: its name did not resolve"
    if seen.drilled:
        return "out: its zone is failed on purpose (a drill)"
    if state is State.EJECTED:
        why = "seen by this worker" if seen.own else known
        return f"out: ejected for its failures{f' ({why})' if why else ''}"
    if state is State.UNHEALTHY:
        sure = "nothing listens there" if EVIDENCES[seen.evidence] is Evidence.HARD else "its checks fail"
        return f"out: unhealthy ({known or sure})"
    if state in (State.DRAINING, State.DISABLED):
        return f"out: {state.value}, on purpose"
    if not seen.weight:
        return "out: its weight is 0"
    if state is State.UNKNOWN:
        return "out: not checked yet, while others are healthy"
    return f"out: {state.value}"


def _passed_over(state: State, share: int, policy: PolicyName, full: bool) -> str:
    """Return why a target that was in rotation was not taken."""
    if not share:
        return "ready, but its zone had no share of the traffic"
    if full:
        return "in rotation, but at max_connections"
    if state not in (State.HEALTHY, State.UNKNOWN):
        return f"in rotation though {state.value} (panic: too few are well); it was not picked"
    if share < 100:
        return f"in rotation, in a zone with {share} % of the traffic; it was not picked"
    return _NOT_PICKED.get(policy, "in rotation; it was not picked")


def milliseconds(seconds: float) -> str:
    """Return a duration, short."""
    if seconds >= 10:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def after(tries: Sequence[tuple[str, Reason | None]]) -> str:
    """Return what earlier tries came to: (target, reason) each. Equal ones are one."""
    counts = Counter((target, reason) for target, reason in tries if reason is not None)
    told = [
        f"{reason.word} at {target}{f' ({count} times)' if count > 1 else ''}"
        for (target, reason), count in counts.items()
    ]
    return f" after {' and '.join(told)}" if told else ""


def nearest(verdict: Verdict | None) -> str:
    """Return the rule that came nearest, as a clause."""
    return "" if verdict is None else f"nearest is {verdict.rule}, but {verdict.why}"
