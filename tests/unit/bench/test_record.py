"""The record of instructions a request: what is over it, and what writing it leaves alone."""

from pathlib import Path

from bench import record

KEY, OTHER = "3.11.7 x86_64, GCC 12.2.0 -O3, not profile-guided", "3.11.2 x86_64, GCC 12.2.0 -O2, profile-guided"


def test_a_case_more_than_seven_percent_above_is_over() -> None:
    found = {"same": 10_700, "zipf": 10_701, "log": 9_000}
    assert record.over(found, dict.fromkeys(found, 10_000)) == ["zipf"]


def test_a_case_more_than_seven_percent_below_is_named_too() -> None:
    found = {"same": 9_300, "zipf": 9_299, "log": 11_000}
    assert record.under(found, dict.fromkeys(found, 10_000)) == ["zipf"]


def test_a_case_without_a_record_passes() -> None:
    assert record.over({"new": 10_000}, {"same": 1}) == []
    assert "%" not in record.line("new", 10_000, {"same": 1})


def test_an_interpreter_without_a_record_has_none(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert record.read(KEY, path) == {}
    record.write(KEY, {"same": 1.0}, path)
    assert record.read(OTHER, path) == {}


def test_recording_some_cases_leaves_the_others_and_other_interpreters_alone(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record.write(KEY, {"same": 100.4, "zipf": 200.0}, path)
    record.write(OTHER, {"same": 90.0}, path)
    record.write(KEY, {"zipf": 150.0}, path)
    assert record.read(KEY, path) == {"same": 100, "zipf": 150}
    assert record.read(OTHER, path) == {"same": 90}


def test_what_is_over_is_marked_where_it_is_read() -> None:
    assert record.line("same", 10_800, {"same": 10_000}).split() == ["same", "10800", "10000", "+8.0%", "OVER"]
    assert record.line("same", 9_900, {"same": 10_000}).split() == ["same", "9900", "10000", "-1.0%"]
