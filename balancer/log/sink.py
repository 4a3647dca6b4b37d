"""sink: the standard library's logging, ours and that of libraries, on its way to the outlet."""

from __future__ import annotations

import logging
import sys

from balancer.log.line import line, visible
from balancer.log.outlet import PROGRAM, Outlet, Stream

LOG = logging.getLogger("balancer")


class Line(logging.Formatter):
    """Writes a record as one line; fields come from `extra={"fields": {…}}`, a traceback stays behind the line."""

    def format(self, record: logging.LogRecord) -> str:
        text = line(record.created, record.levelname, record.getMessage(), getattr(record, "fields", {}))
        if not record.exc_info:
            return text
        return "\n".join([text, *map(visible, self.formatException(record.exc_info).split("\n"))])


class Sink(logging.Handler):
    """Puts records into an outlet. What others can cause at will comes at most ten times a second and kind."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self._outlet = outlet
        self.setFormatter(Line())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            kind = kind_of(record)
            if not kind or self._outlet.admits(kind):
                self._outlet.put(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


def kind_of(record: logging.LogRecord) -> str:
    """Return of which kind a line is, "" for events of control, of which each is said.

    The kind is the constant part of what is said: `unsolicited response`, not the target that sent it.
    """
    if record.name == LOG.name and not record.exc_info:
        return ""
    said = str(record.msg).partition("\n")[0]
    if record.args and "=%" in said:
        said = said.partition("=%")[0].rpartition(" ")[0]
    return said[:80]


def to_stderr(outlet: Outlet = PROGRAM) -> None:
    """Send the program's log to stderr, warnings of libraries included, and all else that is printed there."""
    root = logging.getLogger()
    for earlier in root.handlers[:]:
        root.removeHandler(earlier)
    root.addHandler(Sink(outlet))
    root.setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)
    sys.stderr = Stream(outlet)
