"""When a configuration that was refused is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from balancer.control import reload
from balancer.control.publish import Refused
from balancer.control.reload import Reload
from balancer.model.snapshot import Snapshot
from tests.support.waiting import wait_for_async

TEXT = """
listeners:
  - {{name: web, protocol: http, address: "127.0.0.1:9", rules: [{{action: {{forward: demo}}}}]}}
target_groups:
  - {{name: demo, targets: [{{name: a, address: "127.0.0.1:9", weight: {weight}}}]}}
"""


class Workers:
    """Those who take a configuration, or do not."""

    def __init__(self) -> None:
        self.answers: list[Refused] = []  # to the next ones, in order
        self.asked = 0

    async def take(self, _: Snapshot) -> float:
        self.asked += 1
        if self.answers:
            raise self.answers.pop(0)
        return 1.0


@asynccontextmanager
async def running(file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Reload, Workers]]:
    monkeypatch.setattr(reload, "AGAIN", 0.01)
    monkeypatch.setattr(reload, "PERIOD", 0.01)
    file.write_text(TEXT.format(weight=1))
    workers = Workers()
    made = Reload(file, workers.take)
    loaded = await made.read()
    assert loaded.snapshot is not None
    made.taken(replace(loaded.snapshot, version=1), 0.0)
    watching = asyncio.create_task(made.watch())
    try:
        yield made, workers
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def test_what_was_refused_because_a_worker_was_late_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "b.yaml", monkeypatch) as (made, workers):
        workers.answers = [Refused("no answer of worker 0 in 5 s", passing=True) for _ in range(2)]
        (tmp_path / "b.yaml").write_text(TEXT.format(weight=2))
        outcome = await made.apply("admin")
        assert (outcome.success, outcome.version, outcome.passing) == (False, 1, True)
        assert str(outcome.faults[0]).startswith("no answer of worker 0 in 5 s (")  # no file is blamed
        await wait_for_async(lambda: made.last.success, 5.0, "it is taken at last")
        assert made.base is not None
        assert (workers.asked, made.base.version, made.base.target_groups[0].targets[0].weight) == (3, 2, 2)


async def test_what_was_refused_for_what_it_says_waits_for_another_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "b.yaml", monkeypatch) as (made, workers):
        looks = 0

        def look() -> list[Path]:
            nonlocal looks
            looks += 1
            return []

        monkeypatch.setattr(made._watch, "replaced_on_host", look)
        workers.answers = [Refused("worker 0 refused it: no such pattern")]
        (tmp_path / "b.yaml").write_text(TEXT.format(weight=2))
        outcome = await made.apply("admin")
        assert (outcome.success, outcome.passing) == (False, False)
        assert str(outcome.faults[0]).startswith(f"{tmp_path}/b.yaml:1:1: worker 0 refused it")
        looks = 0
        await wait_for_async(lambda: looks > 10, 5.0, "time goes by")
        assert workers.asked == 1
