"""What a command prints is shown by the terminal, never obeyed."""

from __future__ import annotations

import json

import pytest

from balancer.cli.faults import InputFault
from balancer.cli.tell import tell

HOSTILE = "\x1b[2J \x9b31m \x7f \u202e \u2028 \udc80 \x07"
ESCAPED = "\\u001b[2J \\u009b31m \\u007f \\u202e \\u2028 \\udc80 \\u0007"


def test_what_is_not_printable_is_escaped_and_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell(f"GET /é → {HOSTILE}\nsecond █·\n", nl=False)
    assert capsys.readouterr().out == f"GET /é → {ESCAPED}\nsecond █·\n"


def test_json_stays_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    tell(json.dumps({"path": HOSTILE}, indent=2, ensure_ascii=False))
    out = capsys.readouterr().out
    assert json.loads(out) == {"path": HOSTILE}
    assert all(line.isprintable() for line in out.splitlines())


def test_a_fault_is_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    InputFault(HOSTILE).show()
    assert capsys.readouterr().err == ESCAPED + "\n"
