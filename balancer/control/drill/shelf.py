"""shelf: the reports of the last drills, on the board: the next control process finds them there.

Each is zlib-packed JSON in a room of fixed size; one that does not fit leaves out its groups' own figures.
"""

from __future__ import annotations

import json
import zlib

from balancer.board import layout
from balancer.board.board import Board
from balancer.control.drill.report import Json, shorter


class Shelf:
    """The last `layout.DRILLS` reports."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def put(self, document: Json) -> None:
        """Keep a report, in place of that with the same id, else of the oldest."""
        rooms = [self._read(room) for room in range(layout.DRILLS)]
        at = next((index for index, kept in enumerate(rooms) if kept and kept[1]["id"] == document["id"]), None)
        number = max((kept[0] for kept in rooms if kept), default=0) + 1
        if at is None:
            at = min(range(layout.DRILLS), key=lambda index: kept[0] if (kept := rooms[index]) else 0)
        else:
            kept_there = rooms[at]
            number = kept_there[0] if kept_there else number
        kept: Json | None = document
        while kept is not None:
            packed = zlib.compress(json.dumps(kept, separators=(",", ":")).encode())
            if len(packed) <= layout.DRILL_BYTES:
                self._write(at, number, packed)
                return
            kept = shorter(kept)

    def reports(self) -> list[Json]:
        """Return what is kept, newest first."""
        kept = [found for room in range(layout.DRILLS) if (found := self._read(room))]
        return [document for _, document in sorted(kept, key=lambda one: -one[0])]

    def _write(self, room: int, number: int, packed: bytes) -> None:
        cells = self._room(room)
        cells[layout.DRILL_LENGTH] = 0  # whoever dies from here on leaves an empty room
        cells[layout.DRILL_TEXT :].cast("B")[: len(packed)] = packed
        cells[layout.DRILL_NUMBER] = number
        cells[layout.DRILL_LENGTH] = len(packed)

    def _read(self, room: int) -> tuple[int, Json] | None:
        cells = self._room(room)
        length = cells[layout.DRILL_LENGTH]
        if not 0 < length <= layout.DRILL_BYTES:
            return None
        packed = bytes(cells[layout.DRILL_TEXT :].cast("B")[:length])
        try:
            document = json.loads(zlib.decompress(packed))
        except (ValueError, zlib.error):
            return None
        return cells[layout.DRILL_NUMBER], document

    def _room(self, room: int) -> memoryview[int]:
        start = layout.DRILLS_AT + room * layout.DRILL_ROOM
        return self._board.cells[start : start + layout.DRILL_ROOM]
