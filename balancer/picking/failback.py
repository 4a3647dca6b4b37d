"""Failback and the choice of a tier: traffic leaves a tier at once and comes back late and slowly.

`Failback` works on boundaries: behind each tier but the last stands how much of the traffic the tiers up to it may
hold. That falls at once with the raw shares; it rises only after they were better for `delay`, and then linearly
over `ramp`. Traffic that is held back never stays where it cannot be carried.
"""

from __future__ import annotations

from collections.abc import Sequence

FLAPS_FREE = 3  # within FLAP_WINDOW; each one more doubles the delay
FLAP_WINDOW = 600.0
LONGEST_DELAY = 600.0


class _Boundary:
    """How much, in percent, the tiers up to one may hold together."""

    __slots__ = ("_base", "_falls", "_rising", "_since", "held")

    def __init__(self, held: int) -> None:
        self.held: float = held
        self._base: float = held  # where the present rise began
        self._since = -1.0  # since when the raw value has been better; negative: it is not
        self._falls: list[float] = []
        self._rising = True  # the raw value rose since its last fall: the next one is a flap

    def step(self, raw: int, before: int, now: float, delay: float, ramp: float) -> None:
        """Take the raw value and the one before it."""
        if raw > before:
            self._rising = True
        elif raw < before and self._rising:
            self._rising = False
            self._falls = [at for at in self._falls if now - at < FLAP_WINDOW] + [now]
        if raw <= self.held:
            self.held = raw
            self._since = -1.0
            return
        if self._since < 0:
            self._since = now
            self._base = self.held
        waited = now - self._since - self._delay(now, delay)
        if waited < 0 or (waited == 0 and ramp > 0):
            return
        part = min(1.0, waited / ramp) if ramp > 0 else 1.0
        self.held = max(self.held, self._base + (raw - self._base) * part)
        if part >= 1.0:
            self.held = raw
            self._since = -1.0

    def _delay(self, now: float, delay: float) -> float:
        flaps = sum(now - at < FLAP_WINDOW for at in self._falls)
        return max(delay, min(LONGEST_DELAY, delay * (1 << max(0, flaps - FLAPS_FREE))))


class Failback:
    """The shares in force: the raw ones, but for moves back to an earlier tier. `delay` and `ramp` in seconds."""

    __slots__ = ("_boundaries", "_delay", "_ramp", "_raw", "settled")

    def __init__(self, delay: float, ramp: float) -> None:
        self._delay = delay
        self._ramp = ramp
        self._raw: tuple[int, ...] = ()
        self._boundaries: list[_Boundary] = []
        self.settled = True  # no move is due: `step` need not be called before the raw shares change

    def step(self, raw_shares: tuple[int, ...], now: float, scores: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shares in force at `now`; the sum is that of `raw_shares`.

        `scores` are those of the same assessment: what each tier can carry, without which nobody would see that the
        tier that holds traffic back has failed. The first call, and one with another number of tiers, starts with the
        raw shares.
        """
        raw = _sums(raw_shares)
        if len(raw) != len(self._raw):
            self._boundaries = [_Boundary(value) for value in raw[:-1]]
            self._raw = raw
        for boundary, value, before in zip(self._boundaries, raw, self._raw):
            boundary.step(value, before, now, self._delay, self._ramp)
        self._raw = raw
        self.settled = all(boundary.held >= value for boundary, value in zip(self._boundaries, raw))
        if self.settled or sum(scores) < 100:
            return raw_shares  # nothing is held back, or every tier is needed
        return _carried([int(boundary.held) for boundary in self._boundaries], scores)


class Spreader:
    """Which tier the next request goes to, by error diffusion: of shares 70 and 30 it is 7 and 3 of any 10."""

    __slots__ = ("_errors", "_only", "_shares")

    def __init__(self, shares: Sequence[int] = ()) -> None:
        self._shares: tuple[int, ...] = ()
        self._errors: list[int] = []
        self._only = -1
        self.update(shares)

    def update(self, shares: Sequence[int]) -> None:
        """Take other shares; what is owed to tiers that keep one stays owed."""
        shares = tuple(shares)
        if shares == self._shares:
            return
        kept = self._errors if len(self._errors) == len(shares) else [0] * len(shares)
        self._errors = [error if share else 0 for error, share in zip(kept, shares)]
        self._shares = shares
        served = [index for index, share in enumerate(shares) if share]
        self._only = served[0] if len(served) == 1 else -1

    def pick(self) -> int | None:
        """Return the index of the tier, None if no tier has a share."""
        if self._only >= 0:
            return self._only
        best = -1
        total = 0
        errors = self._errors
        for index, share in enumerate(self._shares):
            if share:
                total += share
                errors[index] += share
                if best < 0 or errors[index] > errors[best]:
                    best = index
        if best < 0:
            return None
        errors[best] -= total
        return best


def _sums(shares: Sequence[int]) -> tuple[int, ...]:
    result: list[int] = []
    total = 0
    for share in shares:
        total += share
        result.append(total)
    return tuple(result)


def _carried(allowed: Sequence[int], scores: Sequence[int]) -> tuple[int, ...]:
    """Return shares within what the boundaries allow and the tiers can carry; what is left goes to those held back."""
    shares: list[int] = []
    given = 0
    for score, most in zip(scores, [*allowed, 100]):
        share = min(score, max(0, most - given), 100 - given)
        shares.append(share)
        given += share
    for index, score in enumerate(scores):
        more = min(score - shares[index], 100 - given)
        shares[index] += more
        given += more
    return tuple(shares)
