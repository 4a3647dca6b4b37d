"""states: writes what is true of targets and zones on the board, and says which zones were lost or regained.

Everybody reads the board; a `states` message only makes workers look at once rather than at their next beat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from balancer.board import layout
from balancer.board.board import Board, group_at, state_at
from balancer.control import log, orders
from balancer.control.facts import Instant, Key
from balancer.control.ledger import Kept, Ledger
from balancer.model.names import EVIDENCES, STATES, State
from balancer.model.snapshot import Snapshot, Zones
from balancer.picking.zones import Assessment, Failback, assess, tiers, zone_shares


@dataclass(frozen=True, slots=True)
class GroupShares:
    """A group's zones now: what they are worth, and the shares in force, tier by tier, in percent."""

    assessment: Assessment
    shares: tuple[int, ...]
    by_zone: dict[str, float]  # each zone's part of the traffic, in percent


class States:
    """The states and shares on the board. `groups`: what was written there last."""

    def __init__(self, board: Board, told: Callable[[int], None]) -> None:
        """`told(generation)` is called after each change."""
        self.groups: dict[str, GroupShares] = {}
        self._board = board
        self._told = told
        self._failbacks: dict[str, tuple[Zones, Failback]] = {}
        self._lost: set[tuple[str, str]] = set()
        self._panic: set[str] = set()
        self._slow: set[str] = set()  # groups of which a part of a weight below 1 was written last
        self._first = True

    def write(self, snapshot: Snapshot, ledger: Ledger, now: Instant, only: Collection[str] | None = None) -> None:
        """Bring the board up to date with the ledger; nothing is written or said where nothing changed.

        `only`: the groups in which something may have changed; None: all.
        """
        wanted: dict[int, int] = {}
        self._failbacks = {name: entry for name, entry in self._failbacks.items() if name in ledger.groups}
        before = self.groups
        self.groups = {name: before[name] for name in ledger.groups if name in before}
        self._slow &= ledger.groups.keys()
        for group in ledger.groups.values():
            if only is not None and group.name not in only and group.name in before:
                continue
            slot = snapshot.slots[f"group|{group.name}"]
            shares = self._shares(group.name, group.zones, ledger, slot, now)
            self.groups[group.name] = shares
            # A tier whose zones are all missing has no share, and no place in the workers' list of tiers.
            present = len(tiers(group.zones, [target.zone for target in group.targets]))
            self._write_group(wanted, slot, shares, min(present, layout.MAX_TIERS))
            self._write_targets(wanted, group.name, snapshot, ledger, now)
            if group.name in before:
                self._count_failovers(snapshot, group.name, before[group.name], shares)
            self._say(group.name, shares, ledger)
        cells = self._board.cells
        changes = [(cell, value) for cell, value in wanted.items() if cells[cell] != value]
        if changes or self._first:  # whoever wrote before us may have died half-way
            self._first = False

            def change(board: memoryview[int]) -> None:
                for cell, value in changes:
                    board[cell] = value

            self._told(self._board.publish(change))

    def restless(self, ledger: Ledger, now: float) -> bool:
        """Return whether time alone changes something: a slow start, or traffic on its way back to its zone.

        A slow start is over when its whole weight is on the board.
        """
        return (
            bool(self._slow)
            or any(not failback.settled for _, failback in self._failbacks.values())
            or any(record.slow_since is not None and record.factor(now) < 1 for record in ledger.records.values())
        )

    def _shares(self, name: str, zones: Zones, ledger: Ledger, slot: int, now: Instant) -> GroupShares:
        standings = ledger.standings(name)
        assessment = assess(zones, standings)
        kept = self._failbacks.get(name)
        if kept is None or kept[0] != zones:
            failback = Failback(zones.failback_delay, zones.failback_ramp)
            earlier = self._shares_on_board(slot, len(assessment.tiers))
            if kept is None and earlier is not None:
                # Control started anew: traffic that was being held back stays so.
                failback.step(earlier, now.monotonic, assessment.scores)
            self._failbacks[name] = zones, failback
        failback = self._failbacks[name][1]
        shares = failback.step(assessment.shares, now.monotonic, assessment.scores)
        return GroupShares(assessment, shares, zone_shares(assessment, shares, standings))

    def _shares_on_board(self, slot: int, tiers: int) -> tuple[int, ...] | None:
        at = group_at(slot)
        cells = self._board.cells
        if cells[at + layout.GROUP_TIERS] != tiers:
            return None
        shares = tuple(cells[at + layout.GROUP_SHARES : at + layout.GROUP_SHARES + tiers])
        return shares if sum(shares) == 100 else None

    @staticmethod
    def _write_group(wanted: dict[int, int], slot: int, shares: GroupShares, count: int) -> None:
        at = group_at(slot)
        panics = [tier.panic for tier in shares.assessment.tiers[:count]]
        wanted[at + layout.GROUP_PANIC] = sum(panic << index for index, panic in enumerate(panics))
        wanted[at + layout.GROUP_TIERS] = len(panics)
        for index, share in enumerate(shares.shares[:count]):
            wanted[at + layout.GROUP_SHARES + index] = share

    def _write_targets(
        self, wanted: dict[int, int], group: str, snapshot: Snapshot, ledger: Ledger, now: Instant
    ) -> None:
        factors = ledger.factors(group, now.monotonic)
        self._slow.discard(group)
        for record in ledger.group(group):
            at = state_at(snapshot.slots[f"state|{group}|{record.target.name}"])
            wanted[at + layout.STATE] = record.state.code
            wanted[at + layout.EVIDENCE] = record.evidence.code
            wanted[at + layout.SINCE] = max(0, int(record.since.monotonic * 1000))
            wanted[at + layout.FACTOR] = factor = round(factors[record.target.name] * 1000)
            if factor < 1000:
                self._slow.add(group)
            leaving, drilled = record.leaving_until is not None, ledger.drilled(record)
            for cell, value in orders.cells(record.order, leaving=leaving, drilled=drilled).items():
                wanted[at + cell] = value

    def _count_failovers(self, snapshot: Snapshot, name: str, before: GroupShares, after: GroupShares) -> None:
        if len(before.shares) == len(after.shares):
            lost = sum(
                old > 0 and new == 0 and tier.available == 0
                for old, new, tier in zip(before.shares, after.shares, after.assessment.tiers)
            )
            if lost:
                self._board.row(layout.CONTROL_PLACE)[snapshot.slots[f"failovers|{name}"]] += lost

    def _say(self, name: str, shares: GroupShares, ledger: Ledger) -> None:
        unknown = {record.target.zone for record in ledger.group(name) if record.state is State.UNKNOWN}
        present = set()
        for zone in shares.assessment.zones:
            key = (name, zone.zone)
            present.add(key)
            share = f"{round(shares.by_zone.get(zone.zone, 0))}%"
            if zone.healthy == 0 and zone.total > 0 and zone.zone not in unknown and key not in self._lost:
                self._lost.add(key)
                drilled = "yes" if ledger.drills(name, zone.zone) else None
                said = log.info if drilled else log.warn
                panic = "yes" if shares.assessment.panic else None  # then it serves nevertheless
                healthy = f"0/{zone.total}"
                said(
                    "zone was lost",
                    group=name,
                    zone=zone.zone,
                    healthy=healthy,
                    share=share,
                    panic=panic,
                    drilled=drilled,
                )
            elif zone.healthy > 0 and key in self._lost:
                self._lost.discard(key)
                log.info(
                    "zone was regained", group=name, zone=zone.zone, healthy=f"{zone.healthy}/{zone.total}", share=share
                )
        self._lost = {key for key in self._lost if key[0] != name or key in present}
        if shares.assessment.panic and name not in self._panic:
            self._panic.add(name)
            log.warn("panic began: unhealthy targets serve too", group=name)
        elif not shares.assessment.panic and name in self._panic:
            self._panic.discard(name)
            log.info("panic ended", group=name)


def kept_on_board(board: Board, snapshot: Snapshot, now: Instant) -> dict[Key, Kept]:
    """Return what the control process before this one knew of the snapshot's targets."""
    kept: dict[Key, Kept] = {}
    for group in snapshot.target_groups:
        for target in group.targets:
            at = state_at(snapshot.slots[f"state|{group.name}|{target.name}"])
            cells = board.cells
            state, evidence = cells[at + layout.STATE], cells[at + layout.EVIDENCE]
            if state < len(STATES) and evidence < len(EVIDENCES):
                age = max(0.0, now.monotonic - cells[at + layout.SINCE] / 1000)
                block = cells[at : at + layout.STATE_BLOCK]
                kept[group.name, target.name] = Kept(
                    STATES[state],
                    EVIDENCES[evidence],
                    now.earlier(age),
                    orders.read(block),
                    leaving=bool(block[layout.ORDERS] & layout.ORDER_LEAVING),
                    slow=block[layout.FACTOR] < 1000,
                )
    return kept
