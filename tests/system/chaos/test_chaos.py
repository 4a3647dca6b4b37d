"""A minute of mixed faults under load; `make chaos` runs a quarter of an hour."""

from __future__ import annotations

import os

import pytest

from tests.system.chaos.run import chaos

SEED = int(os.environ.get("CHAOS_SEED") or 1)


@pytest.mark.chaos
@pytest.mark.timeout(240)
def test_a_minute_of_mixed_faults_leaves_every_failure_explained_and_nothing_wrong() -> None:
    verdict = chaos(60.0, SEED)
    print(*verdict.events, sep="\n")
    assert not verdict.wrong, "\n".join(verdict.wrong[:40])
