"""A target under random probes, failures, drains and a clock: only legal moves, never too many out."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from balancer.health.ejection import Ejector, Streaks, may_eject
from balancer.health.machine import TRANSITIONS, Event, step
from balancer.health.thresholds import Thresholds
from balancer.model.names import Evidence, PolicyName, State
from balancer.model.snapshot import HealthCheck, Passive, Zones
from balancer.picking.policy import make
from balancer.picking.view import View
from balancer.picking.zones import Assessment, Standing, assess

NAMES = [f"t{number}" for number in range(6)]
PASSIVE = Passive(max_ejected_percent=50)
CHECK = HealthCheck()
TARGET = st.sampled_from(NAMES)


class Group(RuleBasedStateMachine):
    """Six targets in two zones, moved as control and a worker move them."""

    @initialize(names=st.permutations(NAMES))
    def begin(self, names: list[str]) -> None:
        self.names = names
        self.now = 0.0
        self.states = dict.fromkeys(NAMES, State.UNKNOWN)
        self.evidence = dict.fromkeys(NAMES, Evidence.NONE)
        self.thresholds = {name: Thresholds(CHECK) for name in NAMES}
        self.streaks = {name: Streaks(PASSIVE) for name in NAMES}
        self.ejector = Ejector(PASSIVE, lambda: 0.5)
        self.ejected_at: dict[str, float] = {}
        self.probes = 0

    def move(self, name: str, event: Event) -> None:
        before, after = self.states[name], step(self.states[name], event)
        assert after is TRANSITIONS[before][event]
        self.states[name] = after
        if before is State.EJECTED and after is not State.EJECTED:
            self.ejector.ended(name, self.now)
            self.ejected_at.pop(name)
            self.streaks[name].reset()
        if event is Event.ENABLE and after is State.UNKNOWN:
            self.thresholds[name].reset()

    @rule(name=TARGET, passed=st.booleans(), hard=st.booleans())
    def probe(self, name: str, passed: bool, hard: bool) -> None:
        if self.states[name] is State.DISABLED:
            return
        self.probes += 1
        event = self.thresholds[name].count(passed, self.states[name])
        if event is Event.FAILED:
            self.evidence[name] = Evidence.HARD if hard else Evidence.SOFT
        if event:
            self.move(name, event)
        elif passed and self.ejector.ends_early(name, self.thresholds[name].passes, CHECK.healthy_threshold):
            self.move(name, Event.READMIT)

    @rule(name=TARGET, failures=st.integers(1, 6), by_connect=st.booleans())
    def traffic_fails(self, name: str, failures: int, by_connect: bool) -> None:
        streaks = self.streaks[name]
        for _ in range(failures):
            if not (streaks.connect_failed() if by_connect else streaks.gateway_failed()):
                continue
            result = self.assessment()
            available = sum(len(tier.members) for tier in result.tiers)
            ejected = list(self.states.values()).count(State.EJECTED)
            serving = any(self.names.index(name) == slot for tier in result.tiers for slot, _ in tier.members)
            if serving and may_eject(PASSIVE, ejected, len(NAMES), available - 1, result.panic):
                self.ejector.eject(name, self.now, by_connect=by_connect)
                self.move(name, Event.EJECT)
                self.ejected_at[name] = self.now

    @rule(name=TARGET, status=st.sampled_from([200, 404, 500, 503]))
    def traffic_answers(self, name: str, status: int) -> None:
        self.streaks[name].responded(status)

    @rule(name=TARGET, event=st.sampled_from([Event.DRAIN, Event.DISABLE, Event.ENABLE]))
    def operator(self, name: str, event: Event) -> None:
        self.move(name, event)

    @rule(seconds=st.floats(0.1, 200))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for name in self.ejector.due(self.now):
            assert self.now - self.ejected_at[name] >= PASSIVE.base_ejection
            self.move(name, Event.READMIT)

    def assessment(self) -> Assessment:
        return assess(
            Zones(),
            [
                Standing(slot, "ab"[slot % 2], 1, self.states[name], self.evidence[name])
                for slot, name in enumerate(self.names)
            ],
        )

    @invariant()
    def ejected_ones_are_few_and_end(self) -> None:
        ejected = {name for name, state in self.states.items() if state is State.EJECTED}
        assert len(ejected) <= len(NAMES) * PASSIVE.max_ejected_percent // 100
        assert ejected == set(self.ejected_at)
        longest = PASSIVE.max_ejection * 1.1
        assert all(self.now - at <= longest + 200 for at in self.ejected_at.values())

    @invariant()
    def draining_and_disabled_ones_are_never_picked(self) -> None:
        for tier in self.assessment().tiers:
            policy = make(PolicyName.ROUND_ROBIN, lambda _: 0, lambda: 0.0)
            policy.update(View(tuple(slot for slot, _ in tier.members), tuple(weight for _, weight in tier.members)))
            for _ in tier.members:
                slot = policy.pick(())
                assert slot is not None
                assert self.states[self.names[slot]] not in (State.DRAINING, State.DISABLED)

    @invariant()
    def runs_of_probes_are_of_one_kind(self) -> None:
        assert all(not (run.passes and run.fails) for run in self.thresholds.values())
        assert sum(run.passes + run.fails for run in self.thresholds.values()) <= self.probes


Group.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGroup = Group.TestCase
