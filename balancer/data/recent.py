"""Recent: the writing end of a place's rings: what this worker's last requests came to, for `balancer explain`.

    whole    a plain response in one piece, nothing to say beside it: one `pack_into`
    close    any other end; tries, a queue, a reason or a 5xx make it a detailed record
    refused  a head that never became a request
    look     the coarse clock: what is under way for longer than a tick stands in the table of open requests, so that
             those inside a killed worker can be told
    scene    who is in rotation from now on

Rules
1. A record is written once, at the end of its request; a failed one also goes where only failed ones push it out.
2. A record is never worth a request: what cannot be written is said in the log, and left out.
3. What is written, and how a reader knows that it is whole, is said in `board.records` and `board.rings`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from balancer.board import layout, records, rings, scenes
from balancer.board.board import Board
from balancer.board.records import AT_ONCE, CONTEXT, NONE, OPEN, PLAIN, REUSED, UPSTREAM, WHOLE, Try
from balancer.data.deadlines import PERIOD
from balancer.model.reason import REASON_CODES, Reason

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange
    from balancer.data.routes import Route
    from balancer.data.target import LiveTarget

_PACK, _PACK_WHOLE = PLAIN.pack_into, WHOLE.pack_into
_SLOTS, _SLOT = layout.RECENT.slots, layout.RECENT.slot
_STALE = layout.SCENES.slots // 2  # scenes after which one that still holds is noted again
_LAST = (_SLOTS - 1) * _SLOT
_AT_ONCE = AT_ONCE | UPSTREAM | REUSED
_BEGUN = 1e-6  # s in a queue, of who has just come there
_SAY_EVERY = 60.0  # s between two lines in the log about records that cannot be written
log = logging.getLogger("balancer.worker")


class Recent:
    """The rings of one place, as its worker writes them. `wall`: what to add to monotonic time."""

    __slots__ = (
        "_at",
        "_board",
        "_failed",
        "_free",
        "_number",
        "_open",
        "_place",
        "_recent",
        "_said",
        "_scene",
        "_scenes",
        "wall",
    )

    def __init__(self, board: Board, place: int) -> None:
        """Go on where the last worker of the place ended."""
        self._board = board
        self._place = place
        self._recent = board.ring(place, layout.RECENT)
        self._open = board.ring(place, layout.OPEN)
        self._scenes = board.ring(place, layout.SCENES)
        self._number = rings.last(board, place, layout.RECENT)
        self._at = self._number % _SLOTS * _SLOT  # of the next slot
        self._failed = rings.last(board, place, layout.FAILED)
        self._scene = rings.last(board, place, layout.SCENES)
        self._free = list(range(layout.OPEN.slots, 0, -1))  # places in the table of open requests, counted from 1
        self.wall = time.time() - time.monotonic()
        self._said = -_SAY_EVERY  # when the log was last told of one that could not be written

    # Ends of requests

    def whole(
        self, exchange: Exchange, route: Route, target: LiveTarget, duration: float, status: int, size: int
    ) -> None:
        """Note a plain response that came in one piece. hot."""
        if duration > PERIOD or status >= 500 or not exchange.fresh:  # not fresh: it went the long way
            exchange.status = exchange.upstream_status = status
            exchange.from_upstream = True
            exchange.first_byte = duration
            exchange.bytes_out = size
            exchange.fresh = False
            self.close(exchange, duration)
            return
        try:
            self._number = number = self._number + 1
            at = self._at
            self._at = at + _SLOT if at < _LAST else 0
            _PACK_WHOLE(
                self._recent,
                at,
                number,
                exchange.started + self.wall,
                size,
                duration,
                target.placed,
                status,
                _AT_ONCE,
                route.context,
                exchange.id_line,
                exchange.block.raw_host,
                exchange.line.told,
                number,
            )
        except Exception:
            self._fault()

    def close(self, exchange: Exchange, duration: float) -> None:
        """Note a finished request."""
        try:
            self._close(exchange, duration)
        except Exception:
            self._fault()

    def _close(self, exchange: Exchange, duration: float) -> None:
        if exchange.open_slot:
            self._shut(exchange)
        # What a rule answers by itself is no failure, whatever its status.
        failed = exchange.reason is not None or (exchange.status >= 500 and exchange.from_upstream)
        told = exchange.past is not None or exchange.queued or exchange.passed  # beyond what a plain record holds
        if failed or told or exchange.block.request_id:
            self._put(self._detailed(exchange, duration), failed)
            return
        at = self._next()
        number = self._number
        group, target = exchange.group, exchange.target
        _PACK(
            self._recent,
            at,
            number,
            exchange.started + self.wall,
            exchange.bytes_in,
            exchange.bytes_out,
            duration,
            exchange.first_byte,
            exchange.connect_time,
            NONE if target is None else target.place_on_board,
            0 if group is None else group.scene,
            exchange.status,
            exchange.upstream_status,
            _flags(exchange),
            exchange.route.context,
            exchange.id_line,
            exchange.block.raw_host,
            exchange.line.told,
            number,
        )

    def refused(
        self,
        context: bytes,
        *,
        request_id: str,
        status: int,
        reason: Reason,
        detail: str,
        duration: float,
        method: str,
        host: str,
        path: str,
    ) -> None:
        """Note a head that could not be served; "-" is a method or path that could not be read."""
        packed = partial(
            records.pack,
            started=time.monotonic() - duration + self.wall,
            context=context,
            request_id=request_id.encode(),
            method=method.removeprefix("-").encode(),
            host=host.encode("latin-1", "replace"),
            path=path.removeprefix("-").encode("latin-1", "replace"),
            status=status,
            duration=duration,
            reason=REASON_CODES[reason] + 1,
            detail=detail.encode("utf-8", "replace"),
        )
        try:
            self._put(packed, failed=True)
        except Exception:
            self._fault()

    def _fault(self) -> None:
        """A record could not be written: say so once in a while, with the exception in hand."""
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            log.exception("internal error in the record of a request")

    def _next(self) -> int:
        """Count another record; return where its slot begins."""
        self._number += 1
        at = self._at
        self._at = at + _SLOT if at < _LAST else 0
        return at

    def _put(self, packed: Callable[[int, int], bytes], failed: bool) -> None:
        self._next()
        rings.put(self._recent, layout.RECENT, self._number, packed)
        if failed:
            self._failed += 1
            rings.put(self._board.ring(self._place, layout.FAILED), layout.FAILED, self._failed, packed)

    @staticmethod
    def _detailed(exchange: Exchange, duration: float, flags: int = 0) -> Callable[[int, int], bytes]:
        line, group, target = exchange.line, exchange.group, exchange.target
        now = exchange.started + duration
        code = 0 if exchange.reason is None else REASON_CODES[exchange.reason] + 1
        tries = exchange.past or []
        if target is not None:
            tries = [*tries, ended(exchange, code, now)]
        return partial(
            records.pack,
            started=exchange.started + exchange.place.recent.wall,
            context=exchange.route.context,
            request_id=exchange.id_line[14:-4],
            method=line.method,
            host=exchange.block.raw_host,
            path=line.told[len(line.method) + 1 :],
            status=exchange.status,
            duration=duration,
            first_byte=exchange.first_byte,
            connect=exchange.connect_time,
            queue=exchange.queued + (max(_BEGUN, now - exchange.queued_at) if exchange.queued_at else 0.0),
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            target=NONE if target is None else target.place_on_board,
            scene=0 if group is None else group.scene,
            upstream_status=exchange.upstream_status,
            reason=code,
            retries=exchange.retries,
            flags=_flags(exchange) | flags,
            tries=tries,
            passed=exchange.passed,
            detail=exchange.detail.encode("utf-8", "replace"),
        )

    # Requests under way

    def look(self, now: float, exchanges: Iterable[Exchange]) -> None:
        """Called by the coarse clock: note those of `exchanges` that have been under way for longer than a tick."""
        self.wall = time.time() - time.monotonic()
        full = False
        for exchange in exchanges:
            if not exchange.open_slot and now - exchange.started > PERIOD:
                if not self._free:
                    full = True
                    continue
                exchange.open_slot = self._free.pop()
                self.reopen(exchange, now)
        if full:
            self._board.row_head(self._place)[layout.ROW_OPEN_FULL] += 1

    def reopen(self, exchange: Exchange, now: float) -> None:
        """Note once more what is known of a request under way: it is at another target."""
        try:
            packed = self._detailed(exchange, now - exchange.started, OPEN)
            rings.put(self._open, layout.OPEN, exchange.open_slot, packed)
        except Exception:
            self._fault()

    def _shut(self, exchange: Exchange) -> None:
        rings.clear(self._open, layout.OPEN, exchange.open_slot)
        self._free.append(exchange.open_slot)
        exchange.open_slot = 0

    # Scenes

    def scene(self, content: bytes) -> int:
        """Note who is in rotation from now on (`scenes.body`); return the scene's number."""
        self._scene += 1
        now = time.monotonic()
        packed = partial(scenes.pack, at_wall=now + self.wall, at=now, content=content)
        rings.put(self._scenes, layout.SCENES, self._scene, packed)
        return self._scene

    def stale(self, scene: int) -> bool:
        """Return whether a scene will soon be pushed out by others."""
        return self._scene - scene > _STALE


def ended(exchange: Exchange, code: int, now: float) -> Try:
    """Return the present try of `exchange` as it ends now; `code`: its reason's + 1, 0 for well."""
    assert exchange.target is not None
    before = exchange.past or ()
    # A request that found an idle connection at once was sent as it began.
    since = max(exchange.sent_at, exchange.started)
    connect = exchange.connect_time - sum(one.connect for one in before)
    start = since - exchange.started
    return Try(exchange.target.place_on_board, code, start, max(0.0, connect), now - since, exchange.reused)


def _flags(exchange: Exchange) -> int:
    return (UPSTREAM if exchange.from_upstream else 0) | (REUSED if exchange.reused and exchange.target else 0)


def context(slots: dict[str, int], listener: str, group: str, rule: int, version: int, revision: int) -> bytes:
    """Return what all requests of a route have in common, as it stands in their records."""
    return CONTEXT.pack(
        slots.get(f"listener|{listener}", NONE), slots.get(f"group|{group}", NONE), rule, version, revision
    )
