"""What a proxy owes both sides: forwarding fields, request ids, order, and one framing."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener
from tests.support.failure import expect_failure
from tests.support.raw import RawClient, Response, ask, request
from tests.support.recorder import Recorder, Seen

marks = itertools.count()
Address = tuple[str, int]


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made
        assert not made.faults, made.faults[:5]


@pytest.fixture(scope="module")
def balancer(recorder: Recorder) -> Iterator[Balancer]:
    rules = [forward("recorder")]
    config = {
        "listeners": [
            listener("web", rules),
            listener("trusting", rules, trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"]),
            listener("few", rules, limits={"keep_alive_requests": 3}),
        ],
        "target_groups": [group("recorder", recorder.address)],
    }
    with Balancer(config) as made:
        yield made


@pytest.fixture(scope="module")
def address(balancer: Balancer) -> Address:
    return balancer.address()


@pytest.fixture(scope="module")
def trusting(balancer: Balancer) -> Address:
    return balancer.address("trusting")


def fresh_mark() -> str:
    return f"f{next(marks)}"


def sent(
    address: Address,
    recorder: Recorder,
    method: str,
    target: str,
    *headers: str,
    host: str = "test",
    version: str = "1.1",
) -> tuple[Seen, Response]:
    """Send one marked request; return what the upstream saw and what the client got."""
    mark = fresh_mark()
    response = ask(address, request(method, target, f"X-Test-Id: {mark}", *headers, host=host, version=version))
    assert (response.status, response.get("x-echo-id")) == (200, mark), (response.head.raw, response.body)
    return recorder.wait_for(mark), response


# -- forwarding fields


def test_an_untrusted_client_is_described_by_us_alone(recorder: Recorder, address: Address) -> None:
    seen, _ = sent(
        address, recorder, "GET", "/", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", host="a.test:81"
    )
    assert seen.get("x-forwarded-for") == "127.0.0.1"
    assert seen.get("x-real-ip") == "127.0.0.1"
    assert seen.get("x-forwarded-proto") == "http"
    assert seen.get("x-forwarded-host") == "a.test:81"
    assert seen.get("x-forwarded-port") == str(address[1])
    assert seen.get("host") == "a.test:81"


TRUSTED = [
    ("203.0.113.9", "203.0.113.9, 127.0.0.1", "203.0.113.9"),
    ("203.0.113.9, 10.1.1.1", "203.0.113.9, 10.1.1.1, 127.0.0.1", "203.0.113.9"),
    ("1.1.1.1, 203.0.113.9, 10.1.1.1", "1.1.1.1, 203.0.113.9, 10.1.1.1, 127.0.0.1", "203.0.113.9"),
    ("10.2.2.2, 10.1.1.1", "10.2.2.2, 10.1.1.1, 127.0.0.1", "10.2.2.2"),
    ("2001:db8::1", "2001:db8::1, 127.0.0.1", "2001:db8::1"),
]


@pytest.mark.parametrize(("given", "forwarded", "client"), TRUSTED)
def test_behind_a_trusted_proxy_the_client_is_the_rightmost_address_that_is_not_trusted(
    given: str, forwarded: str, client: str, recorder: Recorder, trusting: Address, balancer: Balancer
) -> None:
    seen, response = sent(trusting, recorder, "GET", "/", f"X-Forwarded-For: {given}")
    assert seen.get("x-forwarded-for") == forwarded
    assert seen.get("x-real-ip") == client
    assert balancer.logged(response.get("x-request-id") or "")["client"].startswith(client)


def test_several_lines_of_x_forwarded_for_are_one_list(recorder: Recorder, trusting: Address) -> None:
    seen, _ = sent(trusting, recorder, "GET", "/", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 203.0.113.9")
    assert seen.get("x-forwarded-for") == "1.1.1.1, 203.0.113.9, 127.0.0.1"


def test_a_trusted_proxy_is_believed_about_scheme_host_and_port(recorder: Recorder, trusting: Address) -> None:
    fields = ("X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test", "X-Forwarded-Port: 443")
    seen, _ = sent(trusting, recorder, "GET", "/", "X-Forwarded-For: 203.0.113.9", *fields)
    assert seen.get("x-forwarded-proto") == "https"
    assert seen.get("x-forwarded-host") == "shop.test"
    assert seen.get("x-forwarded-port") == "443"


def test_31_addresses_in_x_forwarded_for_are_too_many(balancer: Balancer, trusting: Address) -> None:
    many = ", ".join(["10.1.1.1"] * 31)
    expect_failure(ask(trusting, request("GET", "/", f"X-Forwarded-For: {many}")), balancer, "bad_header", 400)


def test_the_request_id_is_the_same_for_client_upstream_and_log(
    recorder: Recorder, address: Address, balancer: Balancer
) -> None:
    seen, response = sent(address, recorder, "GET", "/id?secret=1", "X-Request-ID: made-by-the-client")
    given = response.get("x-request-id")
    assert given is not None
    assert re.fullmatch(r"[0-9a-f]{8,128}", given)
    assert seen.get("x-request-id") == given
    line = balancer.logged(given)
    assert (line["method"], line["path"], line["status"], line["source"], line["reason"]) == (
        "GET",
        "/id",
        200,
        "upstream",
        "",
    )
    assert (line["listener"], line["target_group"], line["target"], line["zone"]) == (
        "web",
        "recorder",
        "recorder1",
        "zone-a",
    )


def test_a_trusted_proxy_may_choose_the_request_id(recorder: Recorder, trusting: Address) -> None:
    seen, response = sent(trusting, recorder, "GET", "/", "X-Request-ID: made.by-the_proxy-1")
    assert seen.get("x-request-id") == response.get("x-request-id") == "made.by-the_proxy-1"


@pytest.mark.parametrize("bad", ["short", "a" * 129, "with space", "with/slash", "ümlaut-id"])
def test_a_bad_request_id_is_replaced_even_behind_a_trusted_proxy(
    bad: str, recorder: Recorder, trusting: Address
) -> None:
    seen, response = sent(trusting, recorder, "GET", "/", f"X-Request-ID: {bad}")
    assert seen.get("x-request-id") == response.get("x-request-id") != bad


def test_request_ids_never_repeat(address: Address) -> None:
    with RawClient(address) as client:
        ids = {client.ask(request()).get("x-request-id") for _ in range(50)}
    assert len(ids) == 50


def test_traceparent_and_unknown_fields_pass_untouched(recorder: Recorder, address: Address) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    seen, _ = sent(address, recorder, "GET", "/", f"traceparent: {trace}", "X-CaSe-Kept: VaLue")
    assert seen.get("traceparent") == trace
    assert (b"X-CaSe-Kept", b"VaLue") in seen.head.headers


def test_hops_are_counted_and_a_loop_ends(balancer: Balancer, recorder: Recorder, address: Address) -> None:
    seen, _ = sent(address, recorder, "GET", "/")
    assert seen.get("x-balancer-hops") == "1"
    seen, _ = sent(address, recorder, "GET", "/", "X-Balancer-Hops: 3")
    assert seen.get("x-balancer-hops") == "4"
    expect_failure(ask(address, request("GET", "/", "X-Balancer-Hops: 10")), balancer, "loop_detected", 502)


def test_max_forwards_counts_down_on_options_and_ends_there(recorder: Recorder, address: Address) -> None:
    seen, _ = sent(address, recorder, "OPTIONS", "/", "Max-Forwards: 5")
    assert seen.get("max-forwards") == "4"
    seen, _ = sent(address, recorder, "GET", "/", "Max-Forwards: 5")
    assert seen.get("max-forwards") == "5"
    seen, _ = sent(address, recorder, "OPTIONS", "/", "Max-Forwards: many")
    assert seen.get("max-forwards") == "many"
    first = len(recorder.requests)
    response = ask(address, request("OPTIONS", "/", "Max-Forwards: 0"))
    assert (response.status, response.get("allow") is not None) == (204, True)
    assert len(recorder.requests) == first


def test_trace_is_refused(balancer: Balancer, address: Address) -> None:
    response = ask(address, request("TRACE", "/", "Cookie: secret"))
    expect_failure(response, balancer, "method_not_allowed", 405)
    assert response.get("allow")


# -- keep-alive and order


def test_a_client_connection_serves_many_requests_in_turn(recorder: Recorder, address: Address) -> None:
    with RawClient(address) as client:
        for number in range(20):
            mark = fresh_mark()
            response = client.ask(request("GET", f"/{number}", f"X-Test-Id: {mark}"))
            assert (response.get("x-echo-id"), response.closes) == (mark, False)


def test_clients_share_pooled_upstream_connections(recorder: Recorder, address: Address) -> None:
    before = recorder.accepted
    for _ in range(20):
        sent(address, recorder, "GET", "/")
    assert recorder.accepted - before <= 1


def test_pipelined_requests_are_answered_in_order(recorder: Recorder, address: Address) -> None:
    numbers = [fresh_mark() for _ in range(30)]
    with RawClient(address) as client:
        client.send(b"".join(request("GET", "/p", f"X-Test-Id: {mark}") for mark in numbers))
        assert [client.recv_response().get("x-echo-id") for _ in numbers] == numbers


def test_pipelined_requests_with_bodies_keep_their_bodies(address: Address) -> None:
    numbers = [fresh_mark() for _ in range(10)]
    requests = [
        request("POST", "/p", f"X-Test-Id: {mark}", body=mark.encode())
        if place % 2
        else request("POST", "/p", f"X-Test-Id: {mark}", "Transfer-Encoding: chunked")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(mark), mark.encode())
        for place, mark in enumerate(numbers)
    ]
    with RawClient(address) as client:
        client.send(b"".join(requests))
        answers = [client.recv_response() for _ in numbers]
    assert [(one.get("x-echo-id"), one.body) for one in answers] == [(mark, mark.encode()) for mark in numbers]


def test_a_flood_of_pipelined_requests_is_held_back_and_not_refused(address: Address) -> None:
    numbers = [fresh_mark() for _ in range(2000)]
    data = b"".join(request("GET", "/p", f"X-Test-Id: {mark}", "X-Pad: " + "a" * 60) for mark in numbers)
    assert len(data) > 3 * 65536
    with RawClient(address, timeout=20) as client:
        thread = threading.Thread(target=client.send, args=(data,))
        thread.start()
        assert [client.recv_response().get("x-echo-id") for _ in numbers] == numbers
        thread.join(10)


def test_what_follows_connection_close_is_ignored(recorder: Recorder, address: Address) -> None:
    mark, late = fresh_mark(), fresh_mark()
    with RawClient(address) as client:
        client.send(
            request("GET", "/", f"X-Test-Id: {mark}", "Connection: close") + request("GET", "/", f"X-Test-Id: {late}")
        )
        response = client.recv_response()
        assert (response.status, response.get("x-echo-id"), response.closes) == (200, mark, True)
        client.expect_closed()
    sent(address, recorder, "GET", "/fence")
    assert not recorder.marked(late)


@pytest.mark.parametrize(
    ("fields", "closes"), [((), True), (("Connection: keep-alive",), False), (("Connection: close",), True)]
)
def test_an_http_1_0_client_is_kept_only_if_it_asks(fields: tuple[str, ...], closes: bool, address: Address) -> None:
    with RawClient(address) as client:
        response = client.ask(request("GET", "/", *fields, version="1.0"))
        assert (response.status, response.closes) == (200, closes)
        if closes:
            client.expect_closed()
        else:
            assert client.ask(request("GET", "/", *fields, version="1.0")).status == 200


def test_a_connection_ends_after_keep_alive_requests(balancer: Balancer) -> None:
    with RawClient(balancer.address("few")) as client:
        assert [client.ask(request()).closes for _ in range(3)] == [False, False, True]
        client.expect_closed()


def test_an_http_1_0_request_becomes_http_1_1(recorder: Recorder, address: Address) -> None:
    seen, response = sent(address, recorder, "GET", "/", version="1.0")
    assert seen.head.minor == 1
    assert response.complete


# -- bodies and their framing


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "POST", "PUT", "PATCH"])
@pytest.mark.parametrize("coding", ["sized", "chunked"])
def test_a_body_keeps_its_framing_whatever_the_method(
    method: str, coding: str, recorder: Recorder, address: Address
) -> None:
    mark = fresh_mark()
    field, body = (
        ("Content-Length: 5", b"hello")
        if coding == "sized"
        else ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")
    )
    response = ask(address, request(method, "/", f"X-Test-Id: {mark}", field) + body)
    assert response.get("x-echo-id") == mark
    seen = recorder.wait_for(mark)
    assert seen.body == b"hello"
    assert (seen.get("content-length"), seen.get("transfer-encoding")) == (
        ("5", None) if coding == "sized" else (None, "chunked")
    )


def test_trailers_of_a_request_are_dropped(recorder: Recorder, address: Address) -> None:
    mark = fresh_mark()
    data = request("POST", "/", f"X-Test-Id: {mark}", "Transfer-Encoding: chunked", "Trailer: X-T")
    ask(address, data + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n")
    seen = recorder.wait_for(mark)
    assert seen.body_read.trailers == ()
    assert not {"x-t", "trailer"} & set(seen.names)
