"""A write is refused exactly if it names another state than the present one."""

from __future__ import annotations

import pytest

from balancer.control.admin.tags import Unreadable, stale, tag

NOW = tag("now")
CASES = [
    ("no condition", None, False),
    ("any state", "*", False),
    ("the present state", NOW, False),
    ("one of several", f'"x", {NOW}', False),
    ("another state", tag("before"), True),
    ("a weak tag never matches", f"W/{NOW}", True),
    ("several others", '"x","y"', True),
]


@pytest.mark.parametrize(("if_match", "is_stale"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_if_match_decides(if_match: str | None, is_stale: bool) -> None:
    assert stale(if_match, NOW) is is_stale


@pytest.mark.parametrize("if_match", ["", "x", '"x', '"x" "y"', '"x",', "*, *", '"\u00e9"'])
def test_what_is_no_list_of_tags_is_not_guessed_at(if_match: str) -> None:
    with pytest.raises(Unreadable):
        stale(if_match, NOW)


def test_a_tag_depends_on_every_part() -> None:
    assert len({tag(1, "a"), tag(1, "b"), tag(2, "a"), tag("1", "a"), tag(1)}) == 5
