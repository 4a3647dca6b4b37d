"""words: what records and scenes say, in words that a person reads. Pure.

No clause begins with a capital or ends with a full stop; a sentence does neither, as log lines and problems do.
"""

from __future__ import annotations

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


def standing(seen: Seen, share: int | None, panic: bool, policy: PolicyName, reason: Reason | None) -> str:
    """Return why a target that was not tried was not. `share`: its tier's, in percent; None: it has no tier."""
    state, evidence = STATES[seen.state], EVIDENCES[seen.evidence]
    if seen.in_rotation:
        if share == 0:
            return "ready, but its zones had no share of the traffic"
        if reason in FULL:
            return "in rotation, but at max_connections"
        note = f"in rotation though {state.value} (panic: too few are healthy)" if panic and not _well(state) else ""
        if note:
            return f"{note}; it was not picked"
        return (
            _NOT_PICKED.get(policy, "in rotation; it was not picked")
            if share in (100, None)
            else (f"in rotation; its zones had {share} % of the traffic")
        )
    if seen.no_address:
        return "out: its name did not resolve"
    if state is State.EJECTED:
        return "out: ejected by this worker for its failures" if seen.own else "out: ejected for its failures"
    if state is State.UNHEALTHY:
        sure = "nothing listens there" if evidence is Evidence.HARD else "its checks fail"
        return f"out: unhealthy ({sure})"
    if state in (State.DRAINING, State.DISABLED):
        return f"out: {state.value}, on purpose"
    if not seen.weight:
        return "out: its weight is 0"
    if state is State.UNKNOWN:
        return "out: not checked yet, while others are healthy"
    return f"out: {state.value}"


def _well(state: State) -> bool:
    return state in (State.HEALTHY, State.UNKNOWN)


def milliseconds(seconds: float) -> str:
    """Return a duration, short."""
    if seconds >= 10:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def after(tries: Sequence[tuple[str, Reason | None]]) -> str:
    """Return what earlier tries came to: (target, reason) each."""
    told = [f"{reason.word} at {target} ({reason.sentence})" for target, reason in tries if reason is not None]
    return "; before: " + ", ".join(told) if told else ""


def nearest(verdict: Verdict | None) -> str:
    """Return the rule that came nearest, as a clause."""
    return "" if verdict is None else f"nearest is {verdict.rule}, but {verdict.why}"
