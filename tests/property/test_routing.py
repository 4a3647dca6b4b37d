"""The router against a plain reading of its rules, and what normal forms always keep to."""

from __future__ import annotations

import re
import signal
from urllib.parse import unquote_to_bytes

from hypothesis import example, given, settings
from hypothesis import strategies as st

from balancer.model.snapshot import FixedResponse, Match, Rule
from balancer.routing.backtracking import regex_fault
from balancer.routing.nearest import verdicts
from balancer.routing.paths import host_key, normalise
from balancer.routing.redirect import location
from balancer.routing.router import Matched, NoRule, Router, WrongMethod

HOST_PATTERNS = ["a.x", "b.a.x", "*.x", "*.a.x", "x", "*"]
PATH_PATTERNS = ["/", "/p", "/p/", "/p/q", "/pq", "=/p", "=/p/q", "~^/p", "~^/[pq]+$"]
MATCH = st.builds(
    Match,
    hosts=st.lists(st.sampled_from(HOST_PATTERNS), max_size=2).map(tuple),
    paths=st.lists(st.sampled_from(PATH_PATTERNS), max_size=2).map(tuple),
    methods=st.lists(st.sampled_from(["GET", "POST"]), max_size=1).map(tuple),
    headers=st.lists(st.tuples(st.just("k"), st.sampled_from(["1", "*"])), max_size=1).map(tuple),
    query=st.lists(st.tuples(st.just("v"), st.sampled_from(["1", "~^[12]"])), max_size=1).map(tuple),
)
RULES = st.lists(st.tuples(MATCH, st.sampled_from([0, 0, 0, 1])), max_size=8).map(
    lambda found: [Rule(f"r{i}", match, FixedResponse(), priority) for i, (match, priority) in enumerate(found)]
)


def host_rank(pattern: str, host: str | None) -> int | None:
    """Return how good a host match is, higher is better, None if it is none."""
    if pattern == "*":
        return 0
    if pattern.startswith("*."):
        return pattern.count(".") if host is not None and host.endswith(pattern[1:]) else None
    return 1000 if host == pattern else None


def path_rank(pattern: str, path: str, first_use: int) -> tuple[int, int] | None:
    if pattern == "":
        return (0, 0)
    if pattern.startswith("="):
        return (3, 0) if path == pattern[1:] else None
    if pattern.startswith("~"):
        return (2, -first_use) if re.match(pattern[1:], path) else None
    under = path == pattern or path.startswith(pattern if pattern.endswith("/") else pattern + "/")
    return (1, len(pattern)) if under else None


def predicates_fit(match: Match, method: str, query: str, headers: dict[str, str]) -> tuple[bool, bool]:
    method_fits = not match.methods or method in match.methods or (method == "HEAD" and "GET" in match.methods)
    value = dict(piece.split("=") for piece in query.split("&") if piece).get("v")
    others = all(name in headers and wanted in ("*", headers[name]) for name, wanted in match.headers) and all(
        value is not None and (value == wanted or (wanted[0] == "~" and re.match(wanted[1:], value) is not None))
        for _, wanted in match.query
    )
    return method_fits, others


def plainly(
    rules: list[Rule], method: str, host: str | None, path: str, query: str, headers: dict[str, str]
) -> str | tuple[str, ...]:
    """Return the rule's name, the methods allowed, or "" — by looking at every rule in every way."""
    best: tuple[object, ...] | None = None
    winner, allow, other_misfit = "", set[str](), False
    # two rules with the same regex under the same host are one pattern: it counts where it stands first
    for index, rule in enumerate(rules):
        for host_text in rule.match.hosts or ("*",):
            for path_text in rule.match.paths or ("",):
                first = next(
                    other
                    for other, candidate in enumerate(rules)
                    if path_text in (candidate.match.paths or ("",))
                    and host_text in (candidate.match.hosts or ("*",))
                    and candidate.priority == rule.priority
                )
                order = first * 10 + list(rules[first].match.paths or ("",)).index(path_text)
                h, p = host_rank(host_text, host), path_rank(path_text, path, order)
                if h is None or p is None:
                    continue
                method_fits, others = predicates_fit(rule.match, method, query, headers)
                if not method_fits:
                    allow |= set(rule.match.methods) | ({"HEAD"} if "GET" in rule.match.methods else set())
                elif not others:
                    other_misfit = True
                else:
                    count = len(rule.match.methods) + len(rule.match.headers) + len(rule.match.query)
                    rank = (rule.priority, h, p, count, -index)
                    if best is None or rank > best:
                        best, winner = rank, rule.name
    if winner:
        return winner
    return "" if other_misfit or not allow else tuple(sorted(allow))


