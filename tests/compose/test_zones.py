"""A zone is lost under load, in three ways, and comes back: no request fails."""

from __future__ import annotations

import pytest

from tests.compose.stack import ZONES, Stack, elapsed, zones_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(480, func_only=True)]

RATE, DURATION = 200, 30
# Checks every 2 s with a timeout of 1 s and 1 s between the checks after the first failure:
# 2 + 1 + (1 + 1) + (1 + 1) s until the third failure is known, and one second for everything else.
DETECTION = 7.0
SLACK = 1.0

LOSSES = [
    ("stopped", "stop", "start"),
    ("killed", "kill", "start"),
    ("frozen: it accepts and never answers", "pause", "unpause"),
]


@pytest.mark.parametrize(("lose", "regain"), [row[1:] for row in LOSSES], ids=[row[0] for row in LOSSES])
def test_a_lost_zone_costs_no_request(stack: Stack, lose: str, regain: str) -> None:
    with stack.counted() as reports:
        loop = stack.load(RATE, DURATION)
        elapsed(loop, 3)
        stack.compose(lose, "backend-a")
        try:
            stack.wait_out("zone-a")
            gone = loop.elapsed()
        finally:
            stack.compose(regain, "backend-a")
        stack.wait_back("zone-a")
        back = loop.elapsed()
        assert back < DURATION - 2, "the zone came back too late for this load to show it"
        reports.append(loop.finish())
    (report,) = reports
    print(f"{lose}: out after {gone - 3:.1f} s, back at {back:.1f} s\n{report}")
    assert report.failed == 0, report
    assert report.worst <= DETECTION + SLACK, report
    assert zones_of(report.between(0, 3)) == set(ZONES)
    assert zones_of(report.between(back + 1, DURATION)) == set(ZONES)
