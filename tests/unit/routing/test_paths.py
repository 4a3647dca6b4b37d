"""The normal form of paths and hosts."""

from __future__ import annotations

import pytest

from balancer.routing.paths import Normal, host_key, normalise

FORMS = [  # path, forwarded, matched
    (b"/", b"/", "/"),
    (b"", b"/", "/"),
    (b"/a/b.html", b"/a/b.html", "/a/b.html"),
    (b"/%7Euser/%41", b"/~user/A", "/~user/A"),
    (b"/a/./b", b"/a/b", "/a/b"),
    (b"/a/../b", b"/b", "/b"),
    (b"/a/%2e%2E/b", b"/b", "/b"),
    (b"/a/.%2e/b/", b"/b/", "/b/"),
    (b"/a/b/..", b"/a/", "/a/"),
    (b"/a/.", b"/a/", "/a/"),
    (b"/a/..", b"/", "/"),
    (b"/.hidden/..x/...", b"/.hidden/..x/...", "/.hidden/..x/..."),
    (b"//a///b", b"//a///b", "/a/b"),
    (b"/a//../b", b"/a/b", "/a/b"),
    (b"/a%2fb%5C", b"/a%2fb%5C", "/a%2Fb%5C"),
    (b"/a%2f..%2fb", b"/a%2f..%2fb", "/a%2F..%2Fb"),
    (b"/a;x=1/..;/b", b"/a;x=1/..;/b", "/a;x=1/..;/b"),
    (b"/%252e%252e/b", b"/%252e%252e/b", "/%252e%252e/b"),
    (b"/caf%c3%a9", b"/caf%c3%a9", "/caf%C3%A9"),
    (b'/"<>^`{|}', b'/"<>^`{|}', '/"<>^`{|}'),
]


@pytest.mark.parametrize(("path", "forward", "match"), FORMS, ids=[row[0].decode() or "empty" for row in FORMS])
def test_what_is_matched_is_what_is_forwarded(path: bytes, forward: bytes, match: str) -> None:
    assert normalise(path) == Normal(forward, match)


REFUSED = [
    ("above the root", b"/.."),
    ("above the root on the way", b"/a/../../b"),
    ("above the root, escaped", b"/%2e%2e/etc"),
    ("a percent at the end", b"/a%"),
    ("one hex digit", b"/a%2"),
    ("no hex digits", b"/%zz"),
    ("NUL", b"/a%00"),
    ("an escaped line break", b"/a%0d%0a"),
    ("an escaped DEL", b"/a%7f"),
    ("a backslash", b"/a\\b"),
    ("a fragment", b"/a#b"),
    ("a query", b"/a?b"),
    ("a space", b"/a b"),
    ("a control character", b"/a\x01"),
    ("a line break at the end", b"/a\n"),
    ("a byte outside ASCII", b"/caf\xc3\xa9"),
    ("no slash", b"a/b"),
    ("a star", b"*"),
]


@pytest.mark.parametrize("path", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_path_that_could_be_read_in_two_ways_has_no_form(path: bytes) -> None:
    assert normalise(path) is None


HOSTS = [
    (b"example.com", "example.com"),
    (b"EXAMPLE.com:8080", "example.com"),
    (b"example.com.", "example.com"),
    (b"example.com.:80", "example.com"),
    (b"example.com:", "example.com"),
    (b"127.0.0.1:1", "127.0.0.1"),
    (b"my_service", "my_service"),
    (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
    (b"[::1]", "[::1]"),
    (b"[2001:DB8:0:0::1]:443", "[2001:db8::1]"),
    (b"", None),
    (b".", None),
    (b":80", None),
    (b"a..b", None),
    (b".a", None),
    (b"a.com..", None),
    (b"a b", None),
    (b"a.com\n", None),
    (b"user@a.com", None),
    (b"a.com/x", None),
    (b"a.com:80:80", None),
    (b"a.com:x", None),
    (b"a.com:65536", None),
    (b"a.com, b.com", None),
    (b"b\xc3\xbccher.example", None),
    (b"::1", None),
    (b"[::1", None),
    (b"[::1]x", None),
    (b"[1.2.3.4]", None),
    (b"[fe80::1%eth0]", None),
    (b"[:::]", None),
    (b"a" * 300, None),
]


@pytest.mark.parametrize(("host", "expected"), HOSTS, ids=[ascii(row[0][:30]) for row in HOSTS])
def test_the_host_by_which_rules_are_matched(host: bytes, expected: str | None) -> None:
    assert host_key(host) == expected
