"""Every row of the tables names tests that exist, and the page that is committed shows the rows as they are."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from tests.conformance import rows
from tests.wire import cases_request, cases_response

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "conformance.md"
NAMES = {
    "request: ": [case.name for case in cases_request.CASES],
    "response: ": [case.name for case in cases_response.CASES],
}
ROWS = list(itertools.chain.from_iterable(rows.TABLES.values()))


def functions(file: Path) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_row_names_tests_that_exist(row: rows.Row) -> None:
    assert row.tests
    for one in row.tests:
        if one.startswith(rows.LATER):
            continue
        kind = next((prefix for prefix in NAMES if one.startswith(prefix)), None)
        if kind is not None:
            wanted, names = one.removeprefix(kind), NAMES[kind]
            found = [name for name in names if name == wanted or (wanted[-1] == "…" and name.startswith(wanted[:-1]))]
            assert found, f"no case {one}"
            continue
        module, _, name = one.partition("::")
        assert (TESTS / module).is_file(), module
        assert name == "*" or name in functions(TESTS / module), one


def test_the_page_shows_the_rows_as_they_are() -> None:
    assert rows.written() in PAGE.read_text(), "write it anew: make conformance"
