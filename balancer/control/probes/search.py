"""search: looks for a pattern in what a target wrote, for so long and no longer.

Python's `re` backtracks, holds the interpreter's lock meanwhile, and control has one thread for everything: a target
that somebody has taken over would only have to answer with the right 64 KiB. Another thread would be no help, but `re`
looks for signals on its way, and a timer of the process's own time sends one.
"""

from __future__ import annotations

import re
import signal
import threading
from functools import lru_cache

MOST = 8 * 1024  # bytes
SHORT = 512  # characters that are searched in one go
WITHIN = 0.02  # seconds of this process's time

_armed = False


class TooLong(Exception):
    """The search was given up: there is no answer."""


def found(pattern: str, body: bytes) -> bool:
    """Return whether the first `MOST` bytes hold the pattern; raises TooLong after `WITHIN`.

    Without a limit where another thread than the first one asks: signals do not reach it.
    """
    global _armed
    compiled, text = _compiled(pattern), body[:MOST].decode("utf-8", "replace")
    if threading.current_thread() is not threading.main_thread():
        return compiled.search(text) is not None
    if signal.getsignal(signal.SIGVTALRM) is not _give_up:
        signal.signal(signal.SIGVTALRM, _give_up)
    try:
        _armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, WITHIN, WITHIN)
        if len(text) <= SHORT:
            hit = compiled.search(text) is not None
        else:  # each place by itself: a search looks for signals within a place only, and there may be many
            hit = any(compiled.match(text, place) for place in range(len(text) + 1))
        _armed = False
    finally:
        _armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
    return hit


def _give_up(_number: int, _frame: object) -> None:
    if _armed:  # else it came when all was over
        raise TooLong


@lru_cache(maxsize=256)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text)
