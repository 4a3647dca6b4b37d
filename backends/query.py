"""Numbers that a caller writes into a path or a query."""

from __future__ import annotations


def whole(text: str, name: str, low: int, high: int) -> int:
    """Return the number that `text` is; raises ValueError with a sentence for the caller unless low <= it <= high."""
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{name} is {text!r} (write a number from {low} to {high})")
    return int(text)