@given(
    RULES,
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    st.sampled_from(["a.x", "b.a.x", "c.b.a.x", "x", "y", "ax", None]),
    st.sampled_from(["/", "/p", "/p/", "/p/q", "/p/q/r", "/pq", "/q", "/P"]),
    st.sampled_from(["", "v=1", "v=2", "v=3", "w=1"]),
    st.sampled_from([{}, {"k": "1"}, {"k": "2"}]),
)
def test_the_router_finds_what_a_plain_reading_of_the_rules_finds(
    rules: list[Rule], method: str, host: str | None, path: str, query: str, headers: dict[str, str]
) -> None:
    verdict = Router(rules).match(method, host, path, query, headers)
    expected = plainly(rules, method, host, path, query, headers)
    if isinstance(verdict, Matched):
        assert verdict.rule.name == expected
        assert rules[verdict.index] is verdict.rule
    elif isinstance(verdict, WrongMethod):
        assert verdict.allow == expected
    else:
        assert isinstance(verdict, NoRule)
        assert expected == ""
        assert verdict.nearest


@given(
    RULES,
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    st.sampled_from(["a.x", "b.a.x", "c.b.a.x", "x", "y", "ax", None]),
    st.sampled_from(["/", "/p", "/p/", "/p/q", "/p/q/r", "/pq", "/q", "/P"]),
    st.sampled_from(["", "v=1", "v=2", "v=3", "w=1"]),
    st.sampled_from([{}, {"k": "1"}, {"k": "2"}]),
)
def test_what_is_said_afterwards_of_each_rule_is_true(
    rules: list[Rule], method: str, host: str | None, path: str, query: str, headers: dict[str, str]
) -> None:
    found = Router(rules).match(method, host, path, query, headers)
    chosen = found.index if isinstance(found, Matched) else -1
    for verdict in verdicts(rules, chosen, method, host, path):
        match = rules[verdict.index].match
        hosts = any(host_rank(written, host) is not None for written in match.hosts or ("*",))
        paths = any(path_rank(written, path, 0) is not None for written in match.paths or ("",))
        method_fits, others = predicates_fit(match, method, query, headers)
        told = {
            "host": not hosts,
            "path": hosts and not paths,
            "method": hosts and paths and not method_fits,
            "predicate": hosts and paths and method_fits and not others,
            "later": hosts and paths and method_fits,
            "matched": verdict.index == chosen and hosts and paths and method_fits and others,
        }
        assert told[verdict.misfit], verdict


PIECES = st.lists(
    st.sampled_from(
        [b"/", b"//", b".", b"..", b"%2e", b"%2E", b"%2f", b"%5c", b"a", b"%41", b"%7e", b"%25", b";", b"%e9"]
    ),
    max_size=12,
)
PATHS = PIECES.map(lambda pieces: b"/" + b"".join(pieces))


@given(PATHS)
@example(b"/a//../b")
@example(b"/%2e%2e")
def test_a_normal_form_has_no_dot_segments_and_stays_as_it_is(path: bytes) -> None:
    normal = normalise(path)
    if normal is None:
        return
    assert not {b".", b".."} & set(normal.forward.split(b"/"))
    assert "//" not in normal.match
    again = normalise(normal.forward)
    assert again == normal
    # what is matched is what is forwarded, but for doubled slashes and the case of escapes
    assert re.sub(rb"/+", b"/", unquote_to_bytes(normal.forward)) == re.sub(
        rb"/+", b"/", unquote_to_bytes(normal.match)
    )
    assert normalise(normal.match.encode()) is not None


