"""Durations, sizes and rates: how people write them, and back.

Durations: a number and one of `ms s m h d` (no bare numbers). Sizes: a number and one of `B KB KiB MB MiB GB GiB`.
Rates: a number, a slash and one of `s m h`.
"""

from __future__ import annotations

import re
from math import inf

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|KB|KiB|MB|MiB|GB|GiB)", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3}

DURATION_PATTERN = r"^\d+(\.\d+)?(ms|s|m|h|d)$"
SIZE_PATTERN = r"^\d+(\.\d+)? ?(B|KB|KiB|MB|MiB|GB|GiB)$"
RATE_PATTERN = r"^\d+(\.\d+)?/(s|m|h)$"


def parse_duration(text: str) -> float | None:
    """Return seconds, or None if `text` is not a duration."""
    match = _DURATION.fullmatch(text)
    return None if match is None else round(float(match[1]) * _SECONDS[match[2]], 6)


def parse_size(text: str) -> int | None:
    """Return bytes, or None if `text` is not a size."""
    match = _SIZE.fullmatch(text)
    size = 0.0 if match is None else float(match[1]) * _BYTES[match[2]]
    return None if match is None or size == inf else int(size)


def parse_rate(text: str) -> float | None:
    """Return how often a second, or None if `text` is not a rate."""
    match = _RATE.fullmatch(text)
    return None if match is None else float(match[1]) / _SECONDS[match[2]]


def format_duration(seconds: float) -> str:
    """Return the shortest writing of a duration: `250ms`, `2s`, `1m`, `1.5s`."""
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    if 0 < seconds < 1:
        return f"{round(seconds * 1000, 3):g}ms"
    return f"{round(seconds, 3):g}s"


def format_rate(a_second: float) -> str:
    """Return the shortest writing of a rate: `100/s`, `30/m`, `0.5/h`."""
    for unit in ("s", "m"):
        count = a_second * _SECONDS[unit]
        if count >= 1 and abs(count - round(count)) < 1e-9 * count:
            return f"{round(count)}/{unit}"
    return f"{a_second:g}/s" if a_second >= 1 else f"{a_second * _SECONDS['h']:g}/h"


def format_size(count: int) -> str:
    """Return the shortest exact writing of a size: `8KiB`, `1MiB`, `1000B`."""
    for unit in ("GiB", "MiB", "KiB"):
        if count >= _BYTES[unit] and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"
