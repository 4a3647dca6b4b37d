"""line: an event as one readable line, `time LEVEL what happened key=value …`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime


def line(wall: float, level: str, event: str, fields: Mapping[str, object]) -> str:
    """Return the line without its end; `wall` in seconds since 1970, a field that is None is left out."""
    time = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = "".join(f" {name}={quoted(value)}" for name, value in fields.items() if value is not None)
    return f"{time} {level} {visible(event)}{told}"


def quoted(value: object) -> str:
    """Return a field's value as it stands in a line: bare when that is one plain word, else in quotes."""
    text = str(value)
    plain = text != "" and text.isprintable() and not set(text) & {" ", '"', "=", "\\"}
    return text if plain else visible(json.dumps(text, ensure_ascii=False))


def visible(text: str) -> str:
    """Return text as JSON would escape it where a terminal would obey it rather than show it.

    That is more than the control characters below space: DEL, C1 (U+009B begins a sequence as ESC [ does), line and
    paragraph separators, and what turns the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
