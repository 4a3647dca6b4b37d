"""What a worker may not decide alone, and what must hold when more comes than can be served."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import listener
from tests.support.openloop import OpenLoop
from tests.support.targets import running_for

pytestmark = pytest.mark.chaos
FIXED = {"action": {"fixed_response": {"status": 200, "body": "ok"}}}


def alone(**more: Any) -> dict[str, Any]:
    """Return a configuration of a listener that answers by itself."""
    return {"listeners": [listener("web", [FIXED], **more)], "target_groups": []}


def test_a_rate_is_that_of_all_workers_together_and_outlives_a_reload_of_other_objects() -> None:
    rate, burst, seconds = 50, 100, 6.0
    limit = {"rate": f"{rate}/s", "burst": burst}
    with Balancer(alone(rate_limit=limit), workers=2) as balancer:
        loop = OpenLoop(balancer.address(), rate=300, duration=seconds, headers={"Connection": "close"}).start()
        running_for(loop, seconds / 2)
        balancer.reload(alone(rate_limit=limit) | {"stop_timeout": "7s"})
        report = loop.finish()
        assert set(report.statuses) == {200, 429}, report
        assert report.statuses[200] == pytest.approx(burst + rate * seconds, rel=0.1), report
        assert balancer.metrics().sum("failures_total", reason="rate_limited") == report.statuses[429]
        served = [sample.done for sample in report.samples if sample.status == 200]
        assert max(served) > seconds - 0.5, "they go on to be served at the rate"
