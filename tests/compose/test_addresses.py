"""Containers come, go and move to other addresses under load: names are resolved for ever, and no request fails."""

from __future__ import annotations

import time

import pytest

from tests.compose.stack import PER_ZONE, Stack, docker, elapsed, eventually, occupy

pytestmark = [pytest.mark.docker, pytest.mark.timeout(480, func_only=True)]


def addresses(stack: Stack, service: str, network: str) -> set[str]:
    return {stack.address(one, network) for one in stack.containers(service)}


def test_a_container_made_anew_under_another_address_serves_again(stack: Stack) -> None:
    image = f"{stack.project}-backend-a"
    before = addresses(stack, "backend-a", "zone-a")
    lost = stack.containers("backend-a")[0]
    left = stack.address(lost, "zone-a")
    held: list[str] = []
    try:
        with stack.counted() as reports:
            loop = stack.load(rate=200, duration=20)
            elapsed(loop, 2)
            docker("rm", "-f", lost)
            held += occupy(f"{stack.project}_zone-a", image, [left])
            stack.compose("up", "-d", "--no-build", "--no-deps", "--no-recreate", "backend-a")
            docker("rm", "-f", *held)
            held.clear()
            made = time.monotonic()
            now = addresses(stack, "backend-a", "zone-a")
            assert left not in now
            assert len(now - before) == 1, (before, now)

            def served() -> bool:
                shown = {
                    one["address"].rpartition(":")[0] for one in stack.targets("zone-a") if one["state"] == "healthy"
                }
                return shown == now

            eventually(served, 5.0, "the new address is healthy, the old one gone")
            back = loop.elapsed()
            print(f"serves {time.monotonic() - made:.1f} s after it was started")
            reports.append(loop.finish())
    finally:
        if held:
            docker("rm", "-f", *held)
    (report,) = reports
    print(report)
    assert report.failed == 0, report
    names = {tag for tag in report.between(back + 1, 20).tags if tag.startswith("zone-a/")}
    assert len(names) == PER_ZONE, names


def test_scaling_out_and_in_moves_the_traffic_and_loses_none(stack: Stack) -> None:
    scale = ["up", "-d", "--no-build", "--no-deps", "--no-recreate", "--scale"]
    with stack.counted() as reports:
        loop = stack.load(rate=100, duration=20)
        elapsed(loop, 1)
        stack.compose(*scale, "backend-a=4", "backend-a")
        stack.wait_back("zone-a", 4, deadline=8.0)
        wide = loop.elapsed()
        elapsed(loop, wide + 2)
        narrowing = loop.elapsed()
        stack.compose(*scale, f"backend-a={PER_ZONE}", "backend-a")
        stack.wait_back("zone-a", PER_ZONE)
        reports.append(loop.finish())
    (report,) = reports
    print(report)
    assert report.failed == 0, report
    names = {tag for tag in report.between(wide, narrowing).tags if tag.startswith("zone-a/")}
    assert len(names) == 4, names
