"""When a child counts as stuck, and how long its successor has to wait. Pure: told the time, and what it sees."""

from __future__ import annotations

TICK = 0.5  # seconds
SILENT_TICKS = 8  # a child that has beaten before
FIRST_TICKS = 60  # one that still starts

YOUNG = 10.0  # seconds: who dies younger was perhaps never well
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0


class Ticks:
    """The supervisor's own time awake: while it sleeps (SIGSTOP, `docker pause`, suspend) no tick is counted."""

    def __init__(self, now: float) -> None:
        self._last = now

    @property
    def next(self) -> float:
        """Return when the next tick is due (seconds, monotonic)."""
        return self._last + TICK

    def due(self, now: float) -> bool:
        """Return whether this turn is a tick: never two a turn, however long the last one took."""
        if now < self.next:
            return False
        self._last = now
        return True


class Pulse:
    """Whether a child's beat still changes, counted in ticks."""

    def __init__(self, beat: int) -> None:
        """Begin with the cell as the child finds it: its predecessor's last beat."""
        self._beat = beat
        self._silent = 0
        self._limit = FIRST_TICKS

    @property
    def silence(self) -> float:
        """Return the seconds awake without a beat."""
        return self._silent * TICK

    def stopped(self, beat: int) -> bool:
        """Return whether the child has been silent too long; call once a tick with the cell's present value."""
        if beat != self._beat:
            self._beat, self._silent, self._limit = beat, 0, SILENT_TICKS
            return False
        self._silent += 1
        return self._silent >= self._limit


class Backoff:
    """How long a place stays empty: 0 for the first death, then 0.1 s doubling to 5 s while children die young."""

    def __init__(self) -> None:
        self._young_deaths = 0

    def after(self, lifetime: float) -> float:
        """Return the seconds until the successor of a child that lived `lifetime` seconds may start."""
        if lifetime >= YOUNG:
            self._young_deaths = 0
            return 0.0
        self._young_deaths += 1
        if self._young_deaths == 1:
            return 0.0
        return float(min(_FIRST_DELAY * 2 ** min(self._young_deaths - 2, 16), _LONGEST_DELAY))
