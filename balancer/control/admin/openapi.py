"""openapi: the OpenAPI 3.1 document of the admin API, made of the routes and the schemas. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from balancer.control.admin.guard import SAFE
from balancer.control.admin.problems import MEDIA
from balancer.control.admin.routes import JSON, MOST_REQUESTS, Route
from balancer.control.admin.schemas import SCHEMAS
from balancer.control.admin.tags import ONE

_PARAMETER = re.compile(r"{(\w+)}")
_EVERYWHERE = (
    (400, "this is not a request that can be read"),
    (401, "the token is missing or wrong"),
    (403, "the Host or Origin of the request leads elsewhere"),
)
_WRITES = (
    (408, "the body did not come in time"),
    (412, "what If-Match named has changed since"),
    (413, "the body is too large"),
)
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of what was read before: the change is made only if nobody else made one meanwhile.",
    "schema": {"anyOf": [{"const": "*"}, {"type": "string", "pattern": ONE}]},
    "example": "*",
}
_QUERY = {"limit": {"type": "integer", "minimum": 1, "maximum": MOST_REQUESTS}}
_ETAG = {"ETag": {"description": "Stands for what a write here could undo.", "schema": {"type": "string"}}}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "balancer admin API",
            "version": version,
            "summary": "What runs, how it is, and taking over another configuration",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{route.schema}"} if route.schema else {}
    if route.media != JSON:
        schema = {"type": "string"}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {"200": {"description": "as asked", "content": {route.media: {"schema": schema}}}},
    }
    writes = route.method not in SAFE
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": _QUERY.get(name, {"type": "string"})}
        for name, meaning in route.query
    ]
    if writes:
        parameters.append(_IF_MATCH)
        operation["responses"]["200"]["headers"] = _ETAG
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        sent = {"schema": {"$ref": f"#/components/schemas/{route.body}"}}
        operation["requestBody"] = {"required": True, "content": {JSON: sent}}
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for status, why in sorted(dict((*_EVERYWHERE, *(_WRITES if writes else ()), *route.statuses)).items()):
        operation["responses"][str(status)] = {"description": why, "content": {MEDIA: problem}}
    return operation
