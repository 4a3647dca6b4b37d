"""The supervisor's log: every event, unless a child could cause it without end."""

from __future__ import annotations

import os

import pytest

from balancer.log.outlet import Outlet
from balancer.process import say as module


def test_losses_are_all_said_and_nonsense_of_a_child_ten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    outlet = Outlet(write)
    monkeypatch.setattr(module, "PROGRAM", outlet)
    for place in range(20):
        module.say("WARNING", "worker was lost", place=place)
        module.say("ERROR", "message was not understood", message="x" * 5000)
    outlet.flush()
    os.close(write)
    with os.fdopen(read) as stream:
        lines = stream.read().splitlines()
    assert sum("worker was lost" in one for one in lines) == 20
    assert sum("message was not understood message" in one for one in lines) == 10
    assert max(len(one) for one in lines) <= 2000
    assert lines[-1].endswith(' WARNING suppressed 10 more lines like it kind="message was not understood"')
