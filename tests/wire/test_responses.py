"""Every response case: passed on in one form, replaced by a 502, or cut; and the next client gets its own answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.support import hostile
from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener, simple
from tests.support.failure import expect_counted, expect_failure, reason_of
from tests.support.faults import blackhole, refusing
from tests.support.hostile import Hostile
from tests.support.raw import Cut, RawClient, Response, ask, request
from tests.support.recorder import Recorder, respond
from tests.support.waiting import pace, wait_for
from tests.wire.cases_response import CASES, Case

marks = itertools.count()
ENDS = {"serve": hostile.serve_well, "fin": hostile.fin, "rst": hostile.rst, "stall": hostile.stall}
TIMEOUTS = {"connect": "300ms", "response_header": "1s", "response_idle": "1s"}
LIMIT = 1.0
WHOLE = 1 << 30  # bytes at a time
AGAIN = WHOLE + 1  # the very same bytes once more: a head that is remembered must mean what it meant when read


@pytest.fixture(scope="module")
def upstream() -> Iterator[Hostile]:
    with Hostile() as made:
        yield made


@pytest.fixture(scope="module")
def balancer(upstream: Hostile) -> Iterator[Balancer]:
    with Balancer(simple(upstream.address, timeouts=TIMEOUTS)) as made:
        yield made


@pytest.fixture(scope="module")
def address(balancer: Balancer) -> tuple[str, int]:
    return balancer.address()


def marked(method: str = "GET", version: str = "1.1", body: bytes = b"") -> tuple[str, bytes]:
    mark = f"r{next(marks)}"
    return mark, request(method, "/", f"X-Test-Id: {mark}", version=version, body=body)


def expect_own_answer(client: RawClient) -> None:
    mark, data = marked()
    response = client.ask(data)
    assert (response.status, response.get("x-echo-id"), response.body) == (200, mark, b"ok"), response


def script_of(case: Case, step: int) -> list[hostile.Step]:
    def sent(peer: hostile.Peer) -> None:
        data = case.data.replace(b"{mark}", peer.mark.encode())
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        peer.stream.send_apart([*pieces, *(piece for piece in case.apart if piece)])

    return [hostile.read_request, sent, ENDS[case.end]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_response(case: Case, upstream: Hostile, balancer: Balancer, address: tuple[str, int]) -> None:
    reasons: list[str] = []
    steps = [WHOLE, AGAIN, AGAIN]  # unknown, seen once, kept
    steps += [1] if len(case.data) < 400 and not case.unsolicited else []
    mark, data = "", b""
    for step in steps:
        upstream.play(scripts=[script_of(case, step), [hostile.serve_well]])
        mark, data = (mark, data) if step == AGAIN else marked(case.method)
        with RawClient(address) as client:
            client.send(data)
            response = client.recv_response(case.method)
            own = reason_of(response)
            if own:
                assert "failed" in case.outcome, (response.head.raw, response.body)
                check_failed(case, response, balancer, reasons)
            elif not response.complete:
                assert "cut" in case.outcome, response
                check_cut(case, response, client, balancer, mark)
            else:
                assert "delivered" in case.outcome, (response.head.raw, response.body)
                check_delivered(case, response, mark)
            if (
                case.reused
            ):  # where the response spoke of a body that may not be, its connection rests for a moment first
                pace(0.05)
            if client.end == "open" and not response.closes:
                expect_own_answer(client)
        if case.reused:
            pace(0.05)
        with RawClient(address) as other:
            expect_own_answer(other)
        if case.reused is not None or case.outcome != "delivered":
            used = {peer.number for peer in upstream.peers}
            assert (len(used) == 1) is bool(case.reused), f"{len(used)} upstream connections"
    for reason in set(reasons):
        expect_counted(balancer, reason, reasons.count(reason))
    if case.unsolicited:
        expect_counted(balancer, "unsolicited_response", len(steps))


def check_failed(case: Case, response: Response, balancer: Balancer, reasons: list[str]) -> None:
    got = f"{response.status} {reason_of(response)}"
    assert got in case.verdicts, f"wanted {case.verdicts}, got {got}"
    reasons.append(reason_of(response))
    line = expect_failure(response, balancer, reasons[-1], response.status, times=0, method=case.method)
    assert (line["target_group"], line["target"], line["zone"]) == ("up", "up1", "zone-a"), line


def check_cut(case: Case, response: Response, client: RawClient, balancer: Balancer, mark: str) -> None:
    assert response.get("x-echo-id") == mark
    assert response.body == case.body
    assert client.end == "reset", "a response that is cut must not end politely"
    line = balancer.logged(response.get("x-request-id") or "")
    assert line["reason"] in ("response_truncated", "bad_response"), line
    assert line["status"] == 200, line


def check_delivered(case: Case, response: Response, mark: str) -> None:
    assert (response.status, response.body, response.get("x-echo-id")) == (case.status, case.body, mark), response
    assert case.framing is None or response.framing == case.framing, response
    assert tuple(int(one.start[0]) for one in response.interim) == case.interim, response.interim
    lines = [name.lower() + b": " + value for name, value in response.head.headers]
    assert [line for line in lines if line in case.has] == list(case.has), lines
    names = {name.decode().lower() for name, _ in response.head.headers}
    assert not names & {*case.lacks, "keep-alive", "trailer", "upgrade", "proxy-authenticate"}, names
    assert response.get("x-request-id"), lines
    assert response.get("proxy-status") is None, lines


# -- what needs more than one line


def test_a_response_on_an_idle_pooled_connection_is_thrown_away(
    upstream: Hostile, balancer: Balancer, address: tuple[str, int]
) -> None:
    evil = b"HTTP/1.1 200 OK\r\nX-Echo-Id: evil\r\nContent-Length: 4\r\n\r\nevil"
    upstream.play(
        scripts=[
            [hostile.read_request, hostile.answer(), hostile.send_apart(evil), hostile.stall],
            [hostile.serve_well],
        ]
    )
    with RawClient(address) as client:
        expect_own_answer(client)
        wait_for(lambda: not upstream.open, 2.0, "the connection is thrown away")
        expect_own_answer(client)
    assert len(upstream.peers) == 2
    expect_counted(balancer, "unsolicited_response")


def test_a_pooled_connection_that_closes_as_a_get_arrives_is_replaced(
    upstream: Hostile, address: tuple[str, int]
) -> None:
    upstream.play(
        scripts=[[hostile.read_request, hostile.answer(), hostile.read_request, hostile.close], [hostile.serve_well]]
    )
    with RawClient(address) as client:
        expect_own_answer(client)
        expect_own_answer(client)
    assert len(upstream.peers) == 2
    assert len(upstream.heads) == 3


def test_a_pooled_connection_that_closes_as_a_post_arrives_fails_the_post_and_sends_it_once(
    upstream: Hostile, balancer: Balancer, address: tuple[str, int]
) -> None:
    upstream.play(
        scripts=[[hostile.read_request, hostile.answer(), hostile.read_request, hostile.close], [hostile.serve_well]]
    )
    with RawClient(address) as client:
        expect_own_answer(client)
        mark, data = marked("POST", body=b"hello")
        expect_failure(client.ask(data), balancer, "upstream_closed", 502)
    assert sum(1 for one in upstream.heads if one.get("x-test-id") == mark.encode()) == 1


def test_no_response_head_is_a_504_at_the_limit(
    upstream: Hostile, balancer: Balancer, address: tuple[str, int]
) -> None:
    upstream.play(scripts=[[hostile.read_request, hostile.stall], [hostile.serve_well]])
    with RawClient(address) as client:
        line = expect_failure(client.ask(marked()[1]), balancer, "response_timeout", 504)
        wait_for(lambda: not upstream.open, 2.0, "the upstream connection is closed")
        expect_own_answer(client)
    assert 1000 * LIMIT <= line["duration_ms"] <= 1000 * (2 * LIMIT + 0.25), line


def test_a_head_that_drips_is_a_504_at_the_same_limit(
    upstream: Hostile, balancer: Balancer, address: tuple[str, int]
) -> None:
    drip = hostile.drip(respond(200, b"hello", *(f"X-{n}: 1" for n in range(50))), 0.05)
    upstream.play(scripts=[[hostile.read_request, drip], [hostile.serve_well]])
    line = expect_failure(ask(address, marked()[1]), balancer, "response_timeout", 504)
    assert 1000 * LIMIT <= line["duration_ms"] <= 1000 * (2 * LIMIT + 0.25), line


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
def test_a_body_that_stalls_is_cut_after_the_idle_limit(
    framing: bytes, upstream: Hostile, balancer: Balancer, address: tuple[str, int]
) -> None:
    piece = b"hello" if b"Length" in framing else b"5\r\nhello\r\n"
    upstream.play(
        scripts=[
            [hostile.read_request, hostile.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + piece), hostile.stall],
            [hostile.serve_well],
        ]
    )
    with RawClient(address) as client:
        response = client.ask(marked()[1])
        assert (response.complete, response.body, client.end) == (False, b"hello", "reset")
    line = balancer.logged(response.get("x-request-id") or "")
    assert line["reason"] == "response_idle_timeout", line
    expect_counted(balancer, "response_idle_timeout")
    wait_for(lambda: not upstream.open, 2.0, "the upstream connection is closed")


def test_a_body_that_drips_within_the_idle_limit_is_delivered(upstream: Hostile, address: tuple[str, int]) -> None:
    drip = hostile.drip(b"0123456789", 0.1)
    upstream.play(
        hostile.read_request, hostile.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), drip, hostile.serve_well
    )
    response = ask(address, marked()[1])
    assert (response.complete, response.body) == (True, b"0123456789")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["chunked", "sized"],
)
def test_an_http_1_0_client_gets_no_chunks(data: bytes, upstream: Hostile, address: tuple[str, int]) -> None:
    upstream.play(scripts=[[hostile.read_request, hostile.send(data), hostile.serve_well]])
    with RawClient(address) as client:
        response = client.ask(marked(version="1.0")[1])
        assert (response.complete, response.body) == (True, b"hello")
        assert response.framing == ("close" if b"chunked" in data else "length")
        client.expect_closed()


def test_a_chunked_body_that_is_cut_is_reset_for_an_http_1_0_client_too(
    upstream: Hostile, address: tuple[str, int]
) -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    upstream.play(scripts=[[hostile.read_request, hostile.send(data), hostile.fin]])
    with RawClient(address) as client:
        response = client.ask(marked(version="1.0")[1])
        assert (response.complete, client.end) == (False, "reset")


def test_interim_responses_are_kept_from_an_http_1_0_client(upstream: Hostile, address: tuple[str, int]) -> None:
    upstream.play(
        hostile.read_request, hostile.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + respond(200, b"hello")), hostile.stall
    )
    response = ask(address, marked(version="1.0")[1])
    assert (response.interim, response.body) == ((), b"hello")


# -- several targets: retries, refusals, black holes


@pytest.fixture(scope="module")
def several() -> Iterator[tuple[Balancer, Hostile, Recorder]]:
    """One balancer, a group per host name."""
    with Hostile() as bad, Recorder("good") as good, refusing() as refused, refusing() as refused2, blackhole() as hole:
        groups = {
            "one-refuses": group("one-refuses", refused, good.address, timeouts=TIMEOUTS),
            "all-refuse": group("all-refuse", refused, refused2, timeouts=TIMEOUTS),
            "one-is-a-hole": group("one-is-a-hole", hole, good.address, timeouts=TIMEOUTS),
            "a-hole": group("a-hole", hole, timeouts=TIMEOUTS, retry={"max_retries": 0}),
            "one-is-bad": group("one-is-bad", bad.address, good.address, timeouts=TIMEOUTS),
            "empty": {"name": "empty", "protocol": "http", "health_check": "off", "targets": []},
        }
        config = {
            "listeners": [listener("web", [forward(name, hosts=[f"{name}.test"]) for name in groups])],
            "target_groups": list(groups.values()),
        }
        with Balancer(config) as balancer:
            yield balancer, bad, good


def to(name: str, method: str = "GET", body: bytes = b"") -> tuple[str, bytes]:
    mark = f"s{next(marks)}"
    return mark, request(method, "/", f"X-Test-Id: {mark}", host=f"{name}.test", body=body)


def retried(balancer: Balancer, group_name: str) -> float:
    return balancer.metrics().sum("retries_total", target_group=group_name) - balancer.baseline.sum(
        "retries_total", target_group=group_name
    )


Several = tuple[Balancer, Hostile, Recorder]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_of_two_refuses_and_every_request_is_served(method: str, several: Several) -> None:
    balancer, _, good = several
    address, body = balancer.address(), b"hello" if method == "POST" else b""
    for _ in range(4):
        mark, data = to("one-refuses", method, body)
        response = ask(address, data)
        assert (response.status, response.get("x-echo-id")) == (200, mark)
        assert good.wait_for(mark).body == body
    assert retried(balancer, "one-refuses") >= 1
    assert balancer.metrics().sum("retries_total", target_group="one-refuses", reason="connect_refused") >= 1


def test_all_refuse_is_a_502_at_once(several: Several) -> None:
    balancer, _, _ = several
    line = expect_failure(ask(balancer.address(), to("all-refuse")[1]), balancer, "connect_refused", 502)
    assert line["duration_ms"] < 1000, line
    assert line["retries"] <= 2, line


def test_one_of_two_is_a_hole_and_every_request_is_served(several: Several) -> None:
    balancer, _, _ = several
    for _ in range(2):
        mark, data = to("one-is-a-hole")
        response = ask(balancer.address(), data)
        assert (response.status, response.get("x-echo-id")) == (200, mark)
        assert balancer.logged(response.get("x-request-id") or "")["duration_ms"] < 850


def test_a_hole_alone_is_a_504_after_the_connect_limit(several: Several) -> None:
    balancer, _, _ = several
    line = expect_failure(ask(balancer.address(), to("a-hole")[1]), balancer, "connect_timeout", 504)
    assert 299 <= line["duration_ms"] <= 1200, line  # the loop's timers count whole milliseconds


def test_an_empty_group_is_a_503(several: Several) -> None:
    balancer, _, _ = several
    line = expect_failure(ask(balancer.address(), to("empty")[1]), balancer, "no_targets", 503)
    assert (line["target_group"], line["target"] or "") == ("empty", ""), line


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 2", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["nothing", "a few bytes", "103"]
)
def test_a_get_that_a_target_drops_is_served_by_another(end: str, begun: bytes, several: Several) -> None:
    balancer, bad, _ = several
    bad.play(hostile.read_request, hostile.send(begun) if begun else hostile.read_bytes(0), ENDS[end])
    for _ in range(2):
        mark, data = to("one-is-bad")
        response = ask(balancer.address(), data)
        assert (response.status, response.get("x-echo-id")) == (200, mark)
    assert len(bad.heads) == 1
    assert retried(balancer, "one-is-bad") == 1


@pytest.mark.parametrize(("end", "reason"), [("fin", "upstream_closed"), ("rst", "upstream_reset")])
def test_a_post_that_a_target_drops_fails_and_is_sent_once(end: str, reason: str, several: Several) -> None:
    balancer, bad, good = several
    bad.play(hostile.read_request, ENDS[end])
    outcomes = []
    for _ in range(2):
        mark, data = to("one-is-bad", "POST", b"hello")
        response = ask(balancer.address(), data)
        outcomes.append(response.status)
        seen = [one for one in bad.heads if one.get("x-test-id") == mark.encode()] + good.marked(mark)
        assert len(seen) == 1
        if response.status != 200:
            expect_failure(response, balancer, reason, 502)
    assert sorted(outcomes) == [200, 502]
    assert retried(balancer, "one-is-bad") == 0


def test_a_put_that_a_target_drops_is_replayed_with_its_whole_body(several: Several) -> None:
    balancer, bad, good = several
    bad.play(hostile.read_request, hostile.rst)
    body = bytes(range(256)) * 200
    for _ in range(2):
        mark, data = to("one-is-bad", "PUT", body)
        assert ask(balancer.address(), data).status == 200
        assert good.wait_for(mark).body == body


def test_a_bad_response_is_not_tried_again(several: Several) -> None:
    balancer, bad, good = several
    bad.play(hostile.read_request, hostile.send(b"HTTP/1.1 abc OK\r\n\r\n"), hostile.stall)
    outcomes = [ask(balancer.address(), to("one-is-bad")[1]) for _ in range(2)]
    assert sorted(one.status for one in outcomes) == [200, 502]
    expect_failure(next(one for one in outcomes if one.status == 502), balancer, "bad_response", 502)
    assert good.requests


def test_a_response_that_has_begun_is_never_tried_again(several: Several) -> None:
    balancer, bad, _ = several
    bad.play(hostile.read_request, hostile.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), hostile.fin)
    cut = 0
    for _ in range(2):
        with RawClient(balancer.address()) as client:
            try:
                cut += not client.ask(to("one-is-bad")[1]).complete
            except Cut:
                cut += 1
    assert (cut, len(bad.heads)) == (1, 1)
