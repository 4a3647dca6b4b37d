"""Durations and sizes, as people write them, and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.model import units

UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("1m", 60.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("0s", 0.0),
        ("0.1ms", 0.0001),
        ("2", None),
        ("", None),
        ("s", None),
        ("-1s", None),
        ("+1s", None),
        ("1 s", None),
        ("1S", None),
        ("1e3s", None),
        ("1.s", None),
        (".5s", None),
        ("1s ", None),
        ("1m30s", None),
        ("٣s", None),
        ("1s\n", None),
        ("infs", None),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float | None) -> None:
    assert units.parse_duration(text) == seconds
    assert bool(re.search(units.DURATION_PATTERN, text)) == (seconds is not None) or text in ("٣s", "1s\n")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8KiB", 8192),
        ("8 KiB", 8192),
        ("1MB", 1_000_000),
        ("1.5MiB", 1572864),
        ("0B", 0),
        ("100B", 100),
        ("2GiB", 2 * 1024**3),
        ("8", None),
        ("8K", None),
        ("8kib", None),
        ("-8KiB", None),
        ("8  KiB", None),
        ("", None),
        ("KiB", None),
        ("8KiB ", None),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int | None) -> None:
    assert units.parse_size(text) == size
    assert bool(re.search(units.SIZE_PATTERN, text)) == (size is not None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250ms"),
        (2.0, "2s"),
        (1.5, "1.5s"),
        (60.0, "1m"),
        (90.0, "90s"),
        (3600.0, "1h"),
        (86400.0, "1d"),
        (172800.0, "2d"),
        (5400.0, "90m"),
        (0.0, "0s"),
        (0.0005, "0.5ms"),
        (61.25, "61.25s"),
    ],
)
def test_a_duration_is_written_in_its_shortest_form(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1000, "1000B"), (1024, "1KiB"), (1536, "1536B"), (1024**2, "1MiB"), (3 * 1024**3, "3GiB")],
)
def test_a_size_is_written_in_its_shortest_exact_form(size: int, text: str) -> None:
    assert units.format_size(size) == text


@settings(deadline=None)
@given(st.integers(0, 999), st.sampled_from(sorted(UNIT)))
def test_a_duration_that_was_written_means_what_it_meant(number: int, unit: str) -> None:
    seconds = units.parse_duration(f"{number}{unit}")
    assert seconds is not None
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.integers(0, 2**50))
def test_a_size_that_was_written_means_what_it_meant(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


def test_a_number_beyond_all_measure_is_no_size() -> None:
    assert units.parse_size("9" * 400 + "KiB") is None
