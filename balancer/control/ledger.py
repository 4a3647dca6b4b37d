"""ledger: what is true of each target, and what follows when something happens to it. Pure: time is told.

Rules
1. Only `apply` and `adopt` change a state, and only by `health.machine.step`.
2. A target that keeps name and address keeps state and history over any number of snapshots; with another check it
   keeps its state and counts anew; at another address it is a new target.
3. What vanished from discovery is draining for its connections and counted as missing for its zone: for a minute, or
   until another address takes its part.
4. An order (`orders`) is of a name for a written target, of an address for a found one, and ends with its target. What
   the target itself asks for is of its process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from balancer.control import orders
from balancer.control.discovery.merge import source
from balancer.control.facts import (
    Asked,
    Changed,
    Effect,
    Event,
    Finished,
    Instant,
    Key,
    Ordered,
    Probe,
    Probed,
    Reported,
    Shifted,
    Ticked,
    Vetoed,
)
from balancer.control.missing import Missing
from balancer.control.orders import Order
from balancer.control.record import Record
from balancer.health.ejection import Ejector, may_eject
from balancer.health.machine import Event as Step
from balancer.health.machine import step
from balancer.model.names import Evidence, ProbeResult, State
from balancer.model.snapshot import Passive, Snapshot, Target, TargetGroup
from balancer.picking.zones import Standing, assess, serving

RESTORED = "restored"  # the reason of a state that another control process found


@dataclass(frozen=True, slots=True)
class Kept:
    """What another control process knew of a target, read from the board. `slow`: it was starting slowly."""

    state: State
    evidence: Evidence
    since: Instant
    order: Order = orders.NONE
    leaving: bool = False
    slow: bool = False


class Ledger:
    """All targets of the published snapshot. Keys are (target group, target)."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns 0 ≤ x < 1."""
        self._random = random
        self._ejectors: dict[str, tuple[Passive, Ejector]] = {}
        self.records: dict[Key, Record] = {}
        self.groups: dict[str, TargetGroup] = {}
        self._missing = Missing()
        self._drilled: frozenset[Key] = frozenset()  # (target group, zone)

    def group(self, name: str) -> list[Record]:
        """Return the records of a group, in the order of its targets."""
        group = self.groups.get(name)
        return [self.records[name, target.name] for target in group.targets] if group is not None else []

    # A snapshot

    def adopt(
        self,
        snapshot: Snapshot,
        leaving: Mapping[Key, float],
        now: Instant,
        kept: Mapping[Key, Kept] | None = None,
    ) -> list[Effect]:
        """Take over the targets of a snapshot; return what changes by that.

        `leaving`: who is draining, until when. `kept`: what was known before this process began.
        """
        effects: list[Effect] = []
        records: dict[Key, Record] = {}
        self._note_missing(snapshot, leaving, now)
        stirred = {name for name, _ in leaving}
        stirred.update(record.group.name for record in self.records.values() if record.leaving_until is not None)
        quiet: set[str] = set()  # groups in which nothing can have changed: the very same, and nobody comes or goes
        for group in snapshot.target_groups:
            if kept is None and group is self.groups.get(group.name) and group.name not in stirred:
                quiet.add(group.name)
                records.update(((group.name, one.name), self.records[group.name, one.name]) for one in group.targets)
                continue
            others_serve = any(map(self._serves, self.group(group.name)))
            for target in group.targets:
                key = (group.name, target.name)
                record = self.records.get(key)
                order = self._order(record, target) if key not in leaving or source(target.name) else orders.NONE
                if record is not None and (record.target.ip, record.target.port) != (target.ip, target.port):
                    if group.name in self._ejectors:
                        self._ejectors[group.name][1].forget(target.name)  # another process: nothing is held against it
                    record = None
                if record is None:
                    record = self._new(group, target, now, (kept or {}).get(key), others_serve)
                    if key not in leaving:
                        self._missing.found(group.name, target)
                else:
                    record.take_over(group, target)
                record.order = order if kept is None or key not in kept else kept[key].order
                records[key] = record
        self.records, self.groups = records, {group.name: group for group in snapshot.target_groups}
        for name in [name for name in self._ejectors if name not in self.groups]:
            del self._ejectors[name]
        for key, record in records.items():
            if key[0] in quiet:
                continue
            effects += self._turn(record, leaving.get(key), now)
            effects += self._keep_ejected(record, now)
        return effects

    @staticmethod
    def _order(record: Record | None, target: Target) -> Order:
        """Return the orders that go on for a target; `record`: what there was under its name."""
        if record is None or (record.target.ip, record.target.port) == (target.ip, target.port):
            return record.order if record is not None else orders.NONE
        return orders.NONE if source(target.name) else replace(record.order, asked=False, away=False)

    def _note_missing(self, snapshot: Snapshot, leaving: Mapping[Key, float], now: Instant) -> None:
        """Count those that a name does not lead to any more; who was taken out of the configuration left on purpose."""
        groups = {group.name: group for group in snapshot.target_groups}
        for (name, target), record in self.records.items():
            group = groups.get(name)
            if group is None:
                self._missing.forget(name)
            elif record.state is not State.DRAINING and source(target) in {entry.dns for entry in group.discover}:
                gone = all(one.name != target for one in group.targets)
                if gone or (name, target) in leaving:
                    self._missing.lost(name, record.target, now.monotonic)

    def _new(self, group: TargetGroup, target: Target, now: Instant, kept: Kept | None, others_serve: bool) -> Record:
        record = Record(group, target, now)
        if kept is not None:
            record.state, record.evidence, record.since = kept.state, kept.evidence, kept.since
            record.reason, record.detail = RESTORED, "as it was before control was restarted"
            if kept.state is State.HEALTHY and group.health_check is None:
                record.reason, record.detail = "checks_off", ""
            record.slow_since = kept.since.monotonic if kept.slow and kept.state is State.HEALTHY else None
        elif group.health_check is None:
            record.state, record.reason = State.HEALTHY, "checks_off"
            record.slow_since = now.monotonic if others_serve else None
        else:
            record.reason = "not_checked"
        record.joined_late = kept is None and others_serve
        return record

    def _turn(self, record: Record, until: float | None, now: Instant) -> list[Effect]:
        """Take note of who leaves and who came back."""
        if until is None and record.leaving_until is not None:
            self._missing.found(record.group.name, record.target)
        record.leaving_until = until
        return self._settle(record, now)

    def _settle(self, record: Record, now: Instant) -> list[Effect]:
        """Begin or end a drain, and settle what needs no probe."""
        effects: list[Effect] = []
        event, reason = orders.wish(record.order, record.target, leaving=record.leaving_until is not None)
        if event is Step.DRAIN and record.state is State.DISABLED:
            effects += self._change(record, Step.ENABLE, now, Evidence.NONE, reason)
        if event is not Step.ENABLE:
            effects += self._change(record, event, now, record.evidence, reason)
            if record.state in (State.DRAINING, State.DISABLED):
                record.reason, record.detail = reason, ""
            record.checked = record.checked or record.state is State.DISABLED
            return effects
        if record.state in (State.DRAINING, State.DISABLED):
            effects += self._change(record, Step.ENABLE, now, Evidence.NONE, reason)
            record.joined_late = self._others_serve(record)
            if record.thresholds is not None:
                record.thresholds.reset()
        if record.check is None and record.state in (State.UNKNOWN, State.UNHEALTHY):
            effects += self._change(record, Step.PASSED, now, Evidence.NONE, "checks_off")
        if not record.target.ip and record.state not in (State.UNHEALTHY, State.DRAINING, State.DISABLED):
            reason = ProbeResult.NAME_NOT_FOUND.value
            effects += self._change(record, Step.FAILED, now, Evidence.HARD, reason)
        return effects

    def _others_serve(self, record: Record) -> bool:
        return any(one is not record and self._serves(one) for one in self.group(record.group.name))

    def _serves(self, record: Record) -> bool:
        """Whether a target is healthy and gets new work: not one of weight 0, nor one in a zone that is drilled."""
        return record.state is State.HEALTHY and record.standing(0, drilled=self.drilled(record)).usable

    def _keep_ejected(self, record: Record, now: Instant) -> list[Effect]:
        """Go on with an ejection under the present settings: they may be others, or control has started anew."""
        if record.state is not State.EJECTED:
            return []
        ejector = self._ejector(record.group)
        if ejector is None:
            return self._change(record, Step.READMIT, now, Evidence.NONE, "passive_off")
        record.ejected_until = ejector.eject(record.target.name, record.since.monotonic, by_connect=False)
        return []

    def _ejector(self, group: TargetGroup) -> Ejector | None:
        if group.passive is None:
            return None
        kept = self._ejectors.get(group.name)
        if kept is None or kept[0] != group.passive:
            kept = self._ejectors[group.name] = (group.passive, Ejector(group.passive, self._random))
        return kept[1]

    # An event

    def apply(self, event: Event, now: Instant) -> list[Effect]:
        """Return what follows from an event; one about a target that is gone means nothing."""
        match event:
            case Ticked():
                return self._tick(now)
            case Probed(key, _) | Reported(key, _) | Ordered(key, _) | Asked(key) if key not in self.records:
                return []
            case Probed(key, probe):
                return self._probed(self.records[key], probe, now)
            case Reported(key, kind):
                return self._reported(self.records[key], kind, now)
            case Ordered(key, order):
                record = self.records[key]
                record.order = order
                return [*self._settle(record, now), Shifted(key)]
            case Asked(key):
                return self._ask(self.records[key], now)

    def _probed(self, record: Record, probe: Probe, now: Instant) -> list[Effect]:
        record.probes.append(probe)
        record.checked = True
        asking = self._hear_asking(record, probe, now)
        if record.thresholds is None:
            return asking
        passed = probe.result is ProbeResult.OK
        event = record.thresholds.count(passed, record.state)
        effects: list[Effect] = []
        if event is not None:
            effects = self._change(record, event, now, probe.result.evidence, probe.result.value, probe.detail)
        elif record.state is State.EJECTED and self._is_back(record):
            effects = self._change(record, Step.READMIT, now, Evidence.NONE, "checks_pass")
        if not effects and passed and (record.state, record.reason) == (State.HEALTHY, RESTORED):
            record.reason, record.detail = probe.result.value, probe.detail
        if not effects and not passed and record.state is State.UNHEALTHY:
            record.reason, record.detail = probe.result.value, probe.detail
            if record.evidence is not probe.result.evidence:
                record.evidence = probe.result.evidence
                effects = [Shifted(record.key)]
        return asking + effects

    def _hear_asking(self, record: Record, probe: Probe, now: Instant) -> list[Effect]:
        """Begin or end the drain that a target asks for.

        A good probe ends it only after one that failed or asked again: until then it is the process that asked, whose
        check may not know of its end.
        """
        if probe.drain:
            effects = self._ask(record, now)
            record.order = replace(record.order, away=record.order.asked)
            return effects
        if not record.order.asked:
            return []
        if probe.result is not ProbeResult.OK:
            record.order = replace(record.order, away=True)
        elif record.order.away:
            record.order = replace(record.order, asked=False, away=False)
            return self._settle(record, now)
        return []

    def _ask(self, record: Record, now: Instant) -> list[Effect]:
        """Drain a target that asks for it, unless no other would serve."""
        if record.order.asked or not self._others_serve(record):
            return []
        record.order = replace(record.order, asked=True, away=False)
        return [*self._settle(record, now), Shifted(record.key)]

    def _is_back(self, record: Record) -> bool:
        """Whether an ejection for connect failures is over early: the process is there again."""
        ejector, check, run = self._ejector(record.group), record.check, record.thresholds
        if ejector is None or check is None or run is None:
            return False
        return ejector.ends_early(record.target.name, run.passes, check.healthy_threshold)

    def _reported(self, record: Record, kind: str, now: Instant) -> list[Effect]:
        group = record.group
        ejector = self._ejector(group)
        if record.state is State.EJECTED:
            return []
        if ejector is None or group.passive is None or record.state not in (State.HEALTHY, State.UNKNOWN):
            return [Vetoed(record.key)]
        records, standings = self.group(group.name), self.standings(group.name)
        states = [one.state for one in records]
        total = len(states) - states.count(State.DRAINING) - states.count(State.DISABLED)
        own = records.index(record)
        others = sum(one.slot != own for one in serving(standings))
        panic = assess(group.zones, standings).panic
        if not may_eject(group.passive, states.count(State.EJECTED), total, others, panic):
            return [Vetoed(record.key)]
        until = ejector.eject(record.target.name, now.monotonic, by_connect=kind == "connect")
        if record.thresholds is not None:
            record.thresholds.reset()
        detail = f"ejected for {until - now.monotonic:.0f} s"
        effects = self._change(record, Step.EJECT, now, Evidence.SOFT, f"{kind}_failures", detail)
        record.ejected_until = until
        return effects

    def _tick(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for record in self.records.values():
            if record.leaving_until is not None and record.leaving_until <= now.monotonic:
                effects.append(Finished(record.key))
            if record.ejected_until is not None and record.ejected_until <= now.monotonic:
                effects += self._change(record, Step.READMIT, now, Evidence.NONE, "ejection_over")
        for name in self._missing.over(now.monotonic):
            effects.append(Shifted((name, "")))
        return effects

    def _change(
        self, record: Record, event: Step, now: Instant, evidence: Evidence, reason: str, detail: str = ""
    ) -> list[Effect]:
        old, new = record.state, step(record.state, event)
        if new is old:
            return []
        if old is State.EJECTED:
            record.ejected_until = None
            ejector = self._ejector(record.group)
            if ejector is not None:
                ejector.ended(record.target.name, now.monotonic)
        slowly = old in (State.UNHEALTHY, State.EJECTED) or (old is State.UNKNOWN and record.joined_late)
        record.slow_since = now.monotonic if new is State.HEALTHY and slowly else None
        if old is State.UNKNOWN:
            record.joined_late = False
        record.state, record.evidence, record.since = new, evidence, now
        record.reason, record.detail = reason, detail
        return [Changed(record.key, old, new, evidence, reason, detail)]

    # What zone maths sees

    def drill(self, zones: Collection[Key]) -> None:
        """Fail these (target group, zone) from now on, and no others."""
        self._drilled = frozenset(zones)

    def drilled(self, record: Record) -> bool:
        """Return whether a target's zone is failed on purpose."""
        return bool(self._drilled) and self.drills(record.group.name, record.target.zone)

    def drills(self, group: str, zone: str) -> bool:
        """Return whether a zone of a group is failed on purpose."""
        return (group, zone) in self._drilled

    def standings(self, group: str) -> list[Standing]:
        """Return the standing of each target of a group, in order, those that are missing behind them."""
        standings = [
            record.standing(index, drilled=self.drilled(record)) for index, record in enumerate(self.group(group))
        ]
        return standings + self._missing.standings(group, len(standings))

    def missing(self, group: str) -> int:
        """Return how many addresses of a group have vanished and are counted in its zones for a while."""
        return self._missing.count(group)

    def factors(self, group: str, now: float) -> dict[str, float]:
        """Return the part of its weight that each target gets; 1 for all while all that serve start slowly."""
        records = self.group(group)
        factors = {record.target.name: record.factor(now) for record in records}
        if min(factors.values(), default=1.0) == 1.0:
            return factors
        if all(factors[record.target.name] < 1 for record in records if self._serves(record)):
            return dict.fromkeys(factors, 1.0)
        return factors
