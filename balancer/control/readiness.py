"""readiness: whether the balancer does what it is there for yet, and if not, why."""

from __future__ import annotations

from balancer.control.facts import Key
from balancer.control.loop import Control, instant

FIRST_CHECKS = 2.0  # seconds that the first checks may hold readiness back


class Readiness:
    """Ready once every place serves and each target known at start was checked, or had its two seconds for it."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: set[Key] = set()
        self._since: float | None = None
        self._reached = False

    def began(self, *, anew: bool) -> None:
        """Take note of the targets known at start; `anew`: control alone started, the rest was running."""
        self._known = set() if anew else set(self._control.ledger.records)
        self._since = instant().monotonic

    def unchecked(self) -> list[Key]:
        """Return the targets known at start that still wait for their first check."""
        records = self._control.ledger.records
        return sorted(
            key for key in self._known if key in records and not records[key].checked and records[key].target.ip
        )

    def reasons(self) -> list[str]:
        """Return why the balancer is not ready, each a sentence; none if it is."""
        control = self._control
        if control.stopping:
            return ["the balancer is stopping"]
        if control.running is None or self._since is None:
            return ["no configuration is published yet"]
        places = control.running.workers
        serving = control.places.serving(places)
        if self._reached:
            # Beyond the start only the loss of all counts: while one worker is replaced the others serve.
            return [] if serving else ["no worker serves"]
        why = []
        if serving < places:
            why.append(f"{serving} of {places} workers accept on every listener")
        waiting = self.unchecked()
        if waiting and instant().monotonic - self._since < FIRST_CHECKS:
            names = ", ".join("/".join(key) for key in waiting[:10])
            why.append(f"{len(waiting)} targets wait for their first check: {names}")
        self._reached = not why
        return why
