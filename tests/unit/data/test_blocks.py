"""Header blocks of requests: what is kept, dropped and written anew, and every refusal with its reason."""

from __future__ import annotations

import pytest

from balancer.data.http.fields import CHUNKED, MAX_LENGTH, MAX_LINE, Bad, Lines
from balancer.data.http.request_block import MAX_FIELDS, Block, read_block
from balancer.model.reason import Reason


def read(*lines: bytes, trusted: bool = False, wanted: frozenset[str] = frozenset()) -> Block:
    return read_block(
        b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n", Lines(), trusted=trusted, wanted=wanted
    )


def passed_on(*lines: bytes, trusted: bool = False) -> list[bytes]:
    """Return the lines that go to the target beside those every block has."""
    ours = (b"Host:", b"X-Forwarded-Host:", b"X-Balancer-Hops:")
    return [
        line for line in read(b"Host: a", *lines, trusted=trusted).out.split(b"\r\n")[:-1] if not line.startswith(ours)
    ]


# Framing: (line, …) → reason; every row of the tables of faults

CONFLICTS = [
    (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Content-Length: 3"),
    (b"Content-Length: 3", b"Content-Length: 3"),
    (b"Content-Length: 3", b"Content-Length: 4"),
    *(
        (b"Content-Length: " + value,)
        for value in (
            b"3, 3",
            b"3,3",
            b"5 6",
            b"+5",
            b"-5",
            b"0x5",
            b"5_0",
            b"1e1",
            b"",
            b"a",
            b"5.0",
            b"\xb5",
            b"9" * 20,
            b"%d" % (MAX_LENGTH + 1),
            b"0" * 20,
        )
    ),
    *(
        (b"Transfer-Encoding: " + value,)
        for value in (
            b",chunked",
            b"chunked,",
            b"chunked, chunked",
            b'"chunked"',
            b"chunked;q=1",
            b"chunked\t",
            b"\tchunked",
            b"",
            b"chunked, , gzip",
            b"chunked chunked",
            b"chunked\xa0",
            b"\xffchunked",
        )
    ),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
    (b"Transfer-Encoding: gzip", b"Content-Length: 3"),
]


@pytest.mark.parametrize("lines", CONFLICTS)
def test_a_length_that_can_be_read_in_two_ways_is_a_framing_conflict(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Bad) as refused:
        read(b"Host: a", *lines)
    assert refused.value.reason is Reason.FRAMING_CONFLICT
    assert refused.value.detail


@pytest.mark.parametrize(
    "coding", [b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"xchunked", b"chunked, identity"]
)
def test_a_coding_other_than_chunked_is_unsupported(coding: bytes) -> None:
    with pytest.raises(Bad) as refused:
        read(b"Host: a", b"Transfer-Encoding: " + coding)
    assert refused.value.reason is Reason.UNSUPPORTED_CODING


@pytest.mark.parametrize(
    ("line", "length", "out"),
    [
        (b"Content-Length: 0", 0, b"Content-Length: 0"),
        (b"Content-Length: 0042", 42, b"Content-Length: 42"),
        (b"content-length:7 ", 7, b"Content-Length: 7"),
        (b"Content-Length: %d" % MAX_LENGTH, MAX_LENGTH, b"Content-Length: %d" % MAX_LENGTH),
        (b"Transfer-Encoding: chunked", CHUNKED, b"Transfer-Encoding: chunked"),
        (b"transfer-encoding:  ChunkeD ", CHUNKED, b"Transfer-Encoding: chunked"),
        (b"X: y", 0, b"X: y"),
    ],
)
def test_a_length_is_written_anew_from_what_was_read(line: bytes, length: int, out: bytes) -> None:
    assert read(b"Host: a", line).length == length
    assert passed_on(line) == [out]


@pytest.mark.parametrize(
    "line",
    [
        b" folded: no",
        b"\tfolded",
        b"no colon",
        b"Name : v",
        b"Name\t: v",
        b": v",
        b"Na me: v",
        b"N\xc3me: v",
        b"X-Invalid[]: v",
        b"X: a\x00b",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"X: a\rb",
        b"X: a\nb",
        b"X: \x0b",
        b"",
        b"X: a\x1bb",
        b"\x00: v",
    ],
)
def test_a_malformed_header_line_is_refused(line: bytes) -> None:
    with pytest.raises(Bad) as refused:
        read(b"Host: a", line, b"Y: z")
    assert refused.value.reason is Reason.BAD_HEADER
    assert refused.value.detail


@pytest.mark.parametrize(
    "lines",
    [
        (b"Host: a", b"Host: a"),
        (b"Host: a", b"host: b"),
        *(
            (b"Host:" + value,)
            for value in (
                b"",
                b" ",
                b" a b",
                b" a/b",
                b" u@a",
                b" a, b",
                b" a:99999",
                b" a:b",
                b" [::1",
                b" [zz]",
                b" a?",
                b" .a",
                b" a..b",
                b" \xe9",
                b" a#",
                b" " + b"a" * 300,
            )
        ),
    ],
)
def test_a_host_that_is_none_or_two_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Bad) as refused:
        read(*lines)
    assert refused.value.reason is Reason.BAD_HOST


