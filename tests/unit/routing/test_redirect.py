"""Where a redirect leads."""

from __future__ import annotations

import pytest

from balancer.routing.redirect import location

ROWS = [  # why, to, path, query, location
    ("everything filled in", "{scheme}://{host}:{port}{path}", "/a", "", "http://h.example:8080/a"),
    ("the query is kept", "https://{host}/new{path}", "/a", "x=1", "https://h.example/new/a?x=1"),
    ("a query of its own replaces it", "https://{host}/?from=old", "/a", "x=1", "https://h.example/?from=old"),
    ("the query as a place", "/s?q={query}", "/a", "x=1", "/s?q=x=1"),
    ("a place inside a value stays", "{path}", "/{host}", "", "/{host}"),
    ("the query goes before a fragment", "/p#top", "/a", "x=1", "/p?x=1#top"),
    ("a path cannot lead to another host", "{path}", "//other.example/x", "", "/other.example/x"),
    ("a written host may be without scheme", "//cdn.example{path}", "/a", "", "//cdn.example/a"),
]


@pytest.mark.parametrize(("to", "path", "query", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_location(to: str, path: str, query: str, expected: str) -> None:
    assert location(to, "http", "h.example", 8080, path, query) == expected