@given(st.binary(max_size=30))
@example(b"/\\")
@example(b"/%")
def test_any_bytes_have_a_normal_form_or_none(path: bytes) -> None:
    normal = normalise(path)
    if normal is not None:
        assert normal.forward.startswith(b"/")
        assert all(0x21 <= byte <= 0x7E and byte not in b"#?\\" for byte in normal.forward)


@given(PATHS, st.sampled_from([b"/", b"/a", b"/a/b/"]))
def test_no_escape_leads_out_of_a_prefix_that_a_dot_segment_would_not(path: bytes, base: bytes) -> None:
    plain = re.sub(rb"(?i)%2e", b".", path)
    one, other = normalise(base.rstrip(b"/") + path), normalise(base.rstrip(b"/") + plain)
    assert one == other


@given(st.one_of(st.binary(max_size=40), st.from_regex(rb"[A-Za-z0-9.\-_\[\]:]{1,30}", fullmatch=True)))
def test_a_host_is_a_key_that_stays_as_it_is(host: bytes) -> None:
    key = host_key(host)
    if key is not None:
        assert key == key.lower()
        assert host_key(key.encode()) == key
        assert host_key(key.upper().encode() + b":443") == key
        assert re.fullmatch(r"[a-z0-9._~-]+|\[[0-9a-f:.]+\]", key)


@given(
    st.sampled_from(
        ["{path}", "https://{host}{path}", "//{host}:{port}/{query}", "/x?{query}", "{scheme}://n{path}#f"]
    ),
    PATHS,
    st.text("ab=&{}", max_size=8),
)
def test_a_redirect_stays_on_the_host_that_the_rule_names(to: str, path: bytes, query: str) -> None:
    normal = normalise(path)
    if normal is None:
        return
    target = location(to, "https", "h", 1, normal.forward.decode(), query)
    assert "\r" not in target
    assert "\n" not in target
    if to.startswith("{path}"):
        assert not target.startswith("//")


@given(st.text("ab.*+?()[]|^\\{},1", max_size=12))
def test_the_judgement_on_an_expression_never_fails(text: str) -> None:
    fault = regex_fault(text)
    if fault is None:
        re.compile(text)


_ATOMS = st.sampled_from(["a", "b", "-", r"\w", r"\d", "[a-z]", "[^/]", ".", "/", "ab", r"\b", "(?!ab)", "(?!.*b)"])
_COUNTS = st.sampled_from(["", "?", "*", "+", "{2,5}", "{0,32}", "{3}", "{1,3}", "*?"])
_EXPRESSIONS = st.recursive(
    st.builds(str.__add__, _ATOMS, _COUNTS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.builds("(?:{}){}".format, inner, _COUNTS),
        st.builds("(?:{}){}".format, st.lists(inner, min_size=2, max_size=3).map("|".join), _COUNTS),
    ),
    max_leaves=8,
)
_HOSTILE = [
    "a" * 8191 + "\n",
    "ab" * 4095 + "\n",
    "a-" * 4095 + "!",
    "1" * 8191 + "!",
    "aab-" * 2000 + "\n",
    "a/" * 4095,
]
_STALL = 6.0  # s of the processor: an expression that stalls takes years, the worst that is allowed about 1


@settings(deadline=None)
@given(_EXPRESSIONS, st.sampled_from(["", "$", "!", "b$"]))
@example(r"^/(?:\w+-?){1,5}", "$")
@example("(?:a?a?){20}", "b")
def test_no_expression_that_is_allowed_stalls_on_the_longest_text(text: str, end: str) -> None:
    if regex_fault(text + end) is not None:
        return
    match = re.compile(text + end).match

    def stalled(*_: object) -> None:
        raise AssertionError(f"{text + end} stalls")

    before = signal.signal(signal.SIGVTALRM, stalled)
    try:
        for hostile in _HOSTILE:
            signal.setitimer(signal.ITIMER_VIRTUAL, _STALL)
            match(hostile)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
