"""limits: how many lines of a kind are written in a second; the rest is counted. Pure: it takes the clock's time."""

from __future__ import annotations

PER_SECOND = 10
MOST_KINDS = 256
OTHER = "of other kinds"


class Limits:
    """The kinds that were seen in their present second. A flood of bad requests must not become a flood of lines."""

    def __init__(self, per_second: int = PER_SECOND) -> None:
        self._per_second = per_second
        self._kinds: dict[str, tuple[float, int]] = {}  # kind: (end of its second, lines in it)

    def admits(self, kind: str, now: float) -> bool:
        """Return whether one more line of this kind may be written, and count it."""
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = OTHER
        end, count = self._kinds.get(kind, (now + 1.0, 0))
        if now >= end and count <= self._per_second:
            end, count = now + 1.0, 0
        self._kinds[kind] = end, count + 1
        return count < self._per_second

    def over(self, now: float) -> list[tuple[str, int]]:
        """Return (kind, lines that were suppressed) for the seconds that are over, and forget these."""
        ended = [(kind, count) for kind, (end, count) in self._kinds.items() if end <= now]
        for kind, _ in ended:
            del self._kinds[kind]
        return [(kind, count - self._per_second) for kind, count in ended if count > self._per_second]

    def next(self) -> float | None:
        """Return when something will have to be said, None if nothing was suppressed."""
        return min((end for end, count in self._kinds.values() if count > self._per_second), default=None)
