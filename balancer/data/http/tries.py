"""Tries: what happens to a request when a try fails before the client has seen any of it: again elsewhere, or the end.

    failed     the try is over: count it against the target; may the request be tried again, and where
    race_lost  a pooled connection closed as the request was sent: once more to the same target, on a new one
    rescue     the target turned unhealthy: move what waits there
    by_status  the target answered with a status that the group wants to have tried elsewhere

Whether a request may be tried again is decided by `picking.retry`; this is what follows. `Exchange.free` counts the
tries outside `max_retries`: work that was moved, not multiplied. Source: load balancing notes, 2.10 and 2.11.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from balancer.model.reason import Reason
from balancer.picking import retry

if TYPE_CHECKING:
    from balancer.data.group import LiveGroup
    from balancer.data.http.exchange import Exchange
    from balancer.data.http.response_head import ResponseHead
    from balancer.data.target import LiveTarget

MAX_TOLD = 8  # tries of one request that are told of
MAX_BACKOFF = 3  # doublings of the time between two tries of a request that waits for a target: 0.4 to 0.6 s


def failed(exchange: Exchange, reason: Reason, detail: str, kind: str) -> None:
    """End the present try: go elsewhere, or answer with `reason`. `kind`: the streak it counts in, "" for none."""
    group, target = exchange.group, exchange.target
    assert group is not None and target is not None
    written = exchange.written and exchange.upstream is not None
    replayable = exchange.replayable()
    exchange.leave(keep=False)
    if kind:
        group.failed(target, kind)
    spec = group.spec.retry
    used = exchange.retries - exchange.free
    allowed = retry.may_retry(spec, reason, idempotent=exchange.line.idempotent, written=written, replayable=replayable)
    may, poor = allowed and used < spec.max_retries, False
    if may and retry.needs_budget(reason, used) and not group.budget.allows(group.retrying, _active(group)):
        group.count_retry(Reason.BUDGET)
        may, poor = False, True
    if may:
        exchange.tried = [*exchange.tried, target]
        found = _elsewhere(exchange, exchange.tried)
        if found is not None:
            _again(exchange, found, reason)
            return
        if not group.spec.wait_for_target and _in_line(exchange, reason):
            return
        if kind == "connect" and group.usable() and not group.spec.wait_for_target and not group.present().passed:
            _same_again(exchange, target, reason)
            return
    if allowed and _hope(exchange, target, reason, whoever=kind == "connect" and (poor or exchange.hope_until > 0)):
        return
    exchange.fail(reason, detail)


def race_lost(exchange: Exchange) -> None:
    """The keep-alive race: the target closed as we sent. Once more, on a new connection, and nobody's fault."""
    assert exchange.target is not None
    exchange.try_over(Reason.REUSE_RACE)
    exchange.raced = True
    exchange.fresh = exchange.reused = False
    exchange.count_retry(Reason.REUSE_RACE)
    exchange.retries += 1
    exchange.free += 1
    exchange.upstream = None
    exchange.serial += 1
    exchange.sent_at = time.monotonic()
    exchange.target.connect(exchange)


def rescue(exchange: Exchange, *, again: bool) -> bool:
    """Move a request that waits on a target which is known to be lost, if it may be moved and there is where to: to
    another target, or in line where all others are full. Return False if there is nowhere to, for nobody.

    `again`: it could not be moved when the target was lost; to another that is lost (in panic) it is not moved now.
    """
    group, target = exchange.group, exchange.target
    if group is None or target is None:
        return True
    may = retry.may_retry(
        group.spec.retry,
        Reason.RESCUE,
        idempotent=exchange.line.idempotent,
        written=exchange.written and exchange.upstream is not None,
        replayable=exchange.replayable(),
    )
    tried = [*exchange.tried, target]
    if not may:
        return True
    found = _elsewhere(exchange, tried)
    if found is None and not _may_wait(exchange):
        return False
    if again and found is not None and found.is_lost():
        return False
    exchange.try_over(Reason.RESCUE)
    exchange.tried = tried
    _leave_for(exchange, found)
    exchange.count_retry(Reason.RESCUE)
    exchange.retries += 1
    exchange.free += 1
    if found is not None:
        exchange.place_at(found)
    else:
        exchange.wait_in_queue(time.monotonic())
    return True


def by_status(exchange: Exchange, head: ResponseHead) -> bool:
    """Try elsewhere because of the status, where the group wants it; return True if that was done."""
    group, target = exchange.group, exchange.target
    assert group is not None and target is not None
    spec = group.spec.retry
    if str(head.status) not in spec.on or exchange.retries - exchange.free >= spec.max_retries:
        return False
    may = retry.may_retry(
        spec,
        None,
        idempotent=exchange.line.idempotent,
        written=True,
        replayable=exchange.replayable(),
        upstream_status=head.status,
        retry_after=b"\r\nretry-after:" in head.out.lower(),
    )
    if not may:
        return False
    if not group.budget.allows(group.retrying, _active(group)):
        group.count_retry(Reason.BUDGET)
        return False
    tried = [*exchange.tried, target]
    found = _elsewhere(exchange, tried)
    if found is None:
        return False
    exchange.upstream_status = head.status
    group.responded(target, head.status)
    exchange.tried = tried
    _leave_for(exchange, found)
    _again(exchange, found, Reason.UPSTREAM_STATUS)
    return True


