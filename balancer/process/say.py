"""The supervisor's log: one line an event on stderr, which never keeps it from its work."""

from __future__ import annotations

import time

from balancer.log.line import line
from balancer.log.outlet import PROGRAM

_LONGEST = 2000  # characters: below PIPE_BUF as a rule, so that lines of two processes do not mix in a pipe


def say(level: str, event: str, **fields: object) -> None:
    """Say an event in past tense with its fields; those at ERROR, which a mad child could cause, ten times a second."""
    if level != "ERROR" or PROGRAM.admits(event):
        PROGRAM.put(line(time.time(), level, event, fields)[:_LONGEST] + "\n")
