"""LiveGroup: a target group as a worker uses it: who is in rotation, whose turn it is, who waits.

States, tier shares and panic come from the board, where control writes them; what this worker has found out for itself
(an ejection that control has not heard of yet) is laid over them. A rotation is built when something changes and only
read per request.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from balancer.board import board, layout, scenes
from balancer.board.records import NONE, PLACED
from balancer.board.scenes import Seen
from balancer.data.deadlines import NEVER
from balancer.data.place import Place, log
from balancer.data.precedence import LOOK
from balancer.data.reading import Reading
from balancer.data.target import LOST, MAX_CONNECTING, LiveTarget
from balancer.data.waiting import Waiting
from balancer.health.ejection import may_eject
from balancer.model.names import Evidence, State
from balancer.model.reason import REASON_CODES, REASONS, Reason
from balancer.model.snapshot import TargetGroup
from balancer.picking import policy, retry, zones
from balancer.picking.view import View

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange

_RARELY = 4  # looks of the coarse clock between two at targets without connections
_EXACT = 64  # targets up to which least_conn adds up all workers at each pick


class Succession:
    """One group over all its configurations: an old one, held by who asked under it, holds none of those between."""

    __slots__ = ("present",)

    def __init__(self, group: LiveGroup) -> None:
        self.present = group


class LiveGroup:
    """A group in one worker, under one configuration of it."""

    __slots__ = (
        "_drilled",
        "_factors",
        "_panic",
        "_passing",
        "_reading",
        "_reasons",
        "_scene",
        "_serves",
        "_slot",
        "_spreader",
        "_standings",
        "_succession",
        "_turn",
        "_weights",
        "budget",
        "careful",
        "gone",
        "head_limit",
        "hoping",
        "members",
        "passed",
        "place",
        "policies",
        "queue",
        "retrying",
        "scene",
        "shares",
        "single",
        "spec",
        "targets",
        "tier_names",
        "total_limit",
        "waiting",
        "zone_of",
    )

    def __init__(self, place: Place, spec: TargetGroup, targets: list[LiveTarget], slots: dict[str, int]) -> None:
        self.place = place
        self.spec = spec
        self.targets = targets
        self._succession = Succession(self)
        self.gone = False  # a later configuration has no such group
        # By this group's own spec: a target that goes on is told of another weight or zone only at the swap.
        self.zone_of = tuple(target.zone for target in spec.targets)
        self.tier_names = zones.tiers(spec.zones, tuple(dict.fromkeys(self.zone_of)))
        active = self._active if place.places > 1 else self._own_active
        self.policies = [policy.make(spec.policy, active, random.random) for _ in self.tier_names]
        self.members: list[tuple[int, ...]] = [() for _ in self.tier_names]
        self.shares: tuple[int, ...] = ()
        self.single: policy.Policy | None = None  # the policy of the tier that has all the traffic
        self._spreader = zones.Spreader()
        self._factors: list[int] = [1000] * len(targets)
        self._weights: list[int] = [target.weight for target in spec.targets]
        self._drilled: list[bool] = [False] * len(targets)
        self._standings: list[zones.Standing] = []
        self._panic: tuple[bool, ...] = ()
        self._passing = False  # True: the rotation is of what may end without a word from control
        self._slot = slots.get(f"group|{spec.name}", -1)
        self.scene = 0  # the number of what `balancer explain` shows of the rotation
        self._scene = b""
        self._serves = False  # True: this is the group that runs, not one that is built or was replaced
        self.passed: tuple[int, ...] = ()  # targets at max_connections that the last pick had to pass over
        self._reading = Reading(place.board, self._slot, [target.state_slot for target in targets])
        self._turn = 0
        self._reasons = slots.get(f"reasons|{spec.name}", -1)
        self.budget = retry.Budget(spec.retry.budget_percent, spec.retry.budget_min)
        self.retrying = 0
        self.head_limit = min(spec.timeouts.response_header or NEVER, spec.retry.per_try or NEVER)
        self.total_limit = spec.timeouts.request
        self.careful = False  # its requests go the long way: there is more to look at
        self.be_careful()
        self.hoping = 0  # requests between two tries, since there is nobody to serve them
        self.queue = Waiting(place, self._reasons)
        self.waiting = self.queue.entries  # hot: asked after each response whether anybody waits
        self.refresh()

    def take_over(self, running: LiveGroup | None) -> None:
        """Follow `running`, the same group under the configuration before: who waits there waits here.

        Both have one queue, so that the end of a request that was placed before wakes who is next (`wake`).
        """
        self._serves = True
        if running is not None:
            running._serves = False
            self._succession = running._succession
            self._succession.present = self
            self.queue, self.waiting = running.queue, running.waiting
        self.be_careful()  # the share may have changed since this was built
        if self._passing or self.outdated() or any(target.ejected_until for target in self.targets):
            self.refresh()
            return
        self._note_scene(self._standings, self._panic)  # the rotation was built just now
        self.wake()

    def present(self) -> LiveGroup:
        """Return this group as it runs now: itself, or what took its place."""
        return self._succession.present

    def be_careful(self) -> None:
        """Decide whether requests may go the short way: not while the whole request is limited, or load is shed."""
        self.careful = bool(self.total_limit or self.place.overload.share)

    def _active(self, slot: int) -> int:
        target = self.targets[slot]
        return target.in_flight() if len(self.targets) <= _EXACT else target.active + target.others

    def _own_active(self, slot: int) -> int:
        return self.targets[slot].active

    # What control says

    def outdated(self) -> bool:
        """Return whether the board says anything else than when it was last read, as far as this group goes."""
        return self._reading.outdated()

    def refresh(self) -> None:
        """Read states and shares from the board and build the rotation anew."""
        said = self._reading.read()
        now = time.monotonic()
        lost: list[LiveTarget] = []
        drills, self._passing = now * 1000 < said.drill, False
        for slot, (target, (state, evidence, factor, orders, weight)) in enumerate(zip(self.targets, said.targets)):
            if target.ejected_until:
                state, evidence = self._with_own_ejection(target, state, evidence, now)
                self._passing = True
            if state is not target.state:
                if state in LOST and not target.is_lost():
                    lost.append(target)
                target.turn(state, evidence)
            target.evidence = evidence
            target.may_connect = MAX_CONNECTING if factor == 1000 else -(-MAX_CONNECTING * factor // 1000) or 1
            self._factors[slot] = factor
            self._weights[slot] = weight - 1 if weight else self.spec.targets[slot].weight
            # Control ends a drill; where it died with one running, the drill ends by its time.
            self._drilled[slot] = drills and bool(orders & layout.ORDER_DRILLED)
        self._passing = self._passing or any(self._drilled)
        self._rotate(said.shares, said.panic)
        if self.spec.rescue:
            for target in lost:
                self._rescue(target)
        self.wake()

    def _with_own_ejection(
        self, target: LiveTarget, state: State, evidence: Evidence, now: float
    ) -> tuple[State, Evidence]:
        if now >= target.ejected_until or state not in (State.HEALTHY, State.UNKNOWN):
            target.ejected_until = 0.0
            return state, evidence
        return State.EJECTED, Evidence.SOFT

    def _stand(self) -> list[zones.Standing]:
        """Return the standing of each target; one that has not changed is the same object as the last time."""
        known: Sequence[zones.Standing | None] = self._standings or [None] * len(self.targets)
        standings = []
        for slot, (target, spec, weight, drilled, was) in enumerate(
            zip(self.targets, self.spec.targets, self._weights, self._drilled, known)
        ):
            if not spec.ip:
                weight = 0  # nowhere to go while the name does not resolve
            if (
                was is not None
                and was.state is target.state
                and was.evidence is target.evidence
                and was.weight == weight
                and was.drilled is drilled
            ):
                standings.append(was)
                continue
            state, evidence = target.state, target.evidence
            standings.append(zones.Standing(slot, spec.zone, weight, state, evidence, drilled=drilled))
        self._standings = standings
        return standings

    def _rotate(self, shares: tuple[int, ...], panic: tuple[bool, ...]) -> None:
        standings = self._stand()
        if len(shares) != len(self.tier_names):  # control has not spoken yet
            assessment = zones.assess(self.spec.zones, standings)
            shares = assessment.shares
            panic = tuple(tier.panic for tier in assessment.tiers)
        quick = min(self._factors, default=1000) == 1000
        for index, names in enumerate(self.tier_names):
            own = [one for one in standings if one.zone in names] if len(self.tier_names) > 1 else standings
            chosen = zones.members(own, panic[index])
            slots = tuple([slot for slot, _ in chosen])
            if quick or all(self._factors[slot] == 1000 for slot in slots):
                weights = tuple([weight for _, weight in chosen])
            else:
                weights = tuple(max(1, weight * 100 * self._factors[slot] // 1000) for slot, weight in chosen)
            self.members[index] = slots
            self.policies[index].update(View(slots, weights))
        self.shares, self._panic = shares, panic
        self.single = None
        with_share = [index for index, share in enumerate(shares) if share and self.members[index]]
        if len(with_share) == 1:
            self.single = self.policies[with_share[0]]
        self._spreader.update(shares)
        if self._serves:
            self._note_scene(standings, panic)

    def _note_scene(self, standings: list[zones.Standing], panic: tuple[bool, ...]) -> None:
        """Have it noted who is in rotation and who is not, if that is another scene than before."""
        cells = self.place.board.cells
        rotation = [frozenset(slots) for slots in self.members]
        tier_of = {zone: index for index, names in enumerate(self.tier_names) for zone in names}
        seen = []
        for one, target in zip(standings[: scenes.MOST_TARGETS], self.targets):
            tier = tier_of.get(one.zone, -1)
            since = cells[board.state_at(target.state_slot) + layout.SINCE] if target.state_slot >= 0 else 0
            seen.append(
                Seen(
                    target.place_on_board,
                    tier,
                    target.state.code,
                    target.evidence.code,
                    one.weight * self._factors[one.slot] // 10,
                    since,
                    in_rotation=tier >= 0 and one.slot in rotation[tier],
                    no_address=not self.spec.targets[one.slot].ip,
                    own=bool(target.ejected_until),
                    drilled=one.drilled,
                )
            )
        content = scenes.body(self._slot & NONE, self.shares, panic, seen, len(standings))
        if content != self._scene:
            self._scene = content
            self._in_scene()

    def _in_scene(self) -> None:
        self.scene = self.place.recent.scene(self._scene)
        for target in self.targets:
            target.placed = PLACED.pack(target.place_on_board, self.scene)

    # Picking

    def is_closed(self, target: LiveTarget, since: float = 0.0) -> bool:
        """Return whether a target takes nobody now who waits `since` then (0.0: has just come): it is full, or what is
        free there is for one who waits in another worker."""
        if target.active + target.others < target.near:
            return False
        precedence = self.queue.precedence
        if target.is_full():
            precedence.none_is_free()
            return True
        return not precedence.is_mine(since)

    def pick(self, tried: Collection[int] = (), since: float = 0.0) -> LiveTarget | None:
        """Return the target whose turn it is, None if every one is tried, closed or out of rotation."""
        self.passed = ()
        if not tried and self.single is not None:
            slot = self.single.pick(())
            if slot is not None:
                target = self.targets[slot]
                if target.active + target.others < target.near or not self.is_closed(target, since):
                    return target
        return self._pick_carefully(tried, since)

    def pick_beside(self, tried: Collection[LiveTarget], since: float = 0.0) -> LiveTarget | None:
        """Return the target whose turn it is among those that are not `tried`, as `pick` does."""
        return self.pick({slot for slot, target in enumerate(self.targets) if target in tried}, since)

    def _pick_carefully(self, tried: Collection[int], since: float) -> LiveTarget | None:
        for index in self._tier_order():
            for excluded in retry.exclusions(tried, self.zone_of, self.members[index]):
                slot = self.policies[index].pick(excluded)
                while slot is not None:
                    target = self.targets[slot]
                    if not self.is_closed(target, since):
                        return target
                    excluded.add(slot)
                    if target.place_on_board not in self.passed:
                        self.passed = (*self.passed, target.place_on_board)
                    slot = self.policies[index].pick(excluded)
        return None

    def _tier_order(self) -> list[int]:
        """Return the tiers to try, the one whose turn it is first; those without a share only as a last resort."""
        first = self._spreader.pick() if any(self.shares) else None
        rest = [index for index in range(len(self.members)) if index != first]
        return rest if first is None else [first, *rest]

    def usable(self) -> bool:
        """Return whether any target is in rotation."""
        return any(self.members)

    # Waiting for a free target

    def may_hope(self) -> bool:
        """Return whether one more may try again and again for a target to appear: as many as may wait."""
        return (self.hoping + 1) * self.place.places <= self.spec.queue.size

    def may_wait(self, waited: float) -> bool:
        """Return whether the queue has room for one more, who has `waited` in it for so long."""
        now = self.present()
        return not now.gone and waited < now.spec.queue.timeout and self.queue.has_room(now.spec.queue.size)

    def enqueue(self, exchange: Exchange, until: float = 0.0) -> Reason | None:
        """Let `exchange` wait for a target; return why it may not. The queue is split over the workers.

        `until`: when its time is over; not said: after `queue.timeout`, in all.
        """
        now = self.present()
        if now.gone:
            return Reason.TARGET_REMOVED
        until = until or time.monotonic() + max(0.0, now.spec.queue.timeout - exchange.queued)
        if not self.queue.add(exchange, until, now.spec.queue.size):
            return Reason.QUEUE_FULL
        if self.queue.precedence.shared and not self.queue.looking and len(now.targets) <= _EXACT:
            self.queue.looking = True
            self.place.loop.call_later(LOOK, self._look_for_places)
        return None

    def _look_for_places(self) -> None:
        """See whether other workers left a place: their ends wake nobody here."""
        self.queue.looking = False
        if self.waiting:
            self.wake()
        if self.waiting:
            self.queue.looking = True
            self.place.loop.call_later(LOOK, self._look_for_places)

    def dissolve(self) -> None:
        """The group is gone from the configuration: nobody looks at its queue any more, so nobody may wait in it."""
        self.gone = True
        waiting = self.queue.everybody()
        self.waiting.clear()
        for exchange in waiting:
            exchange.guarded(exchange.fail, Reason.TARGET_REMOVED)

    def wake(self) -> None:
        """A place may be free: let those who wait try in their order."""
        now = self.present()
        while (exchange := self.queue.first()) is not None:
            target = now._place_for(exchange)
            if target is None:
                break
            self.waiting.popleft()
            exchange.guarded(exchange.place_at, target)  # a fault there is its own, not that of who made room
        self.queue.claim(full=exchange is not None and bool(now.passed))
        if exchange is not None and exchange.tried and not all(target.is_full() for target in exchange.tried):
            now._wake_those_behind(frozenset(exchange.tried))

    def _wake_those_behind(self, tried: frozenset[LiveTarget]) -> None:
        """Who is first was `tried` wherever there is a place: those behind may take what it does not want."""
        vain = {tried}  # for who was tried just there, there is no place
        for entry in list(self.waiting):
            exchange, serial, _ = entry
            tried = frozenset(exchange.tried)
            if exchange.serial != serial or not exchange.in_queue or tried in vain:
                continue
            target = self._place_for(exchange)
            if target is not None:
                self.waiting.remove(entry)
                exchange.guarded(exchange.place_at, target)
            elif tried:
                vain.add(tried)
            else:  # for nobody
                return

    def _place_for(self, exchange: Exchange) -> LiveTarget | None:
        """Return where one who waits may go now: not where its try failed, while another target is only full."""
        since = exchange.queued_at - exchange.queued
        if exchange.tried:
            target = self.pick_beside(exchange.tried, since)
            if target is not None or self.passed:
                return target
        return self.pick((), since)

    def look(self, now: float) -> None:
        """Called by the coarse clock: queues, own ejections and drills that are over, gauges."""
        if any(self._drilled) and now * 1000 >= self.place.board.cells[layout.DRILL_UNTIL]:
            self.refresh()
        self._turn = (self._turn + 1) % _RARELY
        # Of many targets those at rest are looked at now and then: there is nothing to show, and others' counts wait.
        every = (len(self.targets) <= _EXACT and self.place.places > 1) or not self._turn
        for target in self.targets:
            if every or target.connections or target.visible or target.waiting or target.connecting:
                target.look(now)
                target.show()
                if target.active and self.spec.rescue and target.is_lost():
                    self._rescue(target, again=True)
            if target.ejected_until and now >= target.ejected_until:
                self.refresh()
        if self.place.recent.stale(self.scene):
            self._in_scene()
        if self.waiting:
            self.wake()
        for exchange in self.queue.take_late(now) if self.waiting else ():
            exchange.guarded(self._end_wait, exchange)

    def _end_wait(self, exchange: Exchange) -> None:
        """Its time in the queue is over: it goes where it was tried before rather than nowhere."""
        target = self.pick((), exchange.queued_at - exchange.queued) if exchange.tried else None
        last = REASONS[exchange.past[-1].reason - 1] if exchange.past else None
        if target is not None:
            exchange.place_at(target)
        elif not self.usable():
            exchange.fail(Reason.NO_HEALTHY_TARGET if self.targets else Reason.NO_TARGETS)
        elif last is None or last in retry.MOVED:
            exchange.fail(Reason.QUEUE_TIMEOUT)
        else:
            exchange.fail(last, "no other target had a place within queue.timeout")

    # What targets say of themselves

    def asks_drain(self, target: LiveTarget) -> None:
        """`target` said in a response that it wants no more requests: tell control, at most once a second."""
        self.place.asks(self.spec.name, target.name)

    # What traffic shows

    def failed(self, target: LiveTarget, kind: str) -> None:
        """A try at `target` failed: `connect` or `gateway`."""
        streaks = target.streaks
        if streaks is None:
            return
        target.troubled = True
        too_many = streaks.connect_failed() if kind == "connect" else streaks.gateway_failed()
        self.place.head[layout.ROW_FAILED] += 1
        target.show_streaks()
        if too_many:
            self.present()._eject(target, kind)

    def responded(self, target: LiveTarget, status: int) -> None:
        """`target` gave a whole answer; called while a streak runs or for a 5xx."""
        streaks = target.streaks
        if streaks is None:
            return
        if status < 400:
            target.troubled = False
        elif status >= 500:
            target.troubled = True
        too_many = streaks.responded(status)
        if status >= 500:
            self.place.head[layout.ROW_FAILED] += 1
        target.show_streaks()
        if too_many:
            self.present()._eject(target, "gateway")

    def _eject(self, target: LiveTarget, kind: str) -> None:
        passive = self.spec.passive
        if passive is None or target.ejected_until or target.state not in (State.HEALTHY, State.UNKNOWN):
            return
        if target.removed:  # whoever has its name now is another
            return
        serving = [self.targets[one.slot] for one in zones.serving(self._standings)]
        others = sum(one is not target and not one.ejected_until for one in serving)
        ejected = sum(one.state is State.EJECTED or one.ejected_until > 0 for one in self.targets)
        left = sum(one.state in (State.DRAINING, State.DISABLED) for one in self.targets)
        panic = any(tier and share for tier, share in zip(self._panic, self.shares))
        if not may_eject(passive, ejected, len(self.targets) - left, others, panic):
            return
        target.ejected_until = time.monotonic() + passive.base_ejection
        if target.streaks is not None:
            target.streaks.reset()
            target.show_streaks()
        log.info("ejected for this worker group=%s target=%s kind=%s", self.spec.name, target.name, kind)
        self.place.send({"is": "eject", "group": self.spec.name, "target": target.name, "kind": kind})
        # Not from within the failing exchange: the rotation may rescue others.
        self.place.loop.call_soon(self.refresh)

    def veto(self, name: str) -> None:
        """Control does not eject `name` (too many are, or it was the last): take it back."""
        for target in self.targets:
            if target.name == name and target.ejected_until:
                target.ejected_until = 0.0
        self.refresh()

    def _rescue(self, target: LiveTarget, *, again: bool = False) -> None:
        """Move those that wait at a target that is lost; `again`: those for whom there was no place elsewhere then."""
        there = [connection.exchange for connection in target.connections]
        for exchange in (*there, *target.unconnected()):
            if exchange is not None and not exchange.rescue(again=again) and again:
                return

    def count_failure(self, reason: Reason) -> None:
        """Count a failed request of this group."""
        self.place.add(self._reasons + REASON_CODES[reason] if self._reasons >= 0 else -1)

    def count_retry(self, reason: Reason) -> None:
        """Count a try beyond the first."""
        self.place.add(self._reasons + layout.REASONS_RETRIES + REASON_CODES[reason] if self._reasons >= 0 else -1)
