"""Answers of our own: what every one of them carries."""

from __future__ import annotations

import json

import pytest

from balancer.data.http import replies
from balancer.model.reason import REASONS, Reason
from tests.support import http1

ANSWERED = [reason for reason in REASONS if reason.status and reason is not Reason.CLIENT_CLOSED]


def made(reason: Reason = Reason.NO_RULE, **changes: object) -> tuple[http1.Head, bytes]:
    settings: dict[str, object] = {"request_id": "id-1", "as_json": True, "is_head": False, "close": False}
    status, data = replies.failure(reason, **(settings | changes))  # type: ignore[arg-type]
    head, _, body = data.partition(b"\r\n\r\n")
    parsed = http1.response_head(head + b"\r\n\r\n")
    assert int(parsed.start[0]) == status
    return parsed, body


@pytest.mark.parametrize("reason", ANSWERED, ids=lambda reason: reason.word)
def test_a_failure_says_its_word_in_the_head_and_in_the_body(reason: Reason) -> None:
    head, body = made(reason)
    assert int(head.start[0]) == reason.status and head.start[1]
    assert head.get("proxy-status") == f'balancer; error={reason.error}; details="{reason.word}"'.encode()
    assert head.get("x-request-id") == b"id-1"
    assert head.get("content-type") == b"application/problem+json"
    assert head.get("content-length") == b"%d" % len(body)
    assert head.get("cache-control") == b"no-store" and head.get("server") == b"balancer" and head.get("date")
    problem = json.loads(body)
    assert list(problem) == ["type", "title", "status", "detail", "reason", "request_id"]
    assert (problem["status"], problem["reason"], problem["request_id"]) == (reason.status, reason.word, "id-1")
    assert problem["detail"] == reason.sentence
    assert (head.get("retry-after") == b"1") == (reason.status in (429, 503))


def test_a_line_of_text_for_who_wants_no_json() -> None:
    head, body = made(as_json=False)
    assert head.get("content-type") == b"text/plain; charset=utf-8"
    assert body == b"404 no_rule: no rule of this listener matches the request (request id-1)\n"


@pytest.mark.parametrize(
    ("accept", "json_"),
    [
        ("", True),
        ("*/*", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("Application/*;q=0.5", True),
        ("text/html", False),
        ("text/html, */*;q=0.8", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("image/png", False),
        ("image/png, application/json", True),
        ("text/*, application/json", True),
    ],
)
def test_what_a_client_accepts_decides_the_form(accept: str, json_: bool) -> None:
    assert replies.wants_json(accept) is json_


@pytest.mark.parametrize(
    ("lines", "accept"),
    [
        (b"Host: a\r\nAccept: text/html\r\nX: y\r\n", "text/html"),
        (b"accept:x\r\n", "x"),
        (b"X-Accept: y\r\nHost: a\r\n", ""),
        (b"", ""),
    ],
)
def test_the_accept_header_is_found_among_the_lines(lines: bytes, accept: str) -> None:
    assert replies.accept_of(lines) == accept


def test_a_head_request_gets_the_head_alone() -> None:
    head, body = made(is_head=True)
    assert body == b"" and int(head.get("content-length") or 0) > 0


@pytest.mark.parametrize(
    ("close", "keep_alive", "said"), [(True, False, b"close"), (False, True, b"keep-alive"), (False, False, None)]
)
def test_an_answer_says_what_happens_to_the_connection(close: bool, keep_alive: bool, said: bytes | None) -> None:
    assert made(close=close, keep_alive=keep_alive)[0].get("connection") == said


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none_and_no_length(status: int) -> None:
    data = replies.answer(status, "text/plain", b"body", request_id="i", is_head=False, close=False)
    assert data.endswith(b"\r\n\r\n") and b"Content-Length" not in data and b"Content-Type" not in data


def test_further_headers_are_said_and_an_unknown_status_has_an_empty_phrase() -> None:
    data = replies.answer(
        299, "", b"", request_id="i", is_head=False, close=False, headers=(("Location", "http://a/é"),)
    )
    head = http1.response_head(data)
    assert head.start == (b"299", b"") and head.get("location") == b"http://a/\xe9"
