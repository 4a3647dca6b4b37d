"""What only one of the two builds can show: compiled, the data path does not look its own functions up by name."""

from __future__ import annotations

import pytest

import balancer

interpreted_only = pytest.mark.skipif(
    balancer.compiled(), reason="puts something in the place of a function of the data path, which is compiled"
)
