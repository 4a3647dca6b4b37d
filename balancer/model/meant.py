"""Which of some words was probably meant by another one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the word that is nearest; None where none is near (likeness `cutoff` of 1.0), or several are just as near.

    Who has zone-a and zone-b and writes zone-x is not helped by one of them.
    """
    near = difflib.get_close_matches(word, dict.fromkeys(known), n=2, cutoff=cutoff)
    alike = [difflib.SequenceMatcher(None, other, word).ratio() for other in near]
    return near[0] if near and (len(near) == 1 or alike[0] > alike[1]) else None
