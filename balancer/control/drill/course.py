"""course: one drill from its beginning to its report: a state machine that is told readings and the time. Pure.

    before ──> running ──> returning ──> done          before ──> done: it was stopped, or may not begin after all

`before` watches as things are; `running` is while the zone is failed; `returning` watches until its traffic is back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from balancer.control.drill import judge
from balancer.control.drill.readings import Reading, together

WINDOW = 5.0  # seconds over which failures are looked at
SETTLE = 5.0  # seconds that the return is watched at least
SLACK = 1.0  # percent of the group's traffic that may be missing from a zone that is back


class Stage(StrEnum):
    """Where a drill is."""

    BEFORE = "before"
    RUNNING = "running"
    RETURNING = "returning"
    DONE = "done"


class End(StrEnum):
    """Why a zone is failed no longer."""

    TIME_OVER = "time_over"
    STOPPED = "stopped"
    GUARD_RAIL = "guard_rail"
    CONTROL_LOST = "control_lost"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. Durations in seconds; `most_failed` in percent above what failed before."""

    zone: str
    group: str | None = None
    seconds: float = 60.0
    most_failed: float = 1.0
    before: float = 5.0


@dataclass(slots=True)
class Course:
    """A drill; instants are monotonic, None while they have not come."""

    id: str
    wish: Wish
    groups: tuple[str, ...]
    longest_return: float  # seconds after which its traffic should long be back
    asked: dict[str, Reading]
    shares_before: dict[str, float]  # group → the zone's share in percent
    asked_wall: float
    stage: Stage = Stage.BEFORE
    began: dict[str, Reading] | None = None
    ended: dict[str, Reading] | None = None
    last: dict[str, Reading] = field(default_factory=dict)
    end: End | None = None
    detail: str = ""
    left_at: float | None = None
    empty_at: float | None = None
    back_at: float | None = None
    share_back_at: float | None = None
    _given: int = 0  # requests that the zone has been given, at most seen
    _recent: deque[Reading] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.last = self.last or self.asked

    @property
    def asked_at(self) -> float:
        return together(self.asked.values()).at

    @property
    def began_at(self) -> float | None:
        return None if self.began is None else together(self.began.values()).at

    @property
    def ended_at(self) -> float | None:
        return None if self.ended is None else together(self.ended.values()).at

    def advance(
        self,
        seen: dict[str, Reading],
        *,
        trouble: str = "",
        stop: bool = False,
        shares: Mapping[str, float] | None = None,
    ) -> bool:
        """Take a reading of every group; return whether the stage has changed.

        `trouble`: why the drill may not begin or go on, by the state of the zones; `stop`: the operator's wish;
        `shares`: the zone's share of each group now.
        """
        before = self.stage
        self.last = seen
        whole = together(seen.values())
        match self.stage:
            case Stage.BEFORE:
                self._wait(seen, whole, trouble, stop)
            case Stage.RUNNING:
                self._run(seen, whole, trouble, stop)
            case Stage.RETURNING:
                self._return(whole, stop, shares or {})
            case Stage.DONE:
                pass
        return self.stage is not before

    def _wait(self, seen: dict[str, Reading], whole: Reading, trouble: str, stop: bool) -> None:
        if stop or trouble:
            self.stage, self.end = Stage.DONE, End.STOPPED if stop else End.GUARD_RAIL
            self.detail = "" if stop else trouble
        elif whole.at - self.asked_at >= self.wish.before:
            self.stage, self.began = Stage.RUNNING, seen
            self._given, self.left_at = whole.started(self.wish.zone), whole.at
            self._recent = deque([whole])

    def _run(self, seen: dict[str, Reading], whole: Reading, trouble: str, stop: bool) -> None:
        zone = self.wish.zone
        if whole.started(zone) > self._given:
            self._given, self.left_at = whole.started(zone), whole.at
        if whole.active[zone]:
            self.empty_at = None
        elif self.empty_at is None:
            self.empty_at = whole.at
        self._recent.append(whole)
        while len(self._recent) > 1 and whole.at - self._recent[1].at >= WINDOW:
            self._recent.popleft()
        failing = judge.too_many_failed(
            whole.requests - self._recent[0].requests,
            whole.failed - self._recent[0].failed,
            self.ratio_before,
            self.wish.most_failed,
        )
        if stop:
            self._end(seen, whole, End.STOPPED, "")
        elif trouble or failing:
            self._end(seen, whole, End.GUARD_RAIL, trouble or failing)
        elif self.began_at is not None and whole.at - self.began_at >= self.wish.seconds:
            self._end(seen, whole, End.TIME_OVER, "")

    def _end(self, seen: dict[str, Reading], whole: Reading, end: End, detail: str) -> None:
        self.stage, self.ended, self.end, self.detail = Stage.RETURNING, seen, end, detail
        self._given = whole.started(self.wish.zone)

    def _return(self, whole: Reading, stop: bool, shares: Mapping[str, float]) -> None:
        if self.back_at is None and whole.started(self.wish.zone) > self._given:
            self.back_at = whole.at
        back = all(shares.get(group, 0.0) >= share - SLACK for group, share in self.shares_before.items())
        if back and self.share_back_at is None:
            self.share_back_at = whole.at
        since = whole.at - (self.ended_at or whole.at)
        if stop or (self.share_back_at is not None and since >= SETTLE) or since >= self.longest_return:
            self.stage = Stage.DONE

    @property
    def ratio_before(self) -> float:
        """Failed of all requests before it began, 0 to 1."""
        if self.began is None:
            return 0.0
        asked, began = together(self.asked.values()), together(self.began.values())
        requests = began.requests - asked.requests
        return (began.failed - asked.failed) / requests if requests else 0.0
