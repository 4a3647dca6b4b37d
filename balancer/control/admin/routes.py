"""routes: the one table of what the admin server answers; router, OpenAPI document and tests read it."""

from __future__ import annotations

from dataclasses import dataclass

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"
MOST_REQUESTS = 1000  # in one list


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `schema` names its answer in `schemas`, `body` what it is sent, if anything.

    `statuses`: what else it may answer, with why.
    """

    method: str
    path: str
    name: str
    summary: str
    media: str = JSON
    schema: str = ""
    statuses: tuple[tuple[int, str], ...] = ()
    body: str = ""
    query: tuple[tuple[str, str], ...] = ()  # what may be asked for behind a `?`, with what it means


_TARGET = "/api/v1/target_groups/{group}/targets/{target}"
_NO_TARGET = (404, "there is no such target")
_STANDS = (409, "the configuration disables the target, or it is leaving")

ROUTES: tuple[Route, ...] = (
    Route("GET", "/", "page", "The state of things as a page for people", HTML),
    Route("GET", "/metrics", "metrics", "Every metric, for Prometheus (text or OpenMetrics, by Accept)", TEXT),
    Route("GET", "/healthz", "healthz", "Whether the control process lives", TEXT),
    Route(
        "GET",
        "/readyz",
        "readyz",
        "Whether every listener is served and the targets were checked",
        TEXT,
        statuses=((503, "not ready, or stopping; the body says why"),),
    ),
    Route("GET", "/api/v1/status", "status", "What runs: workers, listeners, target groups, targets", schema="Status"),
    Route(
        "GET",
        _TARGET,
        "target",
        "One target with its last 20 probes, newest first",
        schema="TargetDetail",
        statuses=(_NO_TARGET,),
    ),
    Route(
        "POST",
        f"{_TARGET}/drain",
        "drain",
        "Give a target no new requests; those that run may finish within the group's drain_timeout",
        schema="TargetDetail",
        statuses=(_NO_TARGET, _STANDS),
    ),
    Route(
        "POST",
        f"{_TARGET}/undrain",
        "undrain",
        "Let a target serve again, after its next good check",
        schema="TargetDetail",
        statuses=(_NO_TARGET, _STANDS),
    ),
    Route(
        "PUT",
        f"{_TARGET}/weight",
        "weigh",
        "Give a target another weight than the configuration does",
        schema="TargetDetail",
        statuses=((400, "the body is not a weight"), _NO_TARGET),
        body="Weight",
    ),
    Route(
        "DELETE",
        f"{_TARGET}/weight",
        "unweigh",
        "Give a target the weight of the configuration again",
        schema="TargetDetail",
        statuses=(_NO_TARGET,),
    ),
    Route(
        "GET",
        "/api/v1/requests",
        "requests",
        "The last requests, newest first",
        schema="Requests",
        statuses=((400, "a limit that is no number, or out of range"),),
        query=(("failed", "1: only those that failed"), ("limit", "how many, 1 to 1000 (20)")),
    ),
    Route(
        "GET",
        "/api/v1/requests/{id}",
        "request",
        "Why one of the last requests went where it went",
        schema="Request",
        statuses=((404, "it is not among the last requests"),),
    ),
    Route("GET", "/api/v1/drills", "drills", "The last 20 drills, newest first", schema="Drills"),
    Route(
        "POST",
        "/api/v1/drills",
        "begin_drill",
        "Fail a zone on purpose for a set time; with dry_run say only whether it may be",
        schema="DrillBegun",
        statuses=(
            (400, "the body is no wish for a drill"),
            (404, "no target is in that zone"),
            (409, "the rest could not carry the load, or another drill runs; `refusals` says why, with numbers"),
        ),
        body="DrillRequest",
    ),
    Route(
        "GET",
        "/api/v1/drills/{id}",
        "drill",
        "One drill, with its figures so far or its report",
        schema="Drill",
        statuses=((404, "no such drill is kept"),),
    ),
    Route(
        "POST",
        "/api/v1/drills/{id}/stop",
        "stop_drill",
        "Let the zone of the drill that runs serve again",
        schema="Drill",
        statuses=((404, "no such drill is kept"), (409, "it is over already")),
    ),
    Route("GET", "/api/v1/config", "config", "The configuration that runs, secrets masked", schema="Config"),
    Route(
        "POST",
        "/api/v1/reload",
        "reload",
        "Read the configuration anew and apply it, or say what is wrong with it",
        schema="Outcome",
        statuses=(
            (422, "the configuration has faults; nothing has changed"),
            (503, "the balancer is stopping, or a worker did not answer"),
        ),
    ),
    Route("GET", "/api/v1/openapi.json", "openapi", "This description"),
)
