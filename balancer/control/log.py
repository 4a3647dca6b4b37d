"""log: what control has to tell: each event said once, in past tense, with its fields."""

from __future__ import annotations

import logging

from balancer.log.line import quoted
from balancer.log.sink import LOG

__all__ = ["ERROR", "INFO", "LOG", "WARNING", "info", "quoted", "say", "warn"]

INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


def say(level: int, happened: str, **fields: object) -> None:
    """Log what happened (past tense, no ids in the sentence) with its fields; None leaves a field out."""
    LOG.log(level, "%s", happened, extra={"fields": fields})


def info(happened: str, **fields: object) -> None:
    """Log what an operator would tell a colleague."""
    say(logging.INFO, happened, **fields)


def warn(happened: str, **fields: object) -> None:
    """Log what needs someone today."""
    say(logging.WARNING, happened, **fields)
