"""look: finds records on the board, over all worker places."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass

from balancer.board import layout, rings
from balancer.board.board import Board
from balancer.board.records import Record
from balancer.board.scenes import Scene

_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")


@dataclass(frozen=True, slots=True)
class Found:
    """A request, the place of the worker that served it, and the scene it was placed in if that is still known."""

    record: Record
    place: int
    scene: Scene | None


@dataclass(frozen=True, slots=True)
class Kept:
    """How many requests are kept, and when the oldest of them began (seconds since 1970, 0: there is none).

    `lost`: how many were inside a worker when it was lost; those that had just begun are not among the kept.
    """

    recent: int
    failed: int
    lost: int
    oldest: float
    oldest_failed: float


def find(board: Board, places: int, request_id: str) -> Found | None:
    """Return the last request of that id, None if there is none. Of what is said twice, the fuller record is taken.

    8 ms a place where nothing is found and all is full.
    """
    found: Found | None = None
    if not _ID.fullmatch(request_id):  # no request has it, and a letter would be found in every record
        return None
    for ring in (layout.FAILED, layout.RECENT, layout.OPEN):
        for place in range(places):
            record = rings.find(board, place, ring, request_id)
            if record is not None and (found is None or record.started > found.record.started + 0.001):
                found = Found(record, place, rings.scene(board, place, record.scene))
    return found


def latest(board: Board, places: int, limit: int, *, failed: bool) -> list[Found]:
    """Return the last requests by their begin, newest first."""
    ring = layout.FAILED if failed else layout.RECENT
    every: list[tuple[float, int, Record]] = []
    for place in range(places):
        for count, record in enumerate(rings.newest(board, place, ring)):
            if count >= limit:
                break
            every.append((record.started, place, record))
    chosen = heapq.nlargest(limit, every, key=lambda one: one[0])
    return [Found(record, place, None) for _, place, record in chosen]


def kept(board: Board, places: int) -> Kept:
    """Return how far back one can ask."""
    counts, oldest = [0, 0], [0.0, 0.0]
    for index, ring in enumerate((layout.RECENT, layout.FAILED)):
        firsts = [rings.oldest(board, place, ring) for place in range(places)]
        oldest[index] = min((first.started for first in firsts if first is not None), default=0.0)
        counts[index] = sum(rings.written(board, place, ring) for place in range(places))
    lost = sum(board.row_head(place)[layout.ROW_LOST] for place in range(places))
    return Kept(counts[0], counts[1], lost, oldest[0], oldest[1])
