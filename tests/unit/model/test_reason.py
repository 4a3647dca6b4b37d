"""Reasons: one word, one status, one sentence each; and the closed sets of words."""

from __future__ import annotations

import re

import pytest

from balancer.model.names import EVIDENCES, STATES, Evidence, ProbeResult, State
from balancer.model.reason import REASON_CODES, REASONS, Reason

# The errors of RFC 9209, section 2.3, and "-" where nobody is answered.
ERRORS = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
    "-",
}


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.word)
def test_a_reason_is_a_word_a_status_an_error_and_a_sentence(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", reason.word)
    assert reason.error in ERRORS
    assert reason.status == 0 or 400 <= reason.status <= 599
    assert (reason.sentence and reason.sentence[0].islower()) or reason.sentence.startswith(("TLS", "HTTP", "X-"))
    assert not reason.sentence.endswith(".")
    assert REASONS[REASON_CODES[reason]] is reason


def test_no_word_stands_twice() -> None:
    assert len(REASONS) == len({reason.word for reason in REASONS})


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.CONNECT_REFUSED, 502),
        (Reason.CONNECT_TIMEOUT, 504),
        (Reason.NO_HEALTHY_TARGET, 503),
        (Reason.NO_TARGETS, 503),
        (Reason.QUEUE_FULL, 503),
        (Reason.RESPONSE_TIMEOUT, 504),
        (Reason.UPSTREAM_RESET, 502),
        (Reason.BAD_RESPONSE, 502),
        (Reason.NO_LOCAL_RESOURCES, 503),
        (Reason.SHUTTING_DOWN, 503),
        (Reason.NO_RULE, 404),
        (Reason.CLIENT_CLOSED, 499),
        (Reason.HEADER_TOO_LARGE, 431),
        (Reason.URI_TOO_LONG, 414),
        (Reason.UNSUPPORTED_VERSION, 505),
        (Reason.INTERNAL_ERROR, 500),
    ],
)
def test_503_did_not_try_502_tried_504_waited(reason: Reason, status: int) -> None:
    assert reason.status == status


def test_the_order_of_what_lies_in_shared_memory_does_not_change() -> None:
    """Append, never insert: a control process that starts anew reads what an older one wrote."""
    assert [state.value for state in STATES] == ["unknown", "healthy", "unhealthy", "ejected", "draining", "disabled"]
    assert [evidence.value for evidence in EVIDENCES] == ["none", "soft", "hard"]
    assert [STATES[state.code] for state in State] == list(State)
    assert [EVIDENCES[evidence.code] for evidence in Evidence] == list(Evidence)
    assert [REASON_CODES[reason] for reason in (Reason.BAD_REQUEST, Reason.CLIENT_CLOSED, Reason.RESCUE)] == [0, 21, 56]


@pytest.mark.parametrize(
    ("result", "evidence"),
    [
        (ProbeResult.OK, Evidence.NONE),
        (ProbeResult.REFUSED, Evidence.HARD),
        (ProbeResult.UNREACHABLE, Evidence.HARD),
        (ProbeResult.NAME_NOT_FOUND, Evidence.HARD),
        (ProbeResult.TIMEOUT, Evidence.SOFT),
        (ProbeResult.BAD_STATUS, Evidence.SOFT),
        (ProbeResult.BAD_BODY, Evidence.SOFT),
        (ProbeResult.TLS_FAILED, Evidence.SOFT),
        (ProbeResult.BAD_PROTOCOL, Evidence.SOFT),
    ],
)
def test_a_probe_proves_more_or_less(result: ProbeResult, evidence: Evidence) -> None:
    assert result.evidence is evidence
