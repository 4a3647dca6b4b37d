"""tags: the entity tag of what can be changed here, and `If-Match` against it. Pure.

A tag stands for what a write could undo: the configuration and the drills, or one target's orders. What only passes by
(requests, probes, states) is not in it, or nobody could ever write on what they have read.
"""

from __future__ import annotations

import hashlib
import re

_TAG = r'(W/)?"[!#-~]*"'
ONE = f"^{_TAG}$"  # as JSON Schema writes it
_IF_MATCH, _ONE = re.compile(rf"\*|{_TAG}(, *{_TAG})*"), re.compile(_TAG)


class Unreadable(ValueError):
    """An `If-Match` that is neither `*` nor a list of entity tags."""


def tag(*parts: object) -> str:
    """Return the strong entity tag of some values, by their `repr`."""
    return '"' + hashlib.sha256(repr(parts).encode()).hexdigest()[:20] + '"'


def stale(if_match: str | None, current: str) -> bool:
    """Return whether a write was meant for another state than the present one. Raises Unreadable.

    Source: RFC 9110 section 13.1.1: tags are compared strongly, so a weak one never matches.
    """
    if if_match is None:
        return False
    if _IF_MATCH.fullmatch(if_match) is None:
        raise Unreadable(f"If-Match is * or a list of entity tags such as {current}")
    return if_match != "*" and current not in (found[0] for found in _ONE.finditer(if_match))