@pytest.mark.parametrize(
    ("host", "key"),
    [
        (b"A.Test", "a.test"),
        (b"a.test:8080", "a.test"),
        (b"a.test.", "a.test"),
        (b"[0:0::1]:80", "[::1]"),
        (b"10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_host_is_matched_in_one_form_and_passed_as_it_came(host: bytes, key: str) -> None:
    block = read(b"Host: " + host)
    assert block.host == key
    assert block.out.startswith(b"Host: " + host + b"\r\nX-Forwarded-Host: " + host + b"\r\n")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((b"Expect: 200-ok",), Reason.EXPECTATION_FAILED),
        ((b"Expect: 100-continue, x",), Reason.EXPECTATION_FAILED),
        ((b"Expect:",), Reason.EXPECTATION_FAILED),
        ((b"Connection: " + b",".join([b"a"] * 17),), Reason.BAD_HEADER),
        ((b"X-Balancer-Hops: 10",), Reason.LOOP_DETECTED),
        ((b"X-Balancer-Hops: 99999",), Reason.LOOP_DETECTED),
        (tuple(b"X-%d: y" % i for i in range(MAX_FIELDS)), Reason.HEADER_TOO_LARGE),
        ((b"X: " + b"y" * MAX_LINE,), Reason.HEADER_TOO_LARGE),
    ],
)
def test_what_goes_beyond_a_limit_is_refused_with_its_own_reason(lines: tuple[bytes, ...], reason: Reason) -> None:
    with pytest.raises(Bad) as refused:
        read(b"Host: a", *lines)
    assert refused.value.reason is reason


def test_as_many_fields_as_allowed_are_served() -> None:
    assert len(passed_on(*(b"X-%d: y" % i for i in range(MAX_FIELDS - 1)))) == MAX_FIELDS - 1


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ((b"Accept: x", b"accept: y"), [b"Accept: x", b"accept: y"]),
        ((b"B: 1", b"A: 2", b"B: 3"), [b"B: 1", b"A: 2", b"B: 3"]),
        ((b"X: caf\xc3\xa9\xff",), [b"X: caf\xc3\xa9\xff"]),
        ((b"Connection: close", b"Keep-Alive: 5", b"Proxy-Connection: x", b"TE: trailers", b"Trailer: X"), []),
        ((b"Proxy-Authenticate: x", b"Proxy-Authorization: y", b"Upgrade: h2c"), []),
        ((b"Connection: X-Drop, keep-alive", b"X-Drop: 1", b"x-drop: 2", b"X-Keep: 3"), [b"X-Keep: 3"]),
        (
            (
                b"Connection: Cookie, Authorization, Host, Cache-Control",
                b"Cookie: c",
                b"Authorization: a",
                b"Cache-Control: n",
            ),
            [b"Cookie: c", b"Authorization: a", b"Cache-Control: n"],
        ),
        ((b"Connection: Content-Length", b"Content-Length: 3"), [b"Content-Length: 3"]),
        (
            (
                b"X-Forwarded-For: 1.2.3.4",
                b"X-Forwarded-Proto: https",
                b"X-Forwarded-Prefix: /x",
                b"X-Real-IP: 1.2.3.4",
            ),
            [],
        ),
        ((b"Forwarded: for=1.2.3.4", b"True-Client-IP: 1", b"CF-Connecting-IP: 2", b"X-Client-IP: 3"), []),
        (
            (b"Content_Length: 3", b"Transfer_Encoding: chunked", b"X_Forwarded_For: 1", b"X_Real_IP: 2", b"Host_: a"),
            [b"Host_: a"],
        ),
        ((b"X-Request-ID: forged-by-client",), []),
        ((b"X-Balancer-Hops: 3",), []),
        ((b"Expect: 100-continue",), []),
        ((b"traceparent: 00-x",), [b"traceparent: 00-x"]),
    ],
)
def test_an_untrusted_client_passes_end_to_end_fields_only_in_their_order(
    lines: tuple[bytes, ...], left: list[bytes]
) -> None:
    assert passed_on(*lines) == left


def test_a_trusted_peer_is_believed() -> None:
    block = read(
        b"Host: a",
        b"X-Forwarded-For: 1.1.1.1, 2.2.2.2",
        b"X-Forwarded-For: 3.3.3.3",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: outer",
        b"X-Request-ID: abcdef-12",
        trusted=True,
    )
    assert block.forwarded_for == (b"1.1.1.1", b"2.2.2.2", b"3.3.3.3")
    assert block.seen == {b"x-forwarded-proto", b"x-forwarded-host"}
    assert block.request_id == b"abcdef-12"
    assert b"X-Forwarded-Host: outer\r\n" in block.out and b"X-Forwarded-Host: a\r\n" not in block.out
    assert b"X-Forwarded-For" not in block.out  # that line is the connection's
    assert not block.plain


