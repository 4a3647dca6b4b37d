"""Every request case: refused and closed with nothing at any upstream, or forwarded in one unambiguous form."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import simple
from tests.support.failure import expect_counted, expect_refusal, reason_of
from tests.support.opinion import requests_seen_by_h11
from tests.support.raw import RawClient, Response, ask, request
from tests.support.recorder import Recorder, Seen
from tests.support.waiting import wait_for
from tests.wire.cases_request import CASES, UNFINISHED, Case, Expected, Unfinished

marks = itertools.count()
NEVER_FORWARDED = {
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "proxy-authorization",
    "upgrade",
    "http2-settings",
}


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made
        assert not made.faults, made.faults[:5]
        for number, log in made.bytes_by_connection.items():
            mine = [one for one in made.complete if one.number == number]
            theirs = requests_seen_by_h11(bytes(log))
            assert [(one.method.encode(), one.target.encode("latin-1"), one.body) for one in mine] == theirs


@pytest.fixture(scope="module")
def balancer(recorder: Recorder) -> Iterator[Balancer]:
    with Balancer(simple(recorder.address)) as made:
        yield made


@pytest.fixture(scope="module")
def address(balancer: Balancer) -> tuple[str, int]:
    return balancer.address()


def cuts(data: bytes) -> dict[str, list[bytes]]:
    """Return ways to send the same bytes: whole, byte by byte (in 7 pieces when long), split inside each CRLF.

    `again` and `hot` are whole once more with the very same bytes, `hot bytes` those in pieces: a head is remembered
    when it is seen for the second time, and must mean what it meant when read.
    """
    step = 1 if len(data) <= 600 else len(data) // 7 + 1
    inside = re.split(rb"(?<=\r)(?=\n)", data) if data.count(b"\r\n") <= 60 else [data[:-1], data[-1:]]
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    return {"whole": [data], "again": [data], "hot": [data], "hot bytes": pieces, "bytes": pieces, "crlf": inside}


def fresh_mark() -> str:
    return f"m{next(marks)}"


def expect_fence(recorder: Recorder, address: tuple[str, int], first: int) -> list[Seen]:
    """Send a marked request on a connection of its own; return what else has arrived since `first`."""
    mark = fresh_mark()
    answer = ask(address, request("GET", "/fence", f"X-Test-Id: {mark}"))
    assert (answer.status, answer.get("x-echo-id")) == (200, mark), answer
    recorder.wait_for(mark)
    return [one for one in recorder.requests[first:] if one.mark != mark]


def verdict(response: Response) -> str:
    return f"{response.status} {reason_of(response)}"


def check_refused(case: Case, response: Response, method: str) -> tuple[str, int, str]:
    assert verdict(response) in case.verdicts, f"wanted {case.verdicts}, got {verdict(response)} {response.body!r}"
    status, reason = verdict(response).split(" ")
    request_id = expect_refusal(response, int(status), reason, method)
    assert response.closes, response.head.raw
    if reason == "method_not_allowed":
        assert response.get("allow"), response.head.raw
    return request_id, int(status), reason


def check_forwarded(expected: Expected, seen: Seen, response: Response, fill: dict[bytes, bytes]) -> None:
    sent = {"method": seen.head.start[0], "target": seen.head.start[1], "body": seen.body}
    for name, value in sent.items():
        wanted = getattr(expected, name)
        assert wanted is None or value == wanted, f"{name}: wanted {wanted!r}, sent {value!r}"
    lines = [name.lower() + b": " + value for name, value in seen.head.headers]
    for line in expected.has:
        for key, value in fill.items():
            line = line.replace(key, value)
        wanted = [one for one in expected.has if one.split(b":")[0] == line.split(b":")[0]]
        found = [one for one in lines if one.split(b":")[0] == line.split(b":")[0]]
        assert line in found, (line, lines)
        assert len(found) == len(wanted), (found, wanted)
    names = {name.lower() for name, _ in seen.head.headers}
    assert not names & set(expected.lacks), names & set(expected.lacks)
    assert not names & {name.encode() for name in NEVER_FORWARDED}, names
    assert seen.all("x-forwarded-for") == ["127.0.0.1"], lines
    assert seen.get("x-request-id") == response.get("x-request-id"), lines


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_request(case: Case, balancer: Balancer, recorder: Recorder, address: tuple[str, int]) -> None:
    refusals: list[tuple[str, int, str]] = []
    method = case.data.split(b" ", 1)[0].strip().decode("latin-1")
    fill = {b"{upstream}": recorder.address.encode(), b"{port}": str(address[1]).encode()}
    mark = ""
    for cut in ("whole", "again", "hot", "hot bytes", "bytes", "crlf"):
        mark = mark if cut in ("again", "hot", "hot bytes") else fresh_mark()
        first = len(recorder.requests)
        pieces = cuts(case.data.replace(b"{id}", mark.encode()))[cut]
        with RawClient(address) as client:
            client.send_apart(pieces)
            response = client.recv_response(method)
            if 200 <= response.status < 300:
                assert case.expected is not None, f"{cut}: forwarded, should be one of {case.verdicts}"
                assert response.get("x-echo-id") == mark
                assert response.complete
                seen = recorder.wait_for(mark, since=first)
                check_forwarded(case.expected, seen, response, fill)
                known = {mark}
                if response.closes:
                    client.expect_closed()
                else:
                    known.add(follow := fresh_mark())
                    answer = client.ask(request("GET", "/follow", f"X-Test-Id: {follow}"))
                    assert (answer.status, answer.get("x-echo-id")) == (200, follow)
                others = expect_fence(recorder, address, first)
                assert sorted(one.mark for one in others) == sorted(known), others
            else:
                assert case.verdicts, f"{cut}: refused with {verdict(response)}, should be forwarded: {response.body!r}"
                refusals.append(check_refused(case, response, method))
                client.expect_closed()
                others = expect_fence(recorder, address, first)
                assert not [one for one in others if one.complete or not case.in_body], f"{cut}: {others}"
    for request_id, status, reason in refusals:
        line = balancer.logged(request_id)
        assert (line["status"], line["source"], line["reason"]) == (status, "balancer", reason), line
    for reason, times in Counter(reason for _, _, reason in refusals).items():
        expect_counted(balancer, reason, times)
    assert not recorder.faults, recorder.faults


@pytest.mark.parametrize("case", UNFINISHED, ids=lambda case: case.name)
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_client_that_leaves_inside_its_request_leaves_nothing_behind(
    case: Unfinished, how: str, balancer: Balancer, recorder: Recorder, address: tuple[str, int]
) -> None:
    first = len(recorder.requests)
    with RawClient(address) as client:
        client.send_apart([case.data.replace(b"{id}", b"left")])
        if how == "fin":
            client.half_close()
            client.read_to_end()
        else:
            client.reset()
    others = expect_fence(recorder, address, first)
    assert not [one for one in others if one.complete or not case.may_begin], others
    wait_for(lambda: not unfinished_at(recorder), 5.0, "the upstream connection is closed")


def unfinished_at(recorder: Recorder) -> list[int]:
    """Return the open upstream connections on which a request has begun and is not whole."""
    with recorder.lock:
        return [
            number
            for number, stream in recorder.open.items()
            if stream.log
            and len(requests_seen_by_h11(bytes(stream.log)))
            != sum(1 for one in recorder.complete if one.number == number)
        ]


def test_the_h2_preface_on_a_plain_port_closes_and_is_logged_as_505(
    balancer: Balancer, recorder: Recorder, address: tuple[str, int]
) -> None:
    first = len(recorder.requests)
    known = {line["request_id"] for line in balancer.access_log()}
    with RawClient(address) as client:
        client.send_apart([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"])
        rest = client.read_to_end()
    assert not rest or rest.startswith(b"HTTP/1.1 505 "), rest
    assert not expect_fence(recorder, address, first)

    def lines() -> list[str]:
        fresh = (line for line in balancer.access_log() if line["request_id"] not in known)
        return [line["reason"] for line in fresh if line["status"] == 505]

    assert wait_for(lines, 3.0, "a line in the access log") == ["unsupported_version"]


def test_a_refused_request_does_not_take_the_ones_before_it_along(recorder: Recorder, address: tuple[str, int]) -> None:
    mark = fresh_mark()
    with RawClient(address) as client:
        client.send(request("GET", "/good", f"X-Test-Id: {mark}") + b"GET / HTTP/1.1\r\nX-A : b\r\nHost: a\r\n\r\n")
        first = client.recv_response()
        assert (first.status, first.get("x-echo-id")) == (200, mark)
        assert verdict(client.recv_response()) == "400 bad_header"
        client.expect_closed()
    assert len(recorder.marked(mark)) == 1


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (request("HEAD", "/", "X-Balancer-Hops: 10", "Connection: close"), "502 loop_detected"),
        (request("HEAD", "/", "X-A : b"), "400 bad_header"),
        (request("HEAD", "/a%zz"), "400 bad_target"),
    ],
    ids=["loop", "field", "target"],
)
def test_a_refused_head_request_gets_no_body(data: bytes, wanted: str, address: tuple[str, int]) -> None:
    with RawClient(address) as client:
        client.send(data)
        response = client.recv_response("HEAD")
        assert verdict(response) == wanted
        client.expect_closed()
