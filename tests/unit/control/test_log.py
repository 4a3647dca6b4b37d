"""Lines a person can read and a program can split."""

from __future__ import annotations

import io
import logging

import pytest

from balancer.control import log

VALUES = [
    ("plain", "plain"),
    (7, "7"),
    ("10.0.0.1:80", "10.0.0.1:80"),
    ("two words", '"two words"'),
    ("", '""'),
    ('a"b', '"a\\"b"'),
    ("a\nb", '"a\\nb"'),
    ("1 → 5", '"1 → 5"'),
]


@pytest.mark.parametrize(("value", "written"), VALUES)
def test_a_value_is_one_word_or_quoted(value: object, written: str) -> None:
    assert log.quoted(value) == written


def test_a_line_has_time_level_event_and_fields() -> None:
    stream = io.StringIO()
    sink = logging.StreamHandler(stream)
    sink.setFormatter(log.Line())
    record = logging.LogRecord("balancer", logging.WARNING, "", 0, "zone was lost", None, None)
    record.created = 1_700_000_000.25
    record.fields = {"group": "demo", "zone": None}
    sink.emit(record)
    assert stream.getvalue() == "2023-11-14T22:13:20.250Z WARNING zone was lost group=demo\n"
