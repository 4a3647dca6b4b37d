"""What only one of the two builds can show: compiled, the data path does not look its own functions up by name."""

from __future__ import annotations

import pytest

import balancer

interpreted_only = pytest.mark.skipif(
    balancer.compiled(), reason="puts something in the place of a function of the data path, which is compiled"
)


def attributes(value: object) -> tuple[str, ...]:
    """Return the names of an object's slots; those of a compiled class are under another name."""
    kind = type(value)
    return tuple(kind.__mypyc_attrs__ if hasattr(kind, "__mypyc_attrs__") else kind.__slots__)  # type: ignore[attr-defined]