@pytest.mark.parametrize(
    "value", [b"short", b"a" * 129, b"has space", b"semi;colon", b"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"]
)
def test_a_request_id_of_a_trusted_peer_must_look_like_one(value: bytes) -> None:
    assert read(b"Host: a", b"X-Request-ID: " + value, trusted=True).request_id == b""


@pytest.mark.parametrize(
    "lines", [(b"X-Forwarded-For: " + b", ".join([b"1.1.1.1"] * 31),), (b"X-Forwarded-For: " + b"1" * 4097,)]
)
def test_a_chain_of_proxies_is_bounded(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Bad) as refused:
        read(b"Host: a", *lines, trusted=True)
    assert refused.value.reason is Reason.BAD_HEADER


@pytest.mark.parametrize(
    ("value", "hops"), [(b"", b"1"), (b"4", b"5"), (b"-1", b"1"), (b"x", b"1"), (b"999999", b"1"), (b"9", b"10")]
)
def test_each_balancer_counts_a_hop(value: bytes, hops: bytes) -> None:
    assert read(b"Host: a", b"X-Balancer-Hops: " + value).out.endswith(b"X-Balancer-Hops: " + hops + b"\r\n")


@pytest.mark.parametrize(
    ("lines", "keep", "upgrade"),
    [
        ((), None, b""),
        ((b"Connection: close",), False, b""),
        ((b"Connection: Keep-Alive",), True, b""),
        ((b"Connection: keep-alive, close",), False, b""),
        ((b"Connection: keep-alive", b"Connection: CLOSE"), False, b""),
        ((b"Connection: Upgrade", b"Upgrade: WebSocket"), None, b"websocket"),
        ((b"Upgrade: websocket",), None, b""),
        ((b"Connection: Upgrade",), None, b""),
    ],
)
def test_connection_says_what_happens_to_the_connection(
    lines: tuple[bytes, ...], keep: bool | None, upgrade: bytes
) -> None:
    block = read(b"Host: a", *lines)
    assert (block.keep, block.upgrade) == (keep, upgrade)


@pytest.mark.parametrize(
    ("lines", "plain"),
    [
        ((b"Host: a",), True),
        ((b"Host: a", b"Connection: keep-alive"), True),
        ((b"Host: a", b"Content-Length: 0"), True),
        ((), False),
        ((b"Host: a", b"Content-Length: 1"), False),
        ((b"Host: a", b"Transfer-Encoding: chunked"), False),
        ((b"Host: a", b"Connection: close"), True),
        ((b"Host: a", b"Connection: upgrade", b"Upgrade: websocket"), False),
        ((b"Host: a", b"Expect: 100-continue"), False),
    ],
)
def test_a_block_with_a_body_or_a_question_is_not_plain(lines: tuple[bytes, ...], plain: bool) -> None:
    assert read(*lines).plain is plain


def test_fields_that_rules_look_at_are_joined_and_part_of_the_route() -> None:
    wanted = frozenset({"x-beta", "cookie"})
    block = read(b"Host: a", b"X-Beta: 1", b"x-beta: 2", b"Other: 3", wanted=wanted)
    assert block.values == {"x-beta": "1, 2"}
    assert block.route_key != read(b"Host: a", b"X-Beta: 1", wanted=wanted).route_key
    assert block.route_key == read(b"Host: a", b"X-Beta: 1, 2", b"Other: 4", wanted=wanted).route_key


@pytest.mark.parametrize(
    ("value", "count", "out"),
    [
        (b"0", 0, b"Max-Forwards: 0"),
        (b"7", 7, b"Max-Forwards: 6"),
        (b"x", None, b"Max-Forwards: x"),
        (b"-1", None, b"Max-Forwards: -1"),
    ],
)
def test_max_forwards_is_counted_down(value: bytes, count: int | None, out: bytes) -> None:
    block = read(b"Host: a", b"Max-Forwards: " + value)
    assert block.max_forwards == count
    if count:
        block = block.one_hop_less()
    assert out in block.out.split(b"\r\n")


def test_a_line_seen_before_means_what_it_meant() -> None:
    lines = Lines(limit=2)
    for _ in range(3):
        assert lines.read(b"A: 1")[:2] == (b"a", b"1")
        assert lines.read(b"B:2 ")[:2] == (b"b", b"2")
        assert lines.read(b"C:\t3")[:2] == (b"c", b"3")  # the full table starts anew
    assert len(lines.known) <= 2 and lines.plain <= set(lines.known)
    lines.read(b"Long: " + b"x" * 600)
    assert all(len(line) <= 512 for line in lines.known)
