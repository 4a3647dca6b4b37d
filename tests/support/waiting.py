"""Waiting for a condition with a bound: the only way a test may let time pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
EVERY = 0.005


def wait_for(
    condition: Callable[[], T | None], deadline: float = 5.0, what: str | Callable[[], str] = "the condition"
) -> T:
    """Return the first truthy value of `condition`, polled every 5 ms for at most `deadline` seconds.

    Raises AssertionError that names `what` and the last value when the time is over.
    """
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"{text}: not within {deadline} s (last value {value!r})")
        time.sleep(EVERY)


def pace(seconds: float) -> None:
    """Let time pass between two steps of a peer that is slow on purpose; never a substitute for `wait_for`."""
    time.sleep(seconds)


async def wait_for_async(
    condition: Callable[[], T | None], deadline: float = 5.0, what: str | Callable[[], str] = "the condition"
) -> T:
    """Return the first truthy value of `condition` without blocking the event loop; else as `wait_for`."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"{text}: not within {deadline} s (last value {value!r})")
        await asyncio.sleep(EVERY)
