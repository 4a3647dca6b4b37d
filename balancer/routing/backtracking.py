"""Whether a regular expression can be made to stall by a hostile input.

Python's `re` backtracks: it tries every way in which an expression can match a beginning of the text. So within what is
repeated the next character must decide how to go on: a beginning of the text then has one way. What remains are the
places at which repeats can end, and their product is limited (two long ones: 30 ms at 8 KiB; the worst found: 1.2 s).
Back-references and look-behind are refused: costly, and never needed in a rule. What may match is overestimated.
"""

from __future__ import annotations

import functools
import math
import operator
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

LONG = 32  # characters: a repeat that may take more costs a walk over the text
MOST = 8192.0  # places at which one repeat can end: no rule's expression is run on more characters
MOST_WAYS = 15.0  # bits: of a long repeat, and 2 bits to spare; what is not one long walk costs its bits twice

REPETITION = "it repeats a repetition"
ALIKE = "it repeats alternatives that can begin alike"
SHARED = "its repeats can share out a text in too many ways"

Item = tuple[Any, Any]  # what the parser calls an operation and its arguments
Characters = int  # a set, as bits: below 256 themselves, then all others, then the end of what is looked at
_OTHERS, _END = 1 << 256, 1 << 257
_ANY = (1 << 257) - 1
# Without regard to case these match letters from beyond 255, and the other way round.
_FOLDED = sum(1 << ord(letter) for letter in "iIkKsSåÅµÿß")
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}


