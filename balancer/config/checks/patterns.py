"""Regular expressions that are refused: a hostile path must not stall a worker."""

from __future__ import annotations

from balancer.config.fields import shown
from balancer.routing.backtracking import may_begin_with, regex_fault

_REMEDIES = {
    "it repeats a repetition": "write one repeat, such as [a-z/]+, or begin each round with a sign: [a-z]+(?:-[a-z]+)*",
    "it repeats alternatives that can begin alike": "write one set of characters, such as [a-z]+",
    "its repeats can share out a text in too many ways": "write [^/]* for what stands between slashes",
    "it refers back to a group": "write out what is to be matched twice",
    "a part of it reads letters in another way than the rest": "write (?a) at its begin",
    "it looks behind": "match from the start instead",
}


def path_refusal(written: str) -> tuple[str, str] | None:
    """Return what `refusal` does for the `~regex` of a path, which is matched from its first character on."""
    refused = refusal(written)
    if refused is None and not may_begin_with(written[1:], "/"):
        rest = written[1:].lstrip("^ ")
        return f"{shown(written)} matches no path: each begins with '/'", f"write ~.*{rest}, or ~/{rest}"
    return refused


def refusal(written: str) -> tuple[str, str] | None:
    """Return what is wrong with `~regex` and what to write instead, or None if it may be used."""
    fault = regex_fault(written[1:])
    if fault is None:
        return None
    return f"{shown(written)} cannot be used: {fault}", _REMEDIES.get(fault, "mend the pattern, or write a plain path")
