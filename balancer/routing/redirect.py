"""The Location of a redirect."""

from __future__ import annotations

import re

_PLACE = re.compile(r"\{(scheme|host|port|path|query)\}")


def location(to: str, scheme: str, host: str, port: int, path: str, query: str) -> str:
    """Return `to` with its places filled in; the query is kept unless `to` has a `?` of its own.

    `host` without port, `path` and `query` as they are forwarded (the query without `?`, "" if there is none). Values
    are filled in once: a `{host}` inside a path stays as it is.
    """
    values = {"scheme": scheme, "host": host, "port": str(port), "path": path, "query": query}
    filled = _PLACE.sub(lambda place: values[place[1]], to)
    if filled.startswith("//") and not to.startswith("//"):
        filled = "/" + filled.lstrip("/")  # else a path `//other.example` would lead away from this host
    if not query or "?" in to:
        return filled
    if "#" not in to:
        return f"{filled}?{query}"
    before, _, fragment = filled.partition("#")
    return f"{before}?{query}#{fragment}"
