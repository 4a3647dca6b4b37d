"""Commands that steer: which target a word names, what is said before it is done, what a report looks like."""

from __future__ import annotations

import io
from typing import Any

import click
import pytest

from balancer.cli import drill, targets
from balancer.cli.faults import InputFault
from balancer.cli.main import main


def target(name: str, state: str = "healthy", weight: int = 1) -> dict[str, Any]:
    return {"name": name, "state": state, "weight": weight}


GROUPS = [
    {"name": "demo", "targets": [target("a1"), target("b1", "draining"), target("web#1", weight=0)]},
    {"name": "shop", "targets": [target("a1"), target("s1")]},
]


@pytest.fixture(autouse=True)
def status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "ask", lambda admin, path, needs: (200, {"target_groups": GROUPS}))


@pytest.mark.parametrize(
    ("word", "full"), [("b1", "demo/b1"), ("demo/a1", "demo/a1"), ("shop/a1", "shop/a1"), ("web#1", "demo/web#1")]
)
def test_a_target_is_named_by_group_and_name_or_by_its_name_alone(word: str, full: str) -> None:
    assert targets.full(*targets.find("http://here", word)) == full


UNKNOWN = [
    ("a1", "'a1' is the name of 2 targets (write one of demo/a1, shop/a1)"),
    ("demo/a11", "did you mean 'demo/a1'?"),
    ("s2", "did you mean 's1'?"),
    ("zzzzzz", "there are demo/a1, demo/b1, demo/web#1, shop/a1, shop/s1"),
]


@pytest.mark.parametrize(("word", "said"), UNKNOWN)
def test_a_word_that_names_no_target_or_several_is_answered_with_what_to_write(word: str, said: str) -> None:
    with pytest.raises(InputFault) as fault:
        targets.find("http://here", word)
    assert said in str(fault.value)


def test_the_name_of_a_found_target_is_quoted_in_its_path() -> None:
    path = targets.path(GROUPS[0], target("web#1"), "drain")
    assert path == "/api/v1/target_groups/demo/targets/web%231/drain"


def test_who_is_left_is_counted_without_those_that_do_not_serve() -> None:
    assert targets.available(GROUPS[0]) == 1
    assert targets.available(GROUPS[0], target("a1")) == 0


def test_a_script_has_to_say_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert targets.may("drain a1", yes=True, dry_run=False)
    assert not targets.may("drain a1", yes=True, dry_run=True)
    with pytest.raises(click.UsageError):
        targets.may("drain a1", yes=False, dry_run=False)


def test_a_report_is_a_table_of_its_phases() -> None:
    phase = {"seconds": 5.0, "requests": 100, "failures": 0, "reasons": {}, "p50_ms": 1.25, "p99_ms": None}
    report = {
        "id": "d1",
        "summary": "zone-a was failed for 5 s until its time was over: 100 requests, 2 failed",
        "groups": ["demo"],
        "left_s": 0.1,
        "empty_s": None,
        "back_s": 0.2,
        "share_back_s": None,
        "phases": {
            "before": {**phase, "zones": {"zone-a": 50.0, "zone-b": 50.0}},
            "during": {**phase, "failures": 2, "reasons": {"upstream_reset": 2}, "zones": {"zone-b": 100.0}},
            "after": None,
        },
    }
    assert drill.text(report).splitlines() == [
        "drill d1: zone-a was failed for 5 s until its time was over: 100 requests, 2 failed",
        "groups: demo",
        "0.1 s after it began the last request went to the zone",
        "0.2 s after it ended the zone got its first request",
        "",
        "PHASE   SECONDS  REQUESTS  FAILED  P50    P99  ZONE-A  ZONE-B",
        "before  5        100       0       1.2ms  -    50%     50%",
        "during  5        100       2       1.2ms  -    0%      100%",
        "failures during, by reason: upstream_reset 2",
    ]


def test_a_drill_without_requests_says_that_it_has_shown_nothing() -> None:
    phase = {"seconds": 5.0, "requests": 0, "failures": 0, "p50_ms": None, "p99_ms": None, "zones": {}, "reasons": {}}
    times = {"left_s": 0.0, "empty_s": 0.0, "back_s": None, "share_back_s": 0.1}
    phases = {"before": phase, "during": phase, "after": phase}
    said = drill.text({"id": "1", "summary": "zone-a was failed", "groups": ["demo"], **times, "phases": phases})
    assert "no request came before or during it" in said
    assert "the last request" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["drill", "zone-a", "--for", "2"], "'2' is no duration from 100ms to 1h (write 2s)"),
        (["drill", "zone-a", "--before", "5m"], "'5m' is no duration from 0s to 1m"),
        (["weight", "a1", "-1"], "'-1' is not a weight (write a whole number from 0 to 1000, or reset)"),
    ],
)
def test_a_value_out_of_range_is_wrong_usage_and_says_what_to_write(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and said in capsys.readouterr().err
