"""What a worker may not decide alone, and what must hold when more comes than can be served."""

from __future__ import annotations

import contextlib
import select
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.support import hostile
from tests.support.balancer import Balancer
from tests.support.configs import listener, simple, target
from tests.support.faults import refusing
from tests.support.hostile import Hostile
from tests.support.kernel import resident_bytes
from tests.support.openloop import OpenLoop
from tests.support.raw import RawClient, ask, request
from tests.support.targets import SLACK, Cheap, alternating, config_of, running_for
from tests.support.waiting import pace, wait_for

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
        waiting = {client.sock: client for client in crowd}
        while waiting:  # who leaves makes room for who waits, in whichever worker's queue that is
            ready, _, _ = select.select(list(waiting), [], [], 10)
            assert ready, f"{len(waiting)} wait, and nobody is let in"
            for sock in ready:
                client = waiting.pop(sock)
                assert client.recv_response().status == 200
                client.close()
        wait_for(lambda: "connection limit reached listener=few" in balancer.log_text(), 5, "the log says so")


def test_the_requests_at_a_target_are_those_of_all_workers() -> None:
    limit, workers = 4, 2
    with Cheap("a1", "zone-a") as only, contextlib.ExitStack() as stack:
        config = config_of([only], max_connections=limit, queue={"size": 1000, "timeout": "30s"})
        balancer = stack.enter_context(Balancer(config, workers=workers))
        balancer.wait_for_state("up", "a1", "healthy")
        clients = [stack.enter_context(RawClient(balancer.address(), timeout=30)) for _ in range(40)]
        for client in clients:  # at once: each worker gets some of them before it hears of the other's
            client.send(request("GET", "/slow?ms=200"))
        assert {client.recv_response().status for client in clients} == {200}
        peak = only.counts()["peak"]
        assert limit <= peak <= limit + workers - 1, (
            "workers that look in the same instant may take the last place each"
        )


def served(address: tuple[str, int]) -> bool:
    try:
        return ask(address, request()).status == 200
    except OSError:
        return False


def test_what_slow_readers_hold_has_a_bound_each_and_together() -> None:
    mebibyte, readers, size = 1024 * 1024, 500, 100 * 1024 * 1024
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    flood = (hostile.read_request, hostile.send(head), hostile.loop(hostile.send(bytes(256 * 1024))))
    with Hostile(*flood) as peer, contextlib.ExitStack() as stack:
        config = simple(peer.address, max_connections=0)
        balancer = stack.enter_context(Balancer(config))
        (worker,) = balancer.worker_pids()
        before = resident_bytes(worker)
        clients = [stack.enter_context(RawClient(balancer.address(), receive_buffer=4096)) for _ in range(readers)]
        for client in clients:
            client.send(request())

        def buffered() -> float:
            return balancer.metrics().sum("buffered_bytes")

        most, since = 0.0, time.monotonic()

        def settled() -> bool:
            """No more wait than two seconds ago; a worker adds them up once a second."""
            nonlocal most, since
            if (now := buffered()) > most:
                most, since = now, time.monotonic()
            return now > readers * 60 * 1024 and time.monotonic() - since > 2.0

        wait_for(settled, 40, "the readers' bytes wait, and no more of them")
        held, grown = buffered(), resident_bytes(worker) - before
        print(f"{readers} slow readers: {held / mebibyte:.0f} MiB wait, the worker grew by {grown / mebibyte:.0f} MiB")
        assert held <= readers * 320 * 1024, "64 KiB and one read each"
        assert grown <= held + 60 * mebibyte
        assert balancer.metrics().sum("failures_total", reason="client_too_slow") == 0

        balancer.reload(config | {"buffer_limit": "32MiB"})
        wait_for(lambda: buffered() <= 32 * mebibyte, 5, "the slowest are gone")
        gone = balancer.metrics().sum("failures_total", reason="client_too_slow")
        assert 0 < gone < readers
        assert resident_bytes(worker) - before <= grown + 10 * mebibyte
        for client in clients:
            client.reset()


