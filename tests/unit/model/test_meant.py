"""What was probably meant: one word that is near, and not one of several that are just as near."""

from __future__ import annotations

import pytest

from balancer.model.meant import meant


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("listners", ["listeners", "workers"], "listeners"),
        ("zone-aa", ["zone-a", "zone-b"], "zone-a"),
        ("zone-x", ["zone-a", "zone-b", "zone-c"], None),
        ("zone-x", ["zone-a", "shop"], "zone-a"),
        ("zone-x", ["zone-a", "zone-a"], "zone-a"),
        ("frobnicate", ["listeners", "workers"], None),
        ("a", [], None),
        ("", ["a"], None),
    ],
)
def test_a_word_is_meant_that_is_nearest_alone(word: str, known: list[str], expected: str | None) -> None:
    assert meant(word, known) == expected
