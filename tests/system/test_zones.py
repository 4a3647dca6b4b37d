"""A zone that stands by helps as far as the first is short of targets, and gives the traffic back late and slowly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.balancer import Balancer
from tests.support.openloop import OpenLoop
from tests.support.raw import RawClient, request
from tests.support.report import Report
from tests.support.targets import SLACK, Cheap, backend_of, config_of, running_for, site
from tests.support.waiting import wait_for

pytestmark = pytest.mark.chaos
DELAY, RAMP = 1.0, 2.0
ZONES = {"mode": "active_backup", "order": ["zone-a", "zone-b"], "failback_delay": "1s", "failback_ramp": "2s"}
STEP = 1.0  # seconds between two steps of a ramp
FIRST = ("a1", "a2", "a3", "a4")


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Cheap]]:
    with site("a", "b", each=4) as made:
        yield made


@pytest.fixture(scope="module")
def balancer(targets: dict[str, Cheap]) -> Iterator[Balancer]:
    with Balancer(config_of([*targets.values()], zones=ZONES), workers=2) as made:
        for name in targets:
            made.wait_for_state("up", name, "healthy")
        yield made


def shares(balancer: Balancer) -> dict[str, float]:
    """Return each zone's share in percent, as the status shows it."""
    return {one["name"]: one["share"] for one in balancer.group("up")["zones"]}


def asked(balancer: Balancer, count: int) -> Counter[str]:
    """Send so many requests over a few connections; return how many each zone answered, by its letter."""
    clients = [RawClient(balancer.address()) for _ in range(8)]
    seen = Counter(clients[number % 8].ask(request()).body[:1].decode() for number in range(count))
    for client in clients:
        client.close()
    return seen


def of_first(report: Report) -> float:
    """Return the part of a load that the first zone answered."""
    first = sum(count for name, count in report.tags.items() if name[0] == "a")
    return first / max(1, sum(report.tags.values()))


def test_with_two_of_four_targets_the_first_zone_gets_seventy_percent(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    assert asked(balancer, 100) == {"a": 100}
    for name in ("a3", "a4"):
        targets[name].kill()
    for name in ("a3", "a4"):
        balancer.wait_for_state("up", name, "unhealthy")
    wait_for(lambda: shares(balancer) == {"zone-a": 70, "zone-b": 30}, 2, "70 to 30")
    seen = asked(balancer, 1000)
    print(seen)
    assert abs(seen["a"] - 700) <= 10
    assert seen["a"] + seen["b"] == 1000
    for name in ("a3", "a4"):
        targets[name].restart()
    wait_for(lambda: shares(balancer) == {"zone-a": 100, "zone-b": 0}, DELAY + RAMP + STEP + 5, "all to the first")


def test_a_first_zone_that_is_back_waits_and_then_takes_over_slowly(
    balancer: Balancer, targets: dict[str, Cheap]
) -> None:
    failovers = balancer.metrics().sum("failovers_total", target_group="up")
    loop = OpenLoop(balancer.address(), rate=200, duration=30, deadline=10, tag=backend_of).start()
    for name in FIRST:
        targets[name].fail_health(-1)
    wait_for(lambda: shares(balancer)["zone-a"] == 0, 5, "the first zone is out")
    lost = loop.elapsed()
    running_for(loop, lost + 0.5)
    for name in FIRST:
        targets[name].fail_health(0)
    recovering = loop.elapsed()
    wait_for(lambda: balancer.group("up")["zones"][0]["healthy"] > 0, 5, "the first target is back")
    back = loop.elapsed()
    wait_for(lambda: balancer.group("up")["zones"][0]["healthy"] == 4, 5, "all are")
    whole = loop.elapsed()
    wait_for(lambda: shares(balancer)["zone-a"] == 100, DELAY + RAMP + STEP + 5, "the first zone has it all")
    full = loop.elapsed()
    running_for(loop, full + 0.5)
    report = loop.stop()
    parts = [of_first(report.between(at / 4, at / 4 + 0.25)) for at in range(int(full * 4) + 2)]
    print(f"out {lost:.2f} s, back {back:.2f} to {whole:.2f} s, full {full:.2f} s\n{parts}\n{report}")
    assert report.failed == 0, report
    # Nothing before the delay is over, counted from when it was well again for the first time.
    assert of_first(report.between(lost + 0.1, recovering + DELAY)) == 0
    assert back + DELAY + RAMP / 2 <= full <= whole + DELAY + RAMP + STEP + SLACK
    rising = [part for part in parts[int(back * 4) + 1 :] if 0 < part < 1]
    assert len(rising) >= 2, "it does not come back at once"
    assert of_first(report.between(full + 0.1, full + 0.5)) == 1
    assert balancer.metrics().sum("failovers_total", target_group="up") == failovers + 1