def test_a_worker_that_cannot_keep_up_sheds_load_and_comes_back_while_admin_answers() -> None:
    with Balancer(alone()) as balancer:
        (worker,) = balancer.worker_pids()
        loop = OpenLoop(balancer.address(), rate=100, duration=30, deadline=8.0).start()
        while loop.elapsed() < 6:  # the worker gets an eighth of its time
            balancer.kill(worker, signal.SIGSTOP)
            pace(0.28)
            balancer.kill(worker, signal.SIGCONT)
            pace(0.04)
            assert balancer.get("/healthz")[0] == 200
        metrics = balancer.metrics()
        assert metrics.sum("loop_lag_seconds") > 0.1 and metrics.sum("shed_ratio") >= 0.2
        wait_for(lambda: balancer.metrics().sum("shed_ratio") == 0, 15, "the storm is over")
        over = running_for(loop, loop.elapsed() + 0.25)
        running_for(loop, over + 1.0)
        report = loop.stop()
        shed = [sample for sample in report.samples if sample.status == 503]
        assert shed and all('details="overloaded"' in sample.reason for sample in shed), report
        assert set(report.statuses) == {200, 503} and set(report.lost) <= {"closed", "reset"}, report
        late = report.between(over, over + 1.0)
        assert set(late.statuses) == {200} and not late.lost, late
        assert balancer.metrics().sum("failures_total", reason="overloaded") == len(shed)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_only_container_recreated_is_not_missed_where_requests_wait_for_it(how: str) -> None:
    away = 3.0
    with Cheap("a1", "zone-a") as only, Balancer(config_of([only], wait_for_target="10s")) as balancer:
        balancer.wait_for_state("up", "a1", "healthy")
        method = alternating if how == "stop" else "GET"  # a POST that was inside when it was killed is sent once only
        load = OpenLoop(balancer.address(), rate=100, duration=9, method=method, body=b"x", deadline=10.0).start()
        running_for(load, 2)
        only.terminate() if how == "stop" else only.kill()
        gone = load.elapsed()
        running_for(load, gone + away)
        only.restart()
        report = load.finish()
        assert report.failed == 0, f"{report}\n{balancer.log_text()[-2000:]}"
        assert report.worst > away - 0.5, "some have waited"
        after = report.between(gone + away + SLACK + 1, 9)
        assert after.p99 < 1.0, after


def test_failures_that_several_workers_saw_eject_a_target_together() -> None:
    with refusing() as nobody, Cheap("a2", "zone-a") as well:
        group = {"name": "up", "health_check": "off", "retry": {"max_retries": 2}}
        group["targets"] = [target("a1", nobody), target("a2", well.address)]
        config = {"listeners": [listener("web", [{"action": {"forward": "up"}}])], "target_groups": [group]}
        with Balancer(config, workers=4) as balancer:
            address = balancer.address()

            def failed() -> float:
                return balancer.metrics().sum("retries_total", reason="connect_refused")

            while failed() < 3:
                assert ask(address, request("GET", "/", "Connection: close")).status == 200
            balancer.wait_for_state("up", "a1", "ejected", 3.0)
            assert failed() == 3


def test_ten_times_what_can_be_served_is_served_to_capacity_and_the_rest_told_to_come_back() -> None:
    at_once, took, seconds, patience = 8, 0.1, 6.0, 0.5
    capacity = at_once / took  # requests/s
    with Cheap("a1", "zone-a") as only:
        group = config_of([only], max_connections=at_once, queue={"size": 40, "timeout": f"{patience}s"})
        with Balancer(group) as balancer:
            balancer.wait_for_state("up", "a1", "healthy")
            (worker,) = balancer.worker_pids()
            load = OpenLoop(
                balancer.address(),
                rate=10 * capacity,
                duration=seconds,
                path=f"/slow?ms={took * 1000:.0f}",
                tag=lambda head, body: (head.get("retry-after") or b"-").decode(),
            ).start()
            running_for(load, 1.5)
            before = resident_bytes(worker)
            report = load.finish()
            grown = resident_bytes(worker) - before
            metrics = balancer.metrics()
            assert set(report.statuses) == {200, 503} and not report.lost, report
            served = [sample for sample in report.samples if sample.status == 200]
            assert report.statuses[200] == pytest.approx(capacity * seconds, rel=0.25), report
            assert {sample.tag for sample in served} == {"-"}
            assert {sample.tag for sample in report.samples if sample.status == 503} == {"1"}
            failures = metrics.by("reason", "failures_total")
            told = {word: failures.get(word, 0) for word in ("queue_full", "queue_timeout", "overloaded")}
            assert sum(told.values()) == report.statuses[503] and told["queue_full"], told
            latencies = sorted(sample.latency for sample in served)
            assert latencies[int(len(latencies) * 0.99)] < 2 * patience + took, report
            assert grown < 16 * 1024 * 1024, f"grew by {grown} bytes"
