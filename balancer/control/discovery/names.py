"""names: what is known of each host name, and when to ask again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

PERIOD = 5.0  # seconds between two questions about a name
EAGER = 1.0  # while it has no address, or a target of it is not well; also the least between any two
KEEP = 10.0  # an empty answer is believed after so long
COMPLAIN = 60.0  # a name that does not resolve is logged so often


@dataclass(frozen=True, slots=True)
class Answer:
    """What the resolver said: addresses in order, none ("no such name" or an empty answer), or an error."""

    addresses: tuple[str, ...] = ()
    error: str = ""


@dataclass(slots=True)
class Name:
    """One name. `addresses` are those to use: what was last heard, for ever if only errors follow."""

    addresses: tuple[str, ...] = ()
    answered: bool = False  # any answer, an error included, has come
    error: str = ""
    failing_since: float | None = None  # since when there is an error
    asked_at: float = -1e9
    asking: bool = False
    hurried: bool = False
    _empty_since: float | None = field(default=None)
    _complained_at: float = field(default=-1e9)

    def due(self, now: float, well: bool) -> float:
        """Return when to ask next; `well`: it has addresses and all its targets are healthy."""
        if self.asking:
            return float("inf")
        if self.hurried or not well or not self.addresses:
            return max(now, self.asked_at + EAGER)
        return self.asked_at + PERIOD

    def take(self, answer: Answer, now: float) -> bool:
        """Take an answer; return True if the addresses to use have changed.

        Error: keep the last ones for ever. No such name, or empty: keep them for 10 s.
        """
        if answer.addresses:
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = now
        self.answered = True
        self.error = answer.error
        if answer.error:
            return False
        if not answer.addresses:
            self.error = "the name has no address"
            if self._empty_since is None:
                self._empty_since = now
            if now - self._empty_since < KEEP:
                return False
        else:
            self._empty_since = None
        if answer.addresses == self.addresses:
            return False
        self.addresses = answer.addresses
        return True

    def complaint(self, now: float) -> str:
        """Return what to log now of a name without addresses, at most once a minute; "" for nothing."""
        if self.addresses or not self.answered or now - self._complained_at < COMPLAIN:
            return ""
        self._complained_at = now
        return self.error
