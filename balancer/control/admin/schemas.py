"""schemas: the shapes of the admin API's answers as JSON Schema, for the OpenAPI document and its tests."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": sorted(properties), "properties": properties}


def _list(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_SOON: Schema = {"type": ["number", "null"], "minimum": 0}
# Of a drill: as patterns, so that whoever reads the description alone sends nothing that is refused.
_SPAN = "^(?:[1-9][0-9]{2,5}ms|[1-9][0-9]{0,2}s|(?:[1-9]|[1-5][0-9]|60)m|1h)$"
_BEFORE = "^(?:[0-9]{1,4}ms|(?:[0-9]|[1-5][0-9]|60)s|[01]m)$"
_TRUTH: Schema = {"type": "boolean"}
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_PERCENT: Schema = {"type": "number", "minimum": 0, "maximum": 100, "description": "percent of the group's traffic"}
_MAYBE: Schema = {"type": ["boolean", "null"]}
_WEIGHT: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": 1000}
_STATE: Schema = {"enum": ["unknown", "healthy", "unhealthy", "ejected", "draining", "disabled"]}
_EVIDENCE: Schema = {"enum": ["none", "soft", "hard"]}

_TARGET: dict[str, Schema] = {
    "name": _TEXT,
    "address": _TEXT,
    "ip": {"type": "string", "description": "the address that is dialled; empty while its name does not resolve"},
    "zone": _TEXT,
    "weight": _COUNT,
    "effective_weight": {"type": "number", "description": "the weight, less while it starts slowly"},
    "state": _STATE,
    "since": _TIME,
    "reason": _TEXT,
    "detail": _TEXT,
    "evidence": _EVIDENCE,
    "active_requests": _COUNT,
    "configured_weight": _COUNT,
    "configured": {"enum": ["serve", "drain", "disabled"], "description": "what the configuration makes of it"},
    "drilled": {"type": "boolean", "description": "its zone is failed on purpose"},
    "order": {"oneOf": [{"type": "null"}, _ref("Order")]},
    "drain_until": {**_TIME, "description": "when requests that still run there are cut; null unless it drains"},
}

_TEXTS: Schema = {"type": "array", "items": _TEXT}
_REQUEST: dict[str, Schema] = {
    "request_id": _TEXT,
    "time": _TIME,
    "listener": _TEXT,
    "method": _TEXT,
    "host": _TEXT,
    "path": _TEXT,
    "status": {"type": "integer", "minimum": 0, "description": "0: the client got none"},
    "source": {"enum": ["upstream", "balancer"]},
    "reason": _TEXT,
    "target_group": _TEXT,
    "target": _TEXT,
    "zone": _TEXT,
    "duration_ms": _NUMBER,
    "queue_ms": _NUMBER,
    "connect_ms": _NUMBER,
    "first_byte_ms": _NUMBER,
    "bytes_in": _COUNT,
    "bytes_out": _COUNT,
    "retries": _COUNT,
    "upstream_status": _COUNT,
}

SCHEMAS: dict[str, Schema] = {
    "Status": _object(
        version=_TEXT,
        compiled=_TRUTH,
        config=_object(version=_COUNT, revision=_COUNT, hash=_TEXT, loaded_at=_TIME, last_reload=_ref("LastReload")),
        control=_object(pid=_COUNT, started_at=_TIME),
        workers=_list("Worker"),
        listeners={"type": "array", "items": _object(name=_TEXT, protocol=_TEXT, address=_TEXT)},
        target_groups=_list("TargetGroup"),
        discovery=_list("Name"),
        drill={"oneOf": [{"type": "null"}, _ref("Drill")], "description": "the drill that is not over yet"},
    ),
    "LastReload": _object(success=_TRUTH, at=_TIME, faults=_list("Fault")),
    "Fault": _object(file=_TEXT, line=_COUNT, column=_COUNT, path=_TEXT, message=_TEXT),
    "Name": _object(
        target_group=_TEXT,
        dns=_TEXT,
        addresses=_TEXTS,
        error={"type": "string", "description": "why the name does not resolve; empty if it does"},
        since={**_TIME, "description": "since when it does not resolve"},
    ),
    "Worker": _object(
        place=_COUNT,
        pid={"type": "integer", "minimum": 0, "description": "0 while the place is empty"},
        started_at=_TIME,
        restarts=_COUNT,
        revision=_COUNT,
        active_requests=_COUNT,
        connections=_COUNT,
    ),
    "TargetGroup": _object(
        name=_TEXT,
        policy=_TEXT,
        panic=_TRUTH,
        vanished={**_COUNT, "description": "addresses that discovery lost, counted in the totals of zones for 60 s"},
        zones={"type": "array", "items": _object(name=_TEXT, healthy=_COUNT, total=_COUNT, share=_PERCENT)},
        tiers={"type": "array", "items": _object(zones={"type": "array", "items": _TEXT}, share=_PERCENT)},
        targets=_list("Target"),
    ),
    "Target": _object(**_TARGET),
    "Order": {
        **_object(drain=_MAYBE, drain_since=_TIME, weight=_WEIGHT, weight_since=_TIME, asked_by_target=_TRUTH),
        "description": "what the operator, or the target itself, wants beside the configuration",
    },
    "Drills": _object(drills=_list("Drill")),
    "Drill": _object(
        id=_TEXT,
        zone=_TEXT,
        groups={"type": "array", "items": _TEXT},
        stage={"enum": ["before", "running", "returning", "done"]},
        asked_at=_TIME,
        began_at=_TIME,
        ended_at=_TIME,
        done_at=_TIME,
        for_s=_NUMBER,
        max_failures_percent=_NUMBER,
        end={"enum": ["time_over", "stopped", "guard_rail", "control_lost", None]},
        detail=_TEXT,
        left_s={**_SOON, "description": "from its begin to the last request that the zone was given"},
        empty_s={**_SOON, "description": "from its begin until nothing ran in the zone"},
        back_s={**_SOON, "description": "from its end to the zone's first request"},
        share_back_s={**_SOON, "description": "from its end until the zone had its share again"},
        phases=_ref("DrillPhases"),
        target_groups={"type": "array", "items": _object(name=_TEXT, phases=_ref("DrillPhases"))},
        left_out={"type": "integer", "minimum": 0, "description": "groups that had no room in the report"},
        summary=_TEXT,
    ),
    "DrillPhases": _object(
        before=_ref("DrillPhase"),
        during={"oneOf": [{"type": "null"}, _ref("DrillPhase")]},
        after={"oneOf": [{"type": "null"}, _ref("DrillPhase")]},
    ),
    "DrillPhase": _object(
        seconds=_NUMBER,
        requests=_COUNT,
        failures=_COUNT,
        reasons={"type": "object", "additionalProperties": _COUNT, "description": "failures by reason"},
        p50_ms=_SOON,
        p99_ms=_SOON,
        zones={"type": "object", "additionalProperties": _PERCENT, "description": "percent of the requests"},
    ),
    "DrillBegun": {
        "anyOf": [_ref("Drill"), _object(zone=_TEXT, allowed=_TRUTH, for_s=_NUMBER)],
        "description": "the drill, or with dry_run that it may begin",
    },
    "DrillRequest": {
        "type": "object",
        "required": ["zone"],
        "additionalProperties": False,
        "properties": {
            "zone": _TEXT,
            "group": {"type": "string", "description": "fail the zone in this target group only"},
            "for": {"type": "string", "pattern": _SPAN, "default": "60s", "description": "how long, 100ms to 1h"},
            "before": {
                "type": "string",
                "pattern": _BEFORE,
                "default": "5s",
                "description": "to watch before, up to 1m",
            },
            "max_failures": {"type": "number", "minimum": 0, "maximum": 100, "default": 1},
            "dry_run": {"type": "boolean", "default": False},
        },
    },
    "Weight": _object(weight={"type": "integer", "minimum": 0, "maximum": 1000}) | {"additionalProperties": False},
    "TargetDetail": _object(target_group=_TEXT, **_TARGET, probes=_list("Probe")),
    "Probe": _object(at=_TIME, result=_TEXT, detail=_TEXT, duration_ms=_NUMBER, body=_TEXT),
    "Config": _object(snapshot={"type": "object"}, version=_COUNT, hash=_TEXT, loaded_at=_TIME),
    "Outcome": _object(
        success=_TRUTH,
        version=_COUNT,
        changes=_list("Change"),
        faults=_list("Fault"),
        kept={"type": "array", "items": _TEXT},
    ),
    "Requests": _object(requests=_list("RequestLine"), kept=_ref("Kept")),
    "Kept": _object(recent=_COUNT, failed=_COUNT, lost=_COUNT, oldest_at=_TIME, oldest_failed_at=_TIME),
    "RequestLine": _object(**_REQUEST),
    "Request": _object(
        **_REQUEST,
        sentence={"type": "string", "description": "what became of it and why, for people"},
        open={"type": "boolean", "description": "it is still under way"},
        cut={"type": "boolean", "description": "host or path were longer than what was kept"},
        detail=_TEXT,
        place={"type": "integer", "minimum": 0, "description": "the worker place that served it"},
        config=_object(version=_COUNT, revision=_COUNT, known=_TRUTH),
        rule={"oneOf": [_object(name=_TEXT, index=_COUNT, action=_TEXT), {"type": "null"}]},
        nearest={"oneOf": [_object(name=_TEXT, index=_COUNT, why=_TEXT), {"type": "null"}]},
        rules={"type": "array", "items": _object(name=_TEXT, index=_COUNT, verdict=_TEXT, why=_TEXT)},
        policy=_TEXT,
        pick=_TEXT,
        tiers={"type": "array", "items": _object(zones=_TEXTS, share=_PERCENT, panic=_TRUTH)},
        target_count={**_COUNT, "description": "targets the group had; of more than about 200 the first are told"},
        targets={
            "type": "array",
            "items": _object(
                target=_TEXT,
                zone=_TEXT,
                state=_STATE,
                since=_TIME,
                weight=_NUMBER,
                in_rotation=_TRUTH,
                taken=_TRUTH,
                why=_TEXT,
            ),
        },
        try_count={
            **_COUNT,
            "description": "of more than four tries the first three and the last are told",
        },
        tries={
            "type": "array",
            "items": _object(
                number=_COUNT,
                target=_TEXT,
                zone=_TEXT,
                reason=_TEXT,
                start_ms={"type": "number", "description": "from the begin of the request"},
                connect_ms=_NUMBER,
                duration_ms=_NUMBER,
                reused=_TRUTH,
            ),
        },
    ),
    "Change": _object(
        kind={"enum": ["added", "removed", "changed"]},
        object=_TEXT,
        path=_TEXT,
        cost=_TEXT,
        fields={"type": "array", "items": _object(name=_TEXT, old=_TEXT, new=_TEXT)},
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details",
        "required": ["type", "title", "status", "detail"],
        "properties": {"type": _TEXT, "title": _TEXT, "status": _COUNT, "detail": _TEXT, "faults": _list("Fault")},
    },
}
