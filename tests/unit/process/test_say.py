"""The supervisor's log: readable lines, and never a wait."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from balancer.process.say import line, say


def test_a_line_is_time_level_event_and_fields() -> None:
    fields: dict[str, object] = {"place": 0, "detail": "exit code 1", "odd": 'a"b', "empty": "", "none": None}
    assert line(1_700_000_000.25, "WARNING", "worker was lost", fields) == (
        '2023-11-14T22:13:20.250Z WARNING worker was lost place=0 detail="exit code 1" odd="a\\"b" empty=""'
    )


def test_a_reader_that_stopped_reading_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)

        def much() -> None:
            for _ in range(200):
                say("INFO", "x" * 1000)

        talk = threading.Thread(target=much, daemon=True)
        talk.start()
        talk.join(5)
        stuck = talk.is_alive()
        os.close(read)
    assert not stuck


def test_a_closed_stderr_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", stream)
    say("INFO", "nobody hears this")
    with pytest.raises(BrokenPipeError):
        stream.close()
