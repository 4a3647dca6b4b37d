"""The page that a run writes: scores side by side, and case by case where somebody differs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.conformance import rows
from tests.conformance.suites import ROUNDS, SLOW_CONNECTIONS, SLOW_SECONDS, Slow, behaviours

TITLES = {"direct": "no proxy", "balancer": "balancer", "haproxy": "HAProxy", "nginx": "nginx"}
HEAD_DEADLINE = 10  # seconds: the default of timeouts.request_header


@dataclass(slots=True)
class Results:
    """What the suites said; empty where a suite was left out, and `left_out` says why."""

    versions: dict[str, str] = field(default_factory=dict)
    h1spec: dict[str, dict[str, tuple[bool, str]]] = field(default_factory=dict)
    autobahn: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    slow: dict[tuple[str, str], Slow] = field(default_factory=dict)
    schemathesis: tuple[bool, str] | None = None
    left_out: dict[str, str] = field(default_factory=dict)


def faults(results: Results) -> list[str]:
    """Return what ours should do and does not."""
    found = []
    if results.h1spec:
        found += [f"h1spec: {case}: {seen}" for case, (ok, seen) in results.h1spec["balancer"].items() if not ok]
    if results.autobahn:
        found += [f"Autobahn {case}: {words}" for case, words in differences(results, "balancer").items()]
    for (name, mode), slow in results.slow.items():
        if name == "balancer" and not slow.available:
            found.append(f"slowhttptest, {mode}: the service was not there all the time")
        if name == "balancer" and mode == "slow heads" and (slow.gone is None or slow.gone > HEAD_DEADLINE + 3):
            found.append(f"slowhttptest, {mode}: connections are left after the header deadline: {slow}")
    if results.schemathesis and not results.schemathesis[0]:
        found.append(f"schemathesis: {results.schemathesis[1][-3000:]}")
    return found


def differences(results: Results, name: str) -> dict[str, str]:
    """Return, for the Autobahn cases that through a proxy never end as they do directly, both verdicts."""
    direct, ours = results.autobahn["direct"], results.autobahn[name]
    return {
        case: f"{' or '.join(seen)} directly, {' or '.join(ours.get(case, ['none']))} through {TITLES[name]}"
        for case, seen in direct.items()
        if not set(seen) & set(ours.get(case, ()))
    }


def summary(results: Results) -> str:
    """Return the scores in a few lines."""
    lines = [f"{name}: left out ({why})" for name, why in results.left_out.items()]
    if results.h1spec:
        scores = {name: f"{sum(ok for ok, _ in cases.values())}/{len(cases)}" for name, cases in results.h1spec.items()}
        lines.append(f"h1spec: {scores}")
    if results.autobahn:
        lines += [f"Autobahn: {name}: {dict(behaviours(cases))}" for name, cases in results.autobahn.items()]
    lines += [f"slowhttptest: {name}, {mode}: {slow}" for (name, mode), slow in results.slow.items()]
    if results.schemathesis:
        lines.append(f"schemathesis: {'no finding' if results.schemathesis[0] else 'FINDINGS'}")
    return "\n".join(lines)


def table(header: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(header)
    lines = [head, ["---"] * len(head), *(list(row) for row in body)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _h1spec(results: Results) -> str:
    names = [name for name in TITLES if name in results.h1spec]
    passed = {name: sum(ok for ok, _ in results.h1spec[name].values()) for name in names}
    score = [f"**{passed[name]} of {len(results.h1spec[name])}**" for name in names]
    cases = results.h1spec["balancer"]
    differing = [case for case in cases if not all(results.h1spec[name].get(case, (False,))[0] for name in names)]
    body = [["all", *score]]
    for case in differing:
        seen = (results.h1spec[name][case] for name in names)
        body.append([case, *(("passes" if ok else "fails") + f" ({status})" for ok, status in seen)])
    return (
        "33 raw messages (uNetworking/h1spec), through the proxy to an echo; the cases in which somebody fails, with "
        "the status that came (0: something that is no status line).\n\n"
        + table(["case", *(TITLES[name] for name in names)], body)
    )


def _autobahn(results: Results) -> str:
    names = [name for name in TITLES if name in results.autobahn]
    kinds = sorted({kind for name in names for kind in behaviours(results.autobahn[name])})
    body = [
        [TITLES[name], *(str(behaviours(results.autobahn[name])[kind]) for kind in kinds), _differing(results, name)]
        for name in names
    ]
    text = (
        f"{len(results.autobahn['direct'])} cases of the Autobahn test suite against a WebSocket echo, directly and "
        f"through each proxy, {ROUNDS} times: some ask whether an echo or a close came first, and end now so, now so, "
        "without a proxy, too. A proxy is as it should be when no case always ends otherwise than directly.\n\n"
    ) + table(["", *kinds, "differs from no proxy in"], body)
    for name in names:
        if name != "direct" and (other := differences(results, name)):
            text += f"\n{TITLES[name]}: " + "; ".join(f"{case}: {words}" for case, words in other.items()) + "\n"
    return text


def _differing(results: Results, name: str) -> str:
    return "" if name == "direct" else str(len(differences(results, name)))


def _slow(results: Results) -> str:
    def told(slow: Slow) -> str:
        gone = f"all gone after {slow.gone} s" if slow.gone is not None else f"{slow.left} left after {SLOW_SECONDS} s"
        return f"{'served' if slow.available else 'NOT SERVED'}, {gone}"

    names = [name for name in TITLES if (name, "slow heads") in results.slow]
    modes = list(dict.fromkeys(mode for _, mode in results.slow))
    body = [[mode, *(told(results.slow[name, mode]) for name in names)] for mode in modes]
    return (
        f"slowhttptest, {SLOW_CONNECTIONS} connections for {SLOW_SECONDS} s: was a request beside them served all the "
        "time, and when were the slow connections gone? Ours has its defaults: a head has 10 s in all, a body may "
        "pause 30 s, a reader 60 s. HAProxy has `timeout http-request 10s`, nginx its defaults.\n\n"
        + table(["attack", *(TITLES[name] for name in names)], body)
    )


def written(results: Results) -> str:
    """Return the page."""
    versions = ", ".join(f"{TITLES[name]} {version}" for name, version in results.versions.items())
    text = (
        "# Conformance\n\nWritten by `make conformance` "
        f"({datetime.now(UTC):%Y-%m-%d}; {versions}; HAProxy and nginx are Debian's packages). "
        "CONTRIBUTING.md says what it needs. What `make test` needs of these suites stands in it as cases of our own.\n"
    )
    parts = {
        "h1spec": _h1spec(results) if results.h1spec else "",
        "Autobahn": _autobahn(results) if results.autobahn else "",
        "Slow clients": _slow(results) if results.slow else "",
        "The admin API": "",
    }
    if results.schemathesis:
        well = "no finding" if results.schemathesis[0] else "findings"
        parts["The admin API"] = (
            f"schemathesis over `/api/v1/openapi.json`, 25 examples an operation, seed 1: {well}.\n"
        )
    for name, part in parts.items():
        why = results.left_out.get("schemathesis" if name == "The admin API" else name, "left out")
        text += f"\n## {name}\n\n{part or f'Not run: {why}.'}\n".rstrip() + "\n"
    return text + "\n" + rows.written()
