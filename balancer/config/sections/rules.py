"""`rules:` what a request must look like, and what is done with it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from balancer.config.fields import OFF, WRITTEN, Lines, Name, Text, needed, off_option, option, whole, wrong
from balancer.config.http_words import (
    HeaderName,
    HeaderValue,
    HostPattern,
    Location,
    Method,
    PathPattern,
    RedirectStatus,
    SentValue,
)
from balancer.config.sections.rate_limit import RateLimit
from balancer.config.sections.section import Section
from balancer.model import snapshot as model

_REDIRECT = model.Redirect("")
_FIXED = model.FixedResponse()


class Match(Section):
    """What a request must look like; a key that is left out matches everything."""

    short = "{{paths: [{}]}}"

    hosts: tuple[HostPattern, ...] = option(
        (), "Names of the Host: exact, or *.example.com for all below it.", ["api.example.com", "*.shop.example"]
    )
    paths: tuple[PathPattern, ...] = option(
        (),
        "/v1 matches /v1 and all below it; =/exact that path alone; ~regex from the start.",
        ["/v1/", "=/exact", "~^/r[0-9]+"],
    )
    methods: tuple[Method, ...] = option((), "Methods, in upper case; GET matches HEAD too.", ["GET"])
    headers: dict[HeaderName, HeaderValue] = option(
        {},
        "Header fields: the exact value, * for any, ~regex. x-forwarded-proto is what the target is told: http, or what"
        " a trusted proxy said.",
        {"x-beta": "1"},
    )
    query: dict[Text, Text] = option({}, "Query parameters: the exact value, * for any, ~regex.", {"beta": "1"})


Weight = Annotated[int, whole(0, 1000)]


def _group(value: object) -> object:
    if isinstance(value, str):
        return {value: 1}
    if isinstance(value, dict):
        if not value:
            raise wrong("is empty", "write the name of a target group")
        return value
    if isinstance(value, tuple):
        raise wrong("a list of groups has no weights", "write {shop: 9, shop-canary: 1}")
    raise wrong("is empty" if value is None else "this is not a target group", "write the name of a target group")


class _GroupOrWeights:
    """In JSON Schema: a name, or names with weights."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        kinds = [kind for kind in handler(schema)["anyOf"] if kind != {"type": "null"}]
        return {"anyOf": [{"type": "string"}, *kinds]}


class Redirect(Section):
    """Answer with a Location."""

    short = "{{to: {}}}"

    to: Location = needed(
        "Where to; may use {scheme} {host} {port} {path} {query}. The query is kept unless there is a ?. "
        "Scheme and port are those that a trusted proxy says, else http and the port that is listened on.",
        "https://{host}/new{path}",
    )
    status: RedirectStatus = option(_REDIRECT.status, "308 and 307 keep the method; 301, 302 and 303 may not.", 308)


class FixedResponse(Section):
    """Answer with a fixed status and body."""

    short = "{{status: {}}}"

    status: Annotated[int, whole(200, 599)] = option(_FIXED.status, "The status of the answer.", 503)
    body: Lines = option(_FIXED.body, "The body, at most 64 KiB.", "back at noon\n")
    content_type: SentValue = option(_FIXED.content_type, "The type of the body.", "text/html; charset=utf-8")


class Action(Section):
    """What is done with a request: one of forward, redirect, fixed_response."""

    short = "{{forward: {}}}"

    forward: Annotated[dict[Name, Weight] | None, BeforeValidator(_group), _GroupOrWeights()] = option(
        None, "A target group, or several with weights.", {"shop": 9, "shop-canary": 1}
    )
    redirect: Annotated[Redirect | None, WRITTEN] = option(
        None, "Send the client elsewhere.", {"to": "https://{host}{path}"}
    )
    fixed_response: Annotated[FixedResponse | None, WRITTEN] = option(
        None, "Answer without asking a target.", {"status": 404, "body": "nothing here\n"}
    )


class Rule(Section):
    """match → action. The most specific match wins; the order in the file breaks ties."""

    name: Annotated[Name | None, WRITTEN] = option(
        None, "A name for logs; without one it is its place, such as rules[2].", "api"
    )
    priority: Annotated[int, whole(-1000, 1000)] = option(0, "Higher goes first, whatever is more specific.", 10)
    match: Match = option(Match(), "What a request must look like; left out: everything.", {"paths": ["/v1/"]})
    rate_limit: Annotated[RateLimit | None, OFF] = off_option(
        "How much of this one client may ask, or off.", {"rate": "10/s"}
    )
    action: Action = needed("What is done with the request.", {"forward": "demo"})
