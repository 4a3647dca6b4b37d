"""Rows of the fault matrix that no other module has: nobody healthy, garbage, refusals to clients that send on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support import hostile
from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener, simple, target
from tests.support.failure import expect_failure, reason_of
from tests.support.faults import refusing
from tests.support.hostile import Hostile, Peer
from tests.support.kernel import resident_bytes
from tests.support.raw import RawClient, ask, request
from tests.support.recorder import Recorder, respond
from tests.support.stream import Cut, Stream
from tests.support.upstream import Upstream
from tests.support.waiting import wait_for

CHECK = {"type": "http", "path": "/healthz", "interval": "200ms", "timeout": "500ms", "fast_interval": "100ms"}


class Patient(Upstream):
    """Answers health checks just before their time is over, and everything else at once."""

    def serve(self, stream: Stream, number: int) -> None:
        while True:
            try:
                head = stream.read_until(b"\r\n\r\n")
            except Cut:
                return
            if b"/healthz" in head:
                threading.Event().wait(0.35)
            stream.send(respond(200, b"ok"))


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made


@pytest.fixture(scope="module")
def balancer(recorder: Recorder) -> Iterator[Balancer]:
    with refusing() as refused, Patient() as patient:
        sick = group("sick", refused, health_check=CHECK, zones={"panic_threshold": 0})
        slow = group("slow", patient.address, health_check=CHECK)
        slow["targets"].append(target("slow2", refused))
        rules = [forward("sick", hosts=["sick.test"]), forward("slow", hosts=["slow.test"]), forward("up")]
        groups = [sick, slow, group("up", recorder.address)]
        with Balancer({"listeners": [listener("web", rules)], "target_groups": groups}) as made:
            yield made


def test_nobody_healthy_and_no_panic_is_a_503_at_once(balancer: Balancer) -> None:
    balancer.wait_for_state("sick", "sick1", "unhealthy")
    line = expect_failure(ask(balancer.address(), request(host="sick.test")), balancer, "no_healthy_target", 503)
    assert line["duration_ms"] < 100, line
    assert line["target_group"] == "sick", line


def test_a_check_that_is_answered_just_in_time_is_good_and_holds_up_no_other(balancer: Balancer) -> None:
    balancer.wait_for_state("slow", "slow1", "healthy")
    balancer.wait_for_state("slow", "slow2", "unhealthy")
    since = balancer.target("slow", "slow1")["since"]
    before = balancer.metrics().sum("health_checks_total", target="slow1", result="ok")
    wait_for(
        lambda: balancer.metrics().sum("health_checks_total", target="slow1", result="ok") >= before + 3, 10, "checks"
    )
    assert balancer.target("slow", "slow1")["since"] == since
    assert ask(balancer.address(), request(host="slow.test")).status == 200


@pytest.mark.parametrize("data", [b"\x00\x01\x02\r\n\r\n", b"\x80" * 50 + b"\r\n\r\n", b"GET\r\n\r\n"])
def test_what_has_no_request_line_is_logged_without_method_and_path(data: bytes, balancer: Balancer) -> None:
    with RawClient(balancer.address()) as client:
        client.send(data)
        response = client.recv_response()
        line = expect_failure(response, balancer, reason_of(response), response.status)
        client.expect_closed()
    assert (line["method"] or "-", line["path"] or "-") == ("-", "-"), line


@pytest.mark.parametrize("size", [1000, 200_000])
def test_a_refusal_reaches_a_client_that_goes_on_sending(size: int, balancer: Balancer) -> None:
    """Closing with unread bytes would make the kernel send RST, and the answer would be lost."""
    with RawClient(balancer.address()) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head)
        client.send(*[b"x" * 1000] * (size // 1000))
        response = client.recv_response()
        assert (response.status, reason_of(response), response.complete) == (400, "framing_conflict", True)
        assert client.expect_closed() == "fin"


def test_an_error_in_the_second_of_two_pipelined_requests_ends_the_connection_after_its_answer(
    balancer: Balancer, recorder: Recorder
) -> None:
    first = len(recorder.requests)
    with RawClient(balancer.address()) as client:
        good = request("GET", "/one", "X-Test-Id: k6-1")
        client.send(good + b"GET /two HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + request("GET", "/three"))
        assert client.recv_response().get("x-echo-id") == "k6-1"
        assert reason_of(client.recv_response()) == "bad_host"
        client.expect_closed()
    assert [one.target for one in recorder.requests[first:]] == ["/one"]


def test_a_flood_of_interim_responses_is_cut_off_and_held_in_no_memory(balancer: Balancer) -> None:
    flood = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    def pour(peer: Peer) -> None:
        for _ in range(2000):
            peer.stream.send(flood * 50)

    with Hostile(hostile.read_request, pour) as peer, Balancer(simple(peer.address)) as own:
        worker = own.worker_pids()[0]
        before = resident_bytes(worker)
        for _ in range(3):
            response = ask(own.address(), request())
            assert (response.status, reason_of(response), len(response.interim)) == (502, "bad_response", 16)
        assert resident_bytes(worker) - before < 2 * 1024 * 1024
