"""line: an event as one readable line, `time LEVEL what happened key=value …`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime


def line(wall: float, level: str, event: str, fields: Mapping[str, object]) -> str:
    """Return the line without its end; `wall` in seconds since 1970, a field that is None is left out."""
    time = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = "".join(f" {name}={quoted(value)}" for name, value in fields.items() if value is not None)
    return f"{time} {level} {event}{told}"


def quoted(value: object) -> str:
    """Return a field's value as it stands in a line: bare when that is one plain word, else in quotes."""
    text = str(value)
    plain = text != "" and text.isprintable() and not set(text) & {" ", '"', "=", "\\"}
    return text if plain else json.dumps(text, ensure_ascii=False)
