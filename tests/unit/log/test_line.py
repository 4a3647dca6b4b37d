"""Lines a person can read and a program can split."""

from __future__ import annotations

import logging

import pytest

from balancer.log.line import line, quoted
from balancer.log.sink import Line, kind_of

VALUES = [
    ("plain", "plain"),
    (7, "7"),
    ("10.0.0.1:80", "10.0.0.1:80"),
    ("two words", '"two words"'),
    ("", '""'),
    ('a"b', '"a\\"b"'),
    ("a\nb", '"a\\nb"'),
    ("1 → 5", '"1 → 5"'),
    ("\x1b[31m", '"\\u001b[31m"'),
    ("\x7f", '"\\u007f"'),
    ("\x9b31m", '"\\u009b31m"'),
    ("\u202ebidi", '"\\u202ebidi"'),
    ("\u2028", '"\\u2028"'),
    ("\U000e0041", '"\\udb40\\udc41"'),
    ("\udcff", '"\\udcff"'),
]


@pytest.mark.parametrize(("value", "written"), VALUES)
def test_a_value_is_one_word_or_quoted(value: object, written: str) -> None:
    assert quoted(value) == written


def test_a_line_is_time_level_event_and_fields() -> None:
    fields: dict[str, object] = {"place": 0, "detail": "exit code 1", "odd": 'a"b', "empty": "", "none": None}
    assert line(1_700_000_000.25, "WARNING", "worker was lost", fields) == (
        '2023-11-14T22:13:20.250Z WARNING worker was lost place=0 detail="exit code 1" odd="a\\"b" empty=""'
    )


def test_an_event_is_one_line_that_no_terminal_obeys() -> None:
    told = line(1_700_000_000.25, "ERROR", "failed on /x\n2026-01-01T00:00:00.000Z INFO forged\x1b[2J\x9b2J", {})
    assert told == (
        "2023-11-14T22:13:20.250Z ERROR failed on /x\\n2026-01-01T00:00:00.000Z INFO forged\\u001b[2J\\u009b2J"
    )


def record(name: str, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, message, args, None)


def test_a_record_of_logging_is_such_a_line() -> None:
    one = record("balancer", "%s", "zone was lost")
    one.created = 1_700_000_000.25
    one.fields = {"group": "demo", "zone": None}
    assert Line().format(one) == "2023-11-14T22:13:20.250Z WARNING zone was lost group=demo"


def test_what_a_traceback_quotes_reaches_no_terminal_raw() -> None:
    one = record("balancer", "%s", "it failed")
    fault = ValueError("\x1b[2J\x9b2J")
    one.exc_info = (ValueError, fault, None)
    assert Line().format(one).split("\n")[1:] == ["ValueError: \\u001b[2J\\u009b2J"]


KINDS = [
    (record("balancer", "%s", "target became unhealthy"), ""),
    (record("balancer.worker", "unsolicited response group=%s target=%s", "g", "t"), "unsolicited response"),
    (record("balancer.worker", "internal error in a deadline of %s", "X"), "internal error in a deadline of %s"),
    (record("asyncio", "Task exception was never retrieved\nfuture: <Task-7 at 0x1>"),
     "Task exception was never retrieved"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "kind"), KINDS, ids=[kind or "an event" for _, kind in KINDS])
def test_a_kind_is_what_is_the_same_in_every_such_line(one: logging.LogRecord, kind: str) -> None:
    assert kind_of(one) == kind
