"""tags: the entity tag of what can be changed here, and `If-Match` against it. Pure.

A tag stands for what a write could undo: the configuration and the drills, or one target's orders. What only passes by
(requests, probes, states) is not in it, or nobody could ever write on what they have read.
"""

from __future__ import annotations

import hashlib
import re

_LIST = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')
_ONE = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')


class Unreadable(ValueError):
    """An `If-Match` that is neither `*` nor a list of entity tags."""


def tag(*parts: object) -> str:
    """Return the strong entity tag of some values, by their `repr`."""
    return '"' + hashlib.sha256(repr(parts).encode()).hexdigest()[:20] + '"'


def stale(if_match: str | None, current: str) -> bool:
    """Return whether a write was meant for another state than the present one. Raises Unreadable.

    Source: RFC 9110 section 13.1.1: tags are compared strongly, so a weak one never matches.
    """
    if if_match is None or if_match.strip() == "*":
        return False
    if _LIST.fullmatch(if_match) is None:
        raise Unreadable(f"If-Match is * or a list of entity tags such as {current}")
    return current not in _ONE.findall(if_match)
