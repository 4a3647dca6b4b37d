"""Which regular expressions a rule may hold."""

from __future__ import annotations

import pytest

from balancer.routing.backtracking import may_begin_with, regex_fault

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
    r"^/[a-z]+(?:-[a-z]+){0,4}$",
    r"^/(?:[^/]+/)*x",
    r"^/(?:[^/]+/){2}edit$",
    r"^/(?:[a-z]+\.)*[a-z]+$",
    r"^/(x*y)*z",
    r"((a|b+)c)*",
    r"(a|ab)*c",
    r"^/(?:\w|\d)+!$",  # one set, as Python reads it
    r"^/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    r"^(?:\d{1,3}\.){3}\d{1,3}$",
    r"^/users/(?P<id>\d+)(?:/(?:posts|comments)(?:/\d+)?)?/?$",
    r"^/api/v[0-9]+(?:\.[0-9]+)?/.*$",
    r"^/assets/.+-[0-9a-f]{8,}\.(?:js|css)$",
    r".*\.(?:jpg|jpeg|png|gif|svg|webp|css|js|woff2?)$",
    r"^/(?:en|de|fr)(?:/.*)?$",
    r"^/(?!api|static).*",
    r"(?:(?!/admin).)*$",
    r"Mozilla.*(?:Chrome|Firefox)/[0-9.]+",
    r"^Bearer [A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    r"(?:^|.*; ?)beta=1(?:;.*|$)",
    r"^text/html(?:\s*;\s*charset=utf-8)?$",
]
BAD = [
    (r"(a+)+", "it repeats a repetition"),
    (r"(a+){2}", "it repeats a repetition"),
    (r"^/(?:\w+-?){1,5}$", "it repeats a repetition"),
    (r"^/(?:[a-z]?[a-z0-9]?){16}/end$", "it repeats a repetition"),
    (r"(?:[a-z0-9]+-?){2,6}", "it repeats a repetition"),
    (r"(?:\w+\.?){1,3}/x", "it repeats a repetition"),
    (r"(?:a?a?){20}b", "it repeats a repetition"),
    (r"(?:a?){30}a{30}", "it repeats a repetition"),
    (r"(?:a?)*b", "it repeats a repetition"),
    (r"(?:[a-z]+[0-9]*){1,9}x", "it repeats a repetition"),
    (r"(?i:[a-z]+K?)*\u212a", "it repeats a repetition"),
    (r"(?:a|b|ab)*c", "it repeats alternatives that can begin alike"),
    (r"(?i)(?:ab|A)*c", "it repeats alternatives that can begin alike"),
    (r"(?:\w-|\d)*c", "it repeats alternatives that can begin alike"),
    (r"(?:a|)*c", "it repeats a repetition"),
    (r"(.|x)*y", "it repeats alternatives that can begin alike"),
    (r"(a)\1", "it refers back to a group"),
    (r"(?P<n>a)(?(n)b|c)", "it refers back to a group"),
    (r"(?<=a)b", "it looks behind"),
    (r"(?<!a)b", "it looks behind"),
    (r".*a.*b.*c", "its repeats can share out a text in too many ways"),
    (r"[a-z]*[a-z]*[a-z]*1", "its repeats can share out a text in too many ways"),
    (r".*\b.*\b.*x", "its repeats can share out a text in too many ways"),
    (r"(?m).*$.*^.*x", "its repeats can share out a text in too many ways"),
    (r"(?:.*|x)(?:.*|x)(?:.*|x)y", "its repeats can share out a text in too many ways"),
    (r"(?:.*a)?(?:.*b)?.*c", "its repeats can share out a text in too many ways"),
    (r"(?!.*a.*b.*c)/", "its repeats can share out a text in too many ways"),
    (r".*a(?:(?!.*x)a)*b", "its repeats can share out a text in too many ways"),
    (r"a{0,32}a{0,32}a{0,32}a{0,32}b", "its repeats can share out a text in too many ways"),
    (r"a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?b", "its repeats can share out a text in too many ways"),
    (r"(?a:\w)+x", "a part of it reads letters in another way than the rest"),
    (r"(.*)(.*)(.*)x", "its repeats can share out a text in too many ways"),
    (r"(", "it is not a regular expression: missing ), unterminated subpattern at position 0"),
]


@pytest.mark.parametrize("text", GOOD)
def test_ordinary_expressions_are_allowed(text: str) -> None:
    assert regex_fault(text) is None


@pytest.mark.parametrize(("text", "fault"), BAD)
def test_expressions_that_can_stall_are_refused(text: str, fault: str) -> None:
    assert regex_fault(text) == fault


@pytest.mark.parametrize(
    ("pattern", "may"),
    [
        (r"/r[0-9]+", True),
        (r"^/a", True),
        (r".*\.php$", True),
        (r"(?:/a|/b)", True),
        (r"a?/b", True),
        (r"[^a]x", True),
        (r"", True),
        (r"(?i)/A", True),
        (r"\.php$", False),
        (r" \.php$", False),
        (r"^v1", False),
        (r"(?:a|b)/", False),
        (r"\w+/", False),
    ],
)
def test_what_an_expression_may_begin_with(pattern: str, may: bool) -> None:
    assert may_begin_with(pattern, "/") is may
