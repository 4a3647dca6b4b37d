"""A pattern is looked for in what a target wrote, and no target can make that take long."""

from __future__ import annotations

import re
import time

import pytest

from balancer.control.probes import search

FOUND = [
    (r"version \d+", b"version 12", True),
    (r"version \d+", b"version x", False),
    (r"^ok$", b"ok", True),
    (r"^ok", b"not ok", False),
    (r"", b"", True),
    (r"end$", b"x" * 8000 + b"end", True),
    (r"^end", b"x" * 8000 + b"end", False),
    (r"\bend", b"x" * 8000 + b" end", True),
    (r"end", b"x" * search.MOST + b"end", False),
    (r"\ufffd", b"\xff", True),
]


@pytest.mark.parametrize(("pattern", "body", "is_there"), FOUND)
def test_it_finds_what_search_finds_in_the_first_8_kib(pattern: str, body: bytes, is_there: bool) -> None:
    assert search.found(pattern, body) is is_there
    assert (re.search(pattern, body[: search.MOST].decode("utf-8", "replace")) is not None) is is_there


HOSTILE = [
    ("the square of the length", r"\s*x", b" "),
    ("its third power", r"\d+\.*\d+!", b"1"),
    ("its fourth power", "ok.*done.*fine.*x", b"okdonefine"),
    ("exponential", "(?:a|a)*b", b"a"),
    ("exponential on a short body", "(?:a|a)*b", b"a" * 40),
]


@pytest.mark.parametrize(("pattern", "unit"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_body_that_makes_it_long_is_given_up(pattern: str, unit: bytes) -> None:
    body = unit if len(unit) > 30 else unit * (65_536 // len(unit))
    began = time.process_time()
    with pytest.raises(search.TooLong):
        search.found(pattern, body)
    assert time.process_time() - began < 0.3
    assert search.found("ok", b"it is ok"), "and the next one is searched as ever"
