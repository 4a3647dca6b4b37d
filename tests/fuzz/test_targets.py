"""What the fuzzer holds, held for every seed, for what it once found, and for a short run of changes to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.engine import plain
from tests.fuzz.live import fuzz
from tests.fuzz.targets import CORPUS, TARGETS

QUICK = {"client-bytes": 150, "target-bytes": 150, "configuration": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_and_everything_that_was_found_holds(name: str) -> None:
    target = TARGETS[name]
    for told, data in target.inputs():
        try:
            target.hold(data)
        except Exception as fault:
            raise AssertionError(f"{told}: {data[:300]!r}") from fault


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_hold(name: str, tmp_path: Path) -> None:
    assert plain(name, 30.0, 1, tmp_path, QUICK.get(name, 500)) > 10


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} <= set(TARGETS)
    assert sum(file.stat().st_size for file in files) < 64 * 1024


def test_two_running_workers_hold_against_fuzzed_bytes() -> None:
    assert fuzz(2.0, 1).count > 200