def regex_fault(text: str) -> str | None:
    """Return what is wrong with the regular expression `text` as a phrase (no full stop), None if it may be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a later Python may read in another way
            re.compile(text)
            return _fault(_parser.parse(text))
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"it is not a regular expression: {error}"


def may_begin_with(text: str, character: str) -> bool:
    """Return whether a sound regular expression may match a text that begins with `character`; overestimated."""
    parsed = _parser.parse(text)
    inner = (argument[1] for code, argument in _walk(parsed) if code is op.SUBPATTERN)
    reader = _Reader(functools.reduce(operator.or_, inner, parsed.state.flags))
    return bool(reader.first(parsed, _ANY) & _bit(ord(character)))


def _fault(parsed: Any) -> str | None:
    flags = parsed.state.flags
    for code, argument in _walk(parsed):
        if code in (op.GROUPREF, op.GROUPREF_EXISTS):
            return "it refers back to a group"
        if code in (op.ASSERT, op.ASSERT_NOT) and argument[0] < 0:
            return "it looks behind"
        if code is op.SUBPATTERN:
            if argument[1] & re.ASCII:
                return "a part of it reads letters in another way than the rest"
            flags |= argument[1]
    reader = _Reader(flags)
    for code, argument in _walk(parsed):
        if code in _REPEATS and argument[1] > 1 and (fault := reader.undecided(argument)) is not None:
            return fault
    ways = reader.ways(list(parsed), _END)
    last = max((place for place, (_, is_long) in enumerate(ways) if is_long), default=-1)
    weights = [bits if is_long else 2 * bits for place, (bits, is_long) in enumerate(ways) if place != last]
    return SHARED if sum(weights) > MOST_WAYS else None


def _walk(items: Iterable[Item]) -> Iterator[Item]:
    """Yield every item and what is inside it."""
    for code, argument in items:
        yield code, argument
        for inner in _inside(code, argument):
            yield from _walk(inner)


def _inside(code: Any, argument: Any) -> list[Any]:
    if code is op.SUBPATTERN:
        return [argument[3]]
    if code in _REPEATS:
        return [argument[2]]
    if code is op.BRANCH:
        return list(argument[1])
    if code in (op.ASSERT, op.ASSERT_NOT):
        return [argument[1]]
    if code is op.ATOMIC_GROUP:
        return [argument]
    return []


def _flat(items: Iterable[Item]) -> list[Item]:
    """Return the sequence with plain groups opened."""
    flat: list[Item] = []
    for code, argument in items:
        if code in (op.SUBPATTERN, op.ATOMIC_GROUP):
            flat += _flat(argument[3] if code is op.SUBPATTERN else argument)
        else:
            flat.append((code, argument))
    return flat


def _length(items: Any) -> tuple[int, int]:
    """Return how many characters it takes, at least and at most."""
    least, most = items.getwidth()
    return int(least), int(most)


class _Reader:
    """What the parts of one expression can match. `flags` that hold for a part are taken to hold for all of it."""

    def __init__(self, flags: int) -> None:
        self._folds = bool(flags & re.IGNORECASE)
        self._lines = bool(flags & re.MULTILINE)
        self._letters = flags & re.ASCII

    def undecided(self, argument: Any) -> str | None:
        """Return why the next character may not decide how to go on within a repeat; None if it always does."""
        body = argument[2]
        if _length(body)[0] == 0:
            return REPETITION
        return self._choices(_flat(body), self.first(body, 0))

    def ways(self, items: Sequence[Item], after: Characters) -> list[tuple[float, bool]]:
        """Return for each choice how many ways it has at most (bits) and whether it is a long repeat.

        `after`: what can follow `items`. Of alternatives that one with most.
        """
        flat = _flat(items)
        found: list[tuple[float, bool]] = []
        for place, (code, argument) in enumerate(flat):
            if code in (op.ASSERT, op.ASSERT_NOT):
                found += self.ways(argument[1], _END)
            elif code is op.BRANCH:
                following = self.first(flat[place + 1 :], after)
                branches = [self.ways(branch, following) for branch in argument[1]]
                found += max(branches, key=lambda branch: sum(bits for bits, _ in branch))
                if self._alike(argument[1], following):
                    found.append((math.log2(len(branches)), False))
            elif code in _REPEATS and argument[1] == 1:
                following = self.first(flat[place + 1 :], after)
                found += self.ways(argument[2], following)
                if argument[0] == 0 and (_length(argument[2])[0] == 0 or self.first(argument[2], 0) & following):
                    found.append((1.0, False))
            elif code in _REPEATS and argument[1] > 1:
                least, most = _length(argument[2])
                longest = min(most * argument[1], MOST)
                ended = not self.held(argument[2]) & self.first(flat[place + 1 :], after)
                ends = 1.0 if ended else max(1.0, longest - least * argument[0] + 1)
                looks = [within[1] for inner, within in _walk(argument[2]) if inner in (op.ASSERT, op.ASSERT_NOT)]
                if looks:  # at each of its steps
                    ends = max(ends, longest)
                found.append((math.log2(min(ends, MOST)), longest > LONG))
                for look in looks:
                    found += self.ways(look, _END)
        return found

    def _choices(self, flat: Sequence[Item], after: Characters) -> str | None:
        for place, (code, argument) in enumerate(flat):
            if code is op.BRANCH:
                following = self.first(flat[place + 1 :], after)
                if self._alike(argument[1], following):
                    return ALIKE
                for branch in argument[1]:
                    if (fault := self._choices(_flat(branch), following)) is not None:
                        return fault
            elif code in _REPEATS:
                following = self.first(flat[place + 1 :], after)
                begin = self.first(argument[2], 0)
                if argument[0] != argument[1] and (begin & following or _length(argument[2])[0] == 0):
                    return REPETITION
                fault = self._choices(_flat(argument[2]), following | (begin if argument[1] > 1 else 0))
                if fault is not None:
                    return fault
        return None

    def _alike(self, branches: Sequence[Any], following: Characters) -> bool:
        """Return whether two alternatives can begin with the same character, or both with what follows them."""
        seen = 0
        for branch in branches:
            begin = self.first(branch, following)
            if seen & begin:
                return True
            seen |= begin
        return False

    def first(self, items: Iterable[Item], after: Characters) -> Characters:
        """Return the characters that `items` and then `after` can begin with."""
        found = 0
        for code, argument in items:
            if code in (op.SUBPATTERN, op.ATOMIC_GROUP):
                inner = argument[3] if code is op.SUBPATTERN else argument
                found |= self.first(inner, 0)
                if _length(inner)[0]:
                    return found
            elif code is op.BRANCH:
                for branch in argument[1]:
                    found |= self.first(branch, 0)
                if all(_length(branch)[0] for branch in argument[1]):
                    return found
            elif code in _REPEATS:
                found |= self.first(argument[2], 0)
                if argument[0] and _length(argument[2])[0]:
                    return found
            elif code is op.AT:
                if argument in (op.AT_END, op.AT_END_STRING) and not self._lines:
                    return found | _END
            elif code not in (op.ASSERT, op.ASSERT_NOT):
                return found | self._set((code, argument))
        return found | after

    def held(self, items: Iterable[Item]) -> Characters:
        """Return the characters that can stand anywhere in it."""
        found = 0
        for code, argument in _walk(items):
            if code not in (op.SUBPATTERN, op.ATOMIC_GROUP, op.BRANCH, op.AT, op.ASSERT, op.ASSERT_NOT, *_REPEATS):
                found |= self._set((code, argument))
        return found

    def _set(self, item: Item) -> Characters:
        found = self._plain(item)
        if not self._folds:
            return found
        for character in range(256):
            if found >> character & 1:
                for other in (chr(character).lower(), chr(character).upper()):
                    found |= _bit(ord(other)) if len(other) == 1 else 0
        if found & _OTHERS:
            found |= _FOLDED
        return found | _OTHERS if found & _FOLDED else found

    def _plain(self, item: Item) -> Characters:
        code, argument = item
        if code is op.LITERAL:
            return _bit(argument)
        if code is op.NOT_LITERAL:
            return _without(_bit(argument))
        if code is op.RANGE:
            low, high = argument
            within = (1 << min(high, 255) + 1) - (1 << low) if low < 256 else 0
            return within | (_OTHERS if high > 255 else 0)
        if code is op.CATEGORY:
            return _category(argument, self._letters)
        if code is op.IN:
            found = 0
            for inner in argument:
                if inner[0] is not op.NEGATE:
                    found |= self._plain(inner)
            return _without(found) if argument[0][0] is op.NEGATE else found
        return _ANY


def _bit(character: int) -> Characters:
    return 1 << character if character < 256 else _OTHERS


def _without(characters: Characters) -> Characters:
    return _ANY & ~characters | _OTHERS


@functools.lru_cache
def _category(name: Any, letters: int) -> Characters:
    pattern = _CATEGORIES.get(name)
    if pattern is None:
        return _ANY
    fits = re.compile(pattern, letters).fullmatch
    beyond = 0 if letters and pattern.islower() else _OTHERS
    return sum(1 << character for character in range(256) if fits(chr(character))) | beyond
