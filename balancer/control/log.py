"""The program's own log: one readable line an event on stderr, `time LEVEL what happened key=value …`."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

LOG = logging.getLogger("balancer")
INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


class Line(logging.Formatter):
    """Writes a record as one line; fields come from `extra={"fields": {…}}`, a traceback stays behind the line."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = getattr(record, "fields", {})
        line = f"{time} {record.levelname} {record.getMessage()}"
        line += "".join(f" {name}={quoted(value)}" for name, value in fields.items() if value is not None)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def quoted(value: object) -> str:
    """Return a field's value as it stands in a line: bare when that is one plain word, else in quotes."""
    text = str(value)
    plain = text != "" and text.isprintable() and not set(text) & {" ", '"', "=", "\\"}
    return text if plain else json.dumps(text, ensure_ascii=False)


def to_stderr(stream: TextIO | None = None) -> None:
    """Send the program's log to stderr, warnings of libraries included."""
    sink = logging.StreamHandler(stream if stream is not None else sys.stderr)
    sink.setFormatter(Line())
    root = logging.getLogger()
    for earlier in root.handlers[:]:
        root.removeHandler(earlier)
    root.addHandler(sink)
    root.setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)


def say(level: int, happened: str, **fields: object) -> None:
    """Log what happened (past tense, no ids in the sentence) with its fields; None leaves a field out."""
    LOG.log(level, "%s", happened, extra={"fields": fields})


def info(happened: str, **fields: object) -> None:
    """Log what an operator would tell a colleague."""
    say(logging.INFO, happened, **fields)


def warn(happened: str, **fields: object) -> None:
    """Log what needs someone today."""
    say(logging.WARNING, happened, **fields)
