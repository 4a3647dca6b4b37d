"""problems: an error as RFC 9457 problem details."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from aiohttp import web

MEDIA = "application/problem+json"


def body(status: int, detail: str, **more: Any) -> dict[str, Any]:
    """Return the members of a problem; its type is `about:blank`, so its title is the status's own words."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}


def answer(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """Return a problem as an answer."""
    text = json.dumps(body(status, detail, **more), ensure_ascii=False)
    return web.Response(status=status, text=text + "\n", content_type=MEDIA, headers=headers)
