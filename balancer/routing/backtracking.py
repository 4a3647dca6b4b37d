"""Whether a regular expression can be made to stall by a hostile input.

Python's `re` backtracks. Refused are: a repeat inside a repeat and an alternative inside a repeat that can begin in two
ways (both exponential), back-references and look-behind (costly and never needed in a rule), and two repeats that may
end in more than one place before a third (length^3; the square is 30 ms at the limit of 8 KiB).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

LONG = 32  # a repeat of at most this many is as good as written out

Item = tuple[Any, Any]  # what the parser calls an operation and its arguments


def regex_fault(text: str) -> str | None:
    """Return what is wrong with the regular expression `text` as a phrase (no full stop), None if it may be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a later Python may read in another way
            re.compile(text)
            items = list(_parser.parse(text))
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"it is not a regular expression: {error}"
    for code, _ in _walk(items):
        if code in (op.GROUPREF, op.GROUPREF_EXISTS):
            return "it refers back to a group"
    for code, argument in _walk(items):
        if code in (op.ASSERT, op.ASSERT_NOT) and argument[0] < 0:
            return "it looks behind"
        if _is_long(code, argument):
            inner = list(_walk(argument[2]))
            if any(_is_long(*item) for item in inner):
                return "it repeats a repetition"
            if any(code is op.BRANCH and not _is_told_apart(argument[1]) for code, argument in inner):
                return "it repeats alternatives that can begin alike"
    if sum(_repeats(items)[:-1]) > 1:
        return "its repeats can share out a text in too many ways"
    return None


def _is_long(code: Any, argument: Any) -> bool:
    return code in (op.MAX_REPEAT, op.MIN_REPEAT) and argument[1] > LONG


def _walk(items: Iterable[Item]) -> Iterator[Item]:
    """Yield every item and what is inside it."""
    for code, argument in items:
        yield code, argument
        for inner in _inside(code, argument):
            yield from _walk(inner)


def _inside(code: Any, argument: Any) -> list[Any]:
    if code is op.SUBPATTERN:
        return [argument[3]]
    if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return [argument[2]]
    if code is op.BRANCH:
        return list(argument[1])
    if code in (op.ASSERT, op.ASSERT_NOT):
        return [argument[1]]
    if code is op.ATOMIC_GROUP:
        return [argument]
    return []


def _is_told_apart(branches: list[Any]) -> bool:
    """Return whether each alternative begins with a literal of its own."""
    firsts = [branch[0][1] if len(branch) and branch[0][0] is op.LITERAL else None for branch in branches]
    return None not in firsts and len(set(firsts)) == len(firsts)


def _flat(items: Iterable[Item]) -> list[Item]:
    """Return the sequence with plain groups opened."""
    flat: list[Item] = []
    for code, argument in items:
        flat += _flat(argument[3]) if code is op.SUBPATTERN else [(code, argument)]
    return flat


def _repeats(items: Iterable[Item]) -> list[bool]:
    """Return for each long repeat whether it is open: it is ended neither by a character it cannot hold nor by the end.

    Of alternatives the one with most.
    """
    flat = _flat(items)
    found: list[bool] = []
    for place, (code, argument) in enumerate(flat):
        if code is op.BRANCH:
            branches: list[list[bool]] = [_repeats(branch) for branch in argument[1]]
            found += max(branches, key=sum)
        elif _is_long(code, argument):
            following: Item = flat[place + 1] if place + 1 < len(flat) else (op.AT, None)
            ended = following[0] is op.AT or (
                following[0] is op.LITERAL and not any(_holds(item, following[1]) for item in _walk(argument[2]))
            )
            found.append(not ended)
    return found


def _holds(item: Item, character: int) -> bool:
    """Return whether the item may match the character; True when in doubt."""
    code, argument = item
    if code is op.LITERAL:
        return bool(argument == character)
    if code is op.NOT_LITERAL:
        return bool(argument != character)
    if code is op.RANGE:
        return bool(argument[0] <= character <= argument[1])
    if code is op.IN:
        if argument[0][0] is op.NEGATE:
            return not any(_holds(inner, character) for inner in argument[1:])
        return any(_holds(inner, character) for inner in argument)
    if code is op.CATEGORY:
        text = chr(character)
        if argument is op.CATEGORY_DIGIT:
            return text.isdigit()
        if argument is op.CATEGORY_WORD:
            return text.isalnum() or text == "_"
        return argument is not op.CATEGORY_SPACE or text.isspace()
    return code not in (op.SUBPATTERN, op.BRANCH)
