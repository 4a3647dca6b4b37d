"""`health_check:` the probes of a target group."""

from __future__ import annotations

from typing import Annotated

from balancer.config.fields import WRITTEN, Duration, Text, one_of, option, time, whole
from balancer.config.http_words import Method, ProbeHeaderName, SentValue, Statuses, UrlPath
from balancer.config.later import CHECK_TYPES
from balancer.config.sections.section import Section
from balancer.model import snapshot as model
from balancer.model.names import CheckType

_D = model.HealthCheck()
Type = Annotated[CheckType, one_of(CheckType, later=CHECK_TYPES)]
Threshold = Annotated[int, whole(1, 100)]


class HealthCheck(Section):
    """Probes of every target; `health_check: off` makes none. Without the key: tcp with these values."""

    short = "{{type: http, path: {}}}"

    type: Type = option(_D.type, "tcp connects; http asks for path and looks at the status.", "http")
    path: UrlPath = option(_D.path, "What an http check asks for.", "/healthz")
    method: Method = option(_D.method, "The method of an http check.", "HEAD")
    host: Text = option(_D.host, "The Host of an http check; left out: the target's address.", "app.example.com")
    headers: dict[ProbeHeaderName, SentValue] = option({}, "Further header fields of an http check.", {"x-probe": "1"})
    interval: Duration = time(_D.interval, "From one probe of a target to the next, give or take a tenth.", "2s")
    timeout: Duration = time(_D.timeout, "For the whole probe.", "1s")
    unhealthy_threshold: Threshold = option(_D.unhealthy_threshold, "Failed probes in a row that take a target out.", 2)
    healthy_threshold: Threshold = option(_D.healthy_threshold, "Good probes in a row that bring it back.", 3)
    fast_interval: Annotated[Duration | None, WRITTEN] = option(
        None, "The interval while a target is about to change; left out: 1s, or interval if that is less.", "500ms"
    )
    unhealthy_interval: Annotated[Duration | None, WRITTEN] = option(
        None, "The interval of an unhealthy target; left out: interval.", "10s"
    )
    expected_statuses: Statuses = option(
        _D.expected_statuses, "Statuses of a healthy target; redirects are not followed.", "200-299"
    )
    expect_body: Text = option(
        _D.expect_body, "What the body must hold: text in its first 64 KiB, or ~regex in its first 8 KiB.", "ok"
    )
    port: Annotated[int, whole(0, 65535)] = option(_D.port, "The port to probe; 0 is the target's own.", 8081)
