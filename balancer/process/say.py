"""The supervisor's log: one line an event on stderr, which never keeps it from its work."""

from __future__ import annotations

import json
import select
import sys
import time

_LONGEST = 2000  # bytes: below PIPE_BUF, so that a pipe with room takes all of it


def line(wall: float, level: str, event: str, fields: dict[str, object]) -> str:
    """Return `time LEVEL event key=value …`; `wall` in seconds since the epoch."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall * 1000) % 1000:03d}Z"
    told = "".join(f" {key}={_value(value)}" for key, value in fields.items() if value is not None)
    return f"{stamp} {level} {event}{told}"


def _value(value: object) -> str:
    text = str(value)
    plain = text != "" and text.isprintable() and not set(text) & {" ", '"', "=", "\\"}
    return text if plain else json.dumps(text)


def say(level: str, event: str, **fields: object) -> None:
    """Write an event in past tense with its fields, or drop it when whoever reads stderr has stopped reading."""
    text = line(time.time(), level, event, fields)[:_LONGEST]
    try:
        if select.select([], [sys.stderr], [], 0)[1]:
            print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return  # stderr is closed: there is nobody to tell
