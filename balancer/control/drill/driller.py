"""driller: carries a drill out: fails the zone by the ledger's word, watches, lets it serve again, keeps the report.

Nothing outside is touched. On the board stands until when a drill is good, never more than `LEASE` ahead: where control
dies, workers end it by themselves, and the next control says so.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from balancer.board import layout
from balancer.control import log
from balancer.control.drill import judge
from balancer.control.drill.course import Course, End, Stage, Wish
from balancer.control.drill.judge import Part
from balancer.control.drill.read import read
from balancer.control.drill.readings import Reading
from balancer.control.drill.report import Json, cut_off, report
from balancer.control.drill.shelf import Shelf

if TYPE_CHECKING:
    from balancer.control.loop import Control

LONGEST = 3600.0  # seconds that a zone may be failed
LEASE = 5.0  # seconds that a drill outlives control
FINE, COARSE = 0.1, 0.25  # seconds between two looks: near a turn, else
NEAR = 3.0  # seconds after a turn that are near it
KEPT = 1.0  # seconds between two times that the report of a running drill is kept
LONGER = 15.0  # seconds that a return may take beyond delay and ramp of its groups


class Refused(Exception):
    """The zone may not be failed; `why`: a sentence each."""

    def __init__(self, why: tuple[str, ...]) -> None:
        super().__init__("; ".join(why))
        self.why = why


class Driller:
    """At most one drill at a time."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._shelf = Shelf(control.board)
        self._wanted = asyncio.Event()
        self._stop = False
        self._lost_before: frozenset[tuple[str, str]] = frozenset()
        self._kept = 0.0
        self.course: Course | None = None

    # What one may ask for

    def zones(self) -> list[str]:
        """Return the zones that have targets."""
        running = self._control.running
        return list(dict.fromkeys(t.zone for g in running.target_groups for t in g.targets)) if running else []

    def groups(self) -> list[str]:
        """Return the target groups."""
        return list(self._control.ledger.groups)

    def may(self, wish: Wish) -> tuple[str, ...]:
        """Return why a drill may not begin, with numbers; nothing if it may."""
        if self.course is not None and self.course.stage is not Stage.DONE:
            return (f"another drill is not over yet: {self.course.id} of {self.course.wish.zone}",)
        if self._control.stopping:
            return ("the balancer is stopping",)
        parts = judge.affected(self._parts(), wish.zone, wish.group)
        if not parts:
            return (f"no target{f' of {wish.group}' if wish.group is not None else ''} is in zone {wish.zone}",)
        return judge.refusals(parts, wish.zone)

    def begin(self, wish: Wish) -> Json:
        """Begin a drill; return it. Raises Refused."""
        why = self.may(wish)
        if why:
            log.warn("drill was refused", zone=wish.zone, why="; ".join(why))
            raise Refused(why)
        groups = tuple(part.name for part in judge.affected(self._parts(), wish.zone, wish.group))
        wall = time.time()
        self.course = Course(
            id=self._name(wall),
            wish=wish,
            groups=groups,
            longest_return=self._longest_return(groups),
            asked=self._read(groups),
            shares_before=self._shares(groups, wish.zone),
            asked_wall=wall,
        )
        self._stop = False
        self._keep()
        self._wanted.set()
        return report(self.course)

    def stop(self) -> None:
        """End the drill that runs; what it came to is kept."""
        self._stop = True

    def running(self) -> Json | None:
        """Return the drill that is not over yet."""
        return report(self.course) if self.course is not None and self.course.stage is not Stage.DONE else None

    def reports(self) -> list[Json]:
        """Return the last drills, newest first, the one that runs with its figures of now."""
        now = self.running()
        kept = self._shelf.reports()
        return [now if now is not None and one["id"] == now["id"] else one for one in kept]

    # Its life

    def resume(self) -> None:
        """End what a control process before this one had begun: it has lost count of it."""
        self._control.board.cells[layout.DRILL_UNTIL] = 0
        for document in self._shelf.reports():
            ended = cut_off(document)
            if ended is not document:
                self._shelf.put(ended)
                log.warn("drill was ended: control was replaced", id=ended["id"], zone=ended["zone"])

    async def run(self) -> None:
        """Carry out what is asked for, until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                turned = time.monotonic()
                while self.course is not None and self.course.stage is not Stage.DONE:
                    if self._look(self.course):
                        turned = time.monotonic()
                    await asyncio.sleep(FINE if time.monotonic() - turned < NEAR else COARSE)
        finally:
            self._control.board.cells[layout.DRILL_UNTIL] = 0

    def _look(self, course: Course) -> bool:
        """Let time pass for the drill; return whether it has come to another stage."""
        zone, cells = course.wish.zone, self._control.board.cells
        trouble = self._trouble(course)
        if course.stage is Stage.RUNNING:
            if time.monotonic() * 1000 >= cells[layout.DRILL_UNTIL]:
                trouble = trouble or "this process stood still for so long that the drill ended by itself"
            else:
                self._renew()
        seen = self._read(course.groups)
        turned = course.advance(seen, trouble=trouble, stop=self._stop, shares=self._shares(course.groups, zone))
        if turned:
            self._stop = False
            self._turned(course)
        if turned or time.monotonic() - self._kept >= KEPT:
            self._keep()
        return turned

    def _turned(self, course: Course) -> None:
        control, zone = self._control, course.wish.zone
        groups = ",".join(course.groups)
        if course.stage is Stage.RUNNING:
            self._renew()
            self._lost_before = frozenset((part.name, lost) for part in self._parts() for lost in judge.lost(part))
            control.ledger.drill([(group, zone) for group in course.groups])
            # Before the states, of which it is the cause: "zone was lost" comes after it in the log.
            log.warn("drill began", id=course.id, zone=zone, groups=groups, seconds=f"{course.wish.seconds:g}s")
            control.write_states()
            return
        control.ledger.drill(())
        control.board.cells[layout.DRILL_UNTIL] = 0
        if course.stage is Stage.RETURNING or course.ended is None:
            said = log.warn if course.end is End.GUARD_RAIL else log.info
            said("drill ended", id=course.id, zone=zone, groups=groups, reason=course.end, detail=course.detail or None)
        control.write_states()
        if course.stage is Stage.DONE:
            log.info("drill is over", id=course.id, zone=zone, summary=report(course)["summary"])

    def _renew(self) -> None:
        self._control.board.cells[layout.DRILL_UNTIL] = int((time.monotonic() + LEASE) * 1000)

    def _keep(self) -> None:
        self._kept = time.monotonic()
        if self.course is not None:
            self._shelf.put(report(self.course))

    def _trouble(self, course: Course) -> str:
        zone, parts = course.wish.zone, [part for part in self._parts() if part.name in course.groups]
        if any(not part.has(zone) for part in parts) or len(parts) < len(course.groups):
            return f"{zone} is no longer in every group that was drilled"
        if course.stage is Stage.BEFORE:
            return "; ".join(judge.refusals(parts, zone))
        return judge.crossed(parts, zone, self._lost_before) if course.stage is Stage.RUNNING else ""

    # What it sees

    def _parts(self) -> list[Part]:
        ledger, stats = self._control.ledger, self._control.stats()
        return [
            Part(
                group.name,
                group.zones,
                tuple(ledger.standings(group.name)),
                sum(stats.active(group.name, target.name) for target in group.targets) if stats is not None else 0,
                group.max_connections,
                frozenset(slot for slot, record in enumerate(ledger.group(group.name)) if record.held_out),
            )
            for group in ledger.groups.values()
        ]

    def _read(self, groups: tuple[str, ...]) -> dict[str, Reading]:
        stats, now = self._control.stats(), time.monotonic()
        if stats is None:
            return {name: Reading(now) for name in groups}
        return read(stats, groups, self._control.zones, now)

    def _shares(self, groups: tuple[str, ...], zone: str) -> dict[str, float]:
        shown = self._control.states.groups
        return {name: shown[name].by_zone.get(zone, 0.0) for name in groups if name in shown}

    def _longest_return(self, groups: tuple[str, ...]) -> float:
        zones = [self._control.ledger.groups[name].zones for name in groups]
        return max(one.failback_delay + one.failback_ramp for one in zones) + LONGER

    def _name(self, wall: float) -> str:
        name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(wall))
        taken = {one["id"] for one in self._shelf.reports()}
        return next(made for number in range(1, 1000) if (made := f"{name}-{number}") not in taken)
