"""One failure, one word: the same reason in the header, the body, the access log and the metric."""

from __future__ import annotations

import re
from typing import Any

from tests.support.balancer import Balancer
from tests.support.raw import Response
from tests.support.waiting import wait_for

# Source: RFC 9209 section 2.3, as the field notes assign them to the reasons
RFC_9209 = {
    "rate_limited": "http_request_denied",
    "ip_connection_limit": "http_request_denied",
    "denied": "http_request_denied",
    "no_rule": "destination_not_found",
    "loop_detected": "proxy_loop_detected",
    "no_targets": "destination_not_found",
    "config_error": "proxy_configuration_error",
    "no_healthy_target": "destination_unavailable",
    "queue_full": "connection_limit_reached",
    "queue_timeout": "connection_limit_reached",
    "connect_refused": "connection_refused",
    "connect_unreachable": "destination_ip_unroutable",
    "connect_timeout": "connection_timeout",
    "upstream_tls_failed": "tls_protocol_error",
    "upstream_tls_untrusted": "tls_certificate_error",
    "no_local_resources": "proxy_internal_error",
    "upstream_closed": "connection_terminated",
    "upstream_reset": "connection_terminated",
    "upstream_write_timeout": "connection_write_timeout",
    "response_timeout": "http_response_timeout",
    "request_timeout": "http_response_timeout",
    "bad_response": "http_protocol_error",
    "response_header_too_large": "http_response_header_section_size",
    "upgrade_failed": "http_upgrade_failed",
    "target_removed": "connection_terminated",
    "overloaded": "proxy_internal_response",
    "shutting_down": "proxy_internal_response",
    "internal_error": "proxy_internal_error",
}
_PROXY_STATUS = re.compile(r'balancer; error=([a-z_]+); details="([a-z_0-9]+)"')


def reason_of(response: Response) -> str:
    """Return the reason word of a response that the balancer made itself; empty when there is none."""
    match = _PROXY_STATUS.fullmatch(response.get("proxy-status") or "")
    return match[2] if match else ""


def expect_refusal(response: Response, status: int, reason: str, method: str = "GET") -> str:
    """Assert what a client sees of a failure: status, Proxy-Status, body and fields; return the request id."""
    seen = f"{response.status} {response.get('proxy-status')} {response.body[:300]!r}"
    assert (response.status, reason_of(response)) == (status, reason), f"wanted {status} {reason}, got {seen}"
    match = _PROXY_STATUS.fullmatch(response.get("proxy-status") or "")
    assert match is not None
    assert match[1] == RFC_9209.get(reason, "http_request_error"), seen
    request_id = response.get("x-request-id")
    assert request_id and re.fullmatch(r"[A-Za-z0-9._-]{8,128}", request_id), seen
    for name in ("date", "server", "content-length", "content-type"):
        assert response.get(name) is not None, f"no {name}: {response.head.raw!r}"
    assert response.get("cache-control") == "no-store", seen
    if status in (429, 503):
        assert re.fullmatch(r"[0-9]+", response.get("retry-after") or ""), f"no Retry-After: {response.head.raw!r}"
    if method == "HEAD":
        return request_id
    assert response.complete, seen
    kind = (response.get("content-type") or "").partition(";")[0]
    if kind == "application/problem+json":
        problem = response.json()
        assert problem["status"] == status, seen
        assert problem["reason"] == reason, seen
        assert problem["request_id"] == request_id, seen
        assert {"type", "title", "detail"} <= problem.keys(), seen
    else:
        assert kind == "text/plain", seen
        text = response.body.decode()
        assert text.count("\n") <= 1, seen
        assert reason in text, seen
        assert request_id in text, seen
        assert str(status) in text, seen
    return request_id


def expect_failure(
    response: Response, balancer: Balancer, reason: str, status: int, *, times: int = 1, method: str = "GET"
) -> dict[str, Any]:
    """Assert a failure everywhere it shows; return its access-log line.

    The metric must have risen by exactly `times` since `balancer.mark()` (which every test begins with); pass 0 to
    leave it to a later call.
    """
    line = balancer.logged(expect_refusal(response, status, reason, method))
    assert (line["status"], line["source"], line["reason"]) == (status, "balancer", reason), line
    if times:
        expect_counted(balancer, reason, times)
    return line


def expect_counted(balancer: Balancer, reason: str, times: int = 1) -> None:
    """Assert that `failures_total` of a reason has risen by exactly `times` since `balancer.mark()`."""
    before = balancer.baseline.sum("failures_total", reason=reason)
    wait_for(
        lambda: balancer.metrics().sum("failures_total", reason=reason) >= before + times,
        2.0,
        f"failures_total{{reason={reason}}} rises by {times}",
    )
    after = balancer.metrics().sum("failures_total", reason=reason)
    assert after == before + times, f"{reason} counted {after - before} times instead of {times}"