def _elsewhere(exchange: Exchange, tried: list[LiveTarget]) -> LiveTarget | None:
    """Return a target that is not among `tried`, None if there is none; a group that was reloaded is its successor."""
    assert exchange.group is not None
    exchange.group = group = exchange.group.present()
    found = group.pick_beside(tried)
    if group.passed:
        exchange.passed = tuple(dict.fromkeys((*exchange.passed, *group.passed)))
    return found


def _leave_for(exchange: Exchange, found: LiveTarget | None) -> None:
    """End the present try to go to `found`, whose place is kept meanwhile: those who wait are told of the old one."""
    if found is None:
        exchange.leave(keep=False)
        return
    found.take()
    exchange.leave(keep=False)
    found.release()


def _active(group: LiveGroup) -> int:
    return sum(target.active + target.others for target in group.targets)


def _again(exchange: Exchange, target: LiveTarget, reason: Reason) -> None:
    _count_again(exchange, reason)
    exchange.place_at(target)


def _count_again(exchange: Exchange, reason: Reason) -> None:
    exchange.try_over(reason)
    exchange.retries += 1
    exchange.count_retry(reason)
    if exchange.retrying is None and exchange.group is not None:
        exchange.retrying = exchange.group
        exchange.group.retrying += 1


def _may_wait(exchange: Exchange) -> bool:
    """Return whether the last look elsewhere found only full ones that were not tried yet, and the queue has room."""
    return exchange.group is not None and bool(exchange.group.passed) and exchange.group.may_wait(exchange.queued)


def _hope(exchange: Exchange, target: LiveTarget, reason: Reason, *, whoever: bool) -> bool:
    """Nobody is left to try, and the group waits for targets: try again in a moment; False once its time is over.

    As many hope as may wait in the queue. These tries multiply no load, since nobody serves what they ask for: each
    round has `max_retries` of its own. `whoever`: others are left, but a connect failed and only the budget forbids to
    ask them now, or the request hopes already: targets that are down together are not asked all at once.
    """
    now = time.monotonic()
    if _elsewhere(exchange, [*exchange.tried, target]) is not None and not whoever:
        return False  # there is somebody: it was max_retries or the budget that ended the request
    group = exchange.group
    if group is None or group.gone or not group.spec.wait_for_target:
        return False
    if not exchange.hope_until:
        exchange.hope_until = now + group.spec.wait_for_target
    if now >= exchange.hope_until or not group.may_hope():
        return False
    if len(exchange.past or ()) < MAX_TOLD:
        exchange.try_over(reason)
    exchange.retries += 1
    exchange.free = exchange.retries
    exchange.count_retry(reason)
    exchange.tried = []

    def later(serial: int) -> None:
        group.hoping -= 1
        if exchange.serial != serial:
            return
        found = _elsewhere(exchange, [])
        if exchange.group is not None and exchange.group.gone:
            exchange.fail(Reason.TARGET_REMOVED, "the group left the configuration")
        elif found is not None:
            exchange.place_at(found)
        else:
            exchange.wait_for_target()

    exchange.is_nowhere(now)
    group.hoping += 1
    wait = retry.backoff(min(exchange.free - 1, MAX_BACKOFF), random.random())
    exchange.place.loop.call_later(min(wait, exchange.hope_until - now), exchange.guarded, later, exchange.serial)
    return True


def _in_line(exchange: Exchange, reason: Reason) -> bool:
    """If those that were not tried yet are all full, wait with the others until one has a place; return whether."""
    if not _may_wait(exchange):
        return False
    _count_again(exchange, reason)
    exchange.wait_in_queue(time.monotonic())
    return True


def _same_again(exchange: Exchange, target: LiveTarget, reason: Reason) -> None:
    """Every target was tried and refused: the same one once more, after a moment."""
    exchange.try_over(reason)
    exchange.retries += 1
    exchange.count_retry(reason)

    def later(serial: int) -> None:
        if exchange.serial != serial:
            return
        found = _elsewhere(exchange, [])
        if exchange.group is not None and exchange.group.gone:
            exchange.fail(Reason.TARGET_REMOVED, "the group left the configuration")
        elif found is None and target.is_full():  # as are all others in rotation, if there are any
            exchange.wait_in_queue(time.monotonic())
        elif found is None and target.removed:
            exchange.fail(Reason.TARGET_REMOVED, "")
        else:
            exchange.place_at(found or target)

    exchange.is_nowhere(time.monotonic())
    wait = retry.backoff(exchange.retries - 1, random.random())
    exchange.place.loop.call_later(wait, exchange.guarded, later, exchange.serial)
