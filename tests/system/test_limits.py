"""What a worker may not decide alone, and what must hold when more comes than can be served."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import listener
from tests.support.openloop import OpenLoop
from tests.support.raw import RawClient, ask, request
from tests.support.targets import running_for
from tests.support.waiting import wait_for

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


def test_connections_of_a_client_and_of_a_listener_are_those_of_all_workers() -> None:
    config = alone(limits={"connections_per_client": 10})
    config["listeners"].append(listener("few", [FIXED], limits={"connections": 40}))
    with Balancer(config, workers=2) as balancer, contextlib.ExitStack() as stack:
        address = balancer.address()
        clients = [stack.enter_context(RawClient(address)) for _ in range(30)]
        for client in clients:
            client.send(request())
        statuses = Counter(client.recv_response().status for client in clients)
        assert 10 <= statuses[200] <= 11, "two workers that accept at the same instant may both take the last place"
        balancer.kill(balancer.worker_pids()[0])
        wait_for(lambda: balancer.metrics().sum("worker_restarts_total") == 1, 5, "the worker is replaced")
        stack.close()
        wait_for(lambda: all(served(address) for _ in range(5)), 5, "what a dead worker held is given back")

        few = balancer.address("few")
        crowd = [stack.enter_context(RawClient(few, timeout=10)) for _ in range(100)]
        for client in crowd:
            client.send(request())

        def inside() -> float:
            return balancer.metrics().sum("active_connections", listener="few")

        wait_for(lambda: inside() >= 40, 5, "the listener is full")
        assert inside() <= 41
        assert balancer.metrics().sum("failures_total", reason="connection_limit") in (1, 2)
        for client in crowd:  # who leaves makes room for who waits
            client.recv_response()
            client.close()
        assert "connection limit reached listener=few" in balancer.log_text()


def served(address: tuple[str, int]) -> bool:
    try:
        return ask(address, request()).status == 200
    except OSError:
        return False
