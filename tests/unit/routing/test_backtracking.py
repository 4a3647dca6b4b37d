"""Which regular expressions a rule may hold."""

from __future__ import annotations

import pytest

from balancer.routing.backtracking import regex_fault

GOOD = [
    r"^/r[0-9]+",
    r"^/(foo|bar)+/x$",
    r"/users/[0-9]+/posts/[^/]+/edit",
    r".*\.(png|jpe?g|css)$",
    r".*a.*b",
    r"(?i)/api/(?P<version>v[0-9]{1,3})/",
    r"(?!/admin)/.*",
    r"[^/]*/[^/]*/[^/]*/[^/]*/x",
    r"(ab){2,5}c*",
    r"[a-z]*[a-z]*1",
    r"^/v[0-9]+/.*/edit/.*$",
]
BAD = [
    (r"(a+)+", "it repeats a repetition"),
    (r"^/(x*y)*z", "it repeats a repetition"),
    (r"((a|b+)c)*", "it repeats a repetition"),
    (r"(a|ab)*c", "it repeats alternatives that can begin alike"),
    (r"(.|x)*y", "it repeats alternatives that can begin alike"),
    (r"(a)\1", "it refers back to a group"),
    (r"(?P<n>a)(?(n)b|c)", "it refers back to a group"),
    (r"(?<=a)b", "it looks behind"),
    (r"(?<!a)b", "it looks behind"),
    (r".*a.*b.*c", "its repeats can share out a text in too many ways"),
    (r"[a-z]*[a-z]*[a-z]*1", "its repeats can share out a text in too many ways"),
    (r"(.*)(.*)(.*)x", "its repeats can share out a text in too many ways"),
    (r"(", "it is not a regular expression: missing ), unterminated subpattern at position 0"),
]


@pytest.mark.parametrize("text", GOOD)
def test_ordinary_expressions_are_allowed(text: str) -> None:
    assert regex_fault(text) is None


@pytest.mark.parametrize(("text", "fault"), BAD)
def test_expressions_that_can_stall_are_refused(text: str, fault: str) -> None:
    assert regex_fault(text) == fault
