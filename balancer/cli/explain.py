"""`balancer explain`: why one request went where it went, told from what the balancer keeps of its last requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from balancer.cli.admin import admin_option, ask
from balancer.cli.faults import InputFault
from balancer.cli.numbers import Whole
from balancer.cli.tell import tell

_BAR = 40  # characters of the timeline


@click.command("explain")
@click.argument("request_id", metavar="[REQUEST_ID]", required=False)
@click.option("--failed", is_flag=True, help="Without REQUEST_ID: list the last that failed, not the last of all.")
@click.option("--limit", type=Whole(1, 1000), default=20, show_default=True, help="Without REQUEST_ID: list so many.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the admin API as one JSON document.")
@admin_option
def explain(request_id: str | None, failed: bool, limit: int, as_json: bool, admin: str) -> None:
    """Tell why a request went where it went: its rule, its targets, its tries, and the reason in a sentence.

    REQUEST_ID is the X-Request-ID of its answer, also in the access log. The last 10,000 requests of each worker are
    kept, and the last 10,000 failed ones, even after their worker died. Without REQUEST_ID, list the last of them.

    \b
    Examples:
      balancer explain 5c0ffee15bad0d0d0000002a
      balancer explain --failed
      balancer explain 5c0ffee15bad0d0d0000002a --json | jq .sentence

    \b
    Exit codes:
      0  it was told
      1  it is not among the last requests, or nothing answers at the admin URL
      2  wrong usage
    """
    import json
    from urllib.parse import quote

    path = f"/{quote(request_id, safe='')}" if request_id else f"?limit={limit}&failed={int(failed)}"
    code, document = ask(admin, f"/api/v1/requests{path}", needs="sentence" if request_id else "requests")
    if code != 200:
        raise InputFault(str(document.get("detail", f"{admin} answers {code}")))
    if as_json:
        tell(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        tell(text(document) if request_id else latest(document, failed=failed), nl=False)


def latest(document: dict[str, Any], *, failed: bool = False) -> str:
    """Return a list of requests as plain text."""
    if not document["requests"]:
        kept, lost = document["kept"]["recent"], document["kept"].get("lost")
        more = f"; {lost} that had just begun were lost with their worker (worker_lost)" if lost else ""
        if failed and kept:
            return f"none of the last {kept} failed{more}\n"
        return "no request has been finished yet\n"
    rows = [("TIME", "REQUEST ID", "STATUS", "REASON", "TARGET", "MS", "REQUEST")]
    for one in document["requests"]:
        request = f"{one['method'] or '-'} {one['host']}{one['path']}"
        times = (one["time"] or "")[11:23], one["request_id"], str(one["status"] or "-")
        rows.append((*times, one["reason"], one["target"], f"{one['duration_ms']:g}", request))
    return "\n".join(line.removeprefix("  ") for line in _aligned(rows)) + "\n"


def text(document: dict[str, Any]) -> str:
    """Return the story as plain text."""
    parts = [_heading(document), [document["sentence"]], _rule(document), _tries(document), _targets(document)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _heading(document: dict[str, Any]) -> list[str]:
    asked = f"{document['method'] or '(no method)'} {document['host']}{document['path']}"
    status = f"{document['status'] or 'no status'}{' ' + document['reason'] if document['reason'] else ''}"
    if document["open"]:
        status = "under way"
    return [
        f"{asked}{'…' if document['cut'] else ''}",
        f"{document['request_id']}  {document['time']}  listener {document['listener']}  {status}",
    ]


def _rule(document: dict[str, Any]) -> list[str]:
    rule, nearest, config = document["rule"], document["nearest"], document["config"]
    if not config["known"]:
        why = "the control process has been replaced since, or there were 16 newer ones"
        return [f"rule: configuration version {config['version']} is not known any more: {why}"]
    lines = []
    if rule is not None:
        lines.append(f"rule: {rule['name']} matched: {rule['action']} (configuration version {config['version']})")
    elif document["rules"]:
        lines.append(f"rule: none of {len(document['rules'])} matched (configuration version {config['version']})")
    if nearest is not None:
        lines.append(f"nearest that did not: {nearest['name']}: {nearest['why']}")
    return lines


def _tries(document: dict[str, Any]) -> list[str]:
    tries, whole = document["tries"], document["duration_ms"]
    if not tries and not document["queue_ms"]:
        return []
    rows = []
    if document["queue_ms"]:
        rows.append(("", "queue", "", _bar(0.0, document["queue_ms"], whole), f"{document['queue_ms']:g} ms", ""))
    for one in tries:
        how = "pooled connection" if one["reused"] else f"connect {one['connect_ms']:g} ms"
        end = one["reason"] or (str(document["status"]) if not document["open"] else "under way")
        bar = _bar(one["start_ms"], one["duration_ms"], whole)
        rows.append(
            (str(one["number"]), one["target"], one["zone"], bar, f"{one['duration_ms']:g} ms", f"{end}, {how}")
        )
    first = f", first byte after {document['first_byte_ms']:g} ms" if document["first_byte_ms"] else ""
    count = document["try_count"]
    told = f"{count} {'try' if count == 1 else 'tries'}"
    if len(tries) < count:
        told += f" ({len(tries)} of {count} shown: the first and the last)"
    heading = f"{told} in {whole:g} ms{first}"
    return [heading, *_aligned(rows)]


def _targets(document: dict[str, Any]) -> list[str]:
    targets = document["targets"]
    if not targets:
        return []
    lines = [f"target group {document['target_group']}: {document['pick'] or document['policy']}"]
    for tier in document["tiers"] if len(document["tiers"]) > 1 else ():
        panic = ", panic" if tier["panic"] else ""
        lines.append(f"  zones {', '.join(tier['zones']) or '?'}: {tier['share']} % of the traffic{panic}")
    rows = [
        (
            "→" if one["taken"] else "",
            one["target"],
            one["zone"],
            one["state"],
            _since(one["since"], document["time"]),
            one["why"],
        )
        for one in targets
    ]
    more = document["target_count"] - len(targets)
    return [*lines, *_aligned(rows), *([f"  and {more} more"] if more > 0 else [])]


def _since(moment: str | None, day: str) -> str:
    """Return the time of day of a moment (RFC 3339), with its date where that is another than the request's."""
    if moment is None:
        return ""
    return f"since {moment[11:19]}" if moment[:10] == day[:10] else f"since {moment[:10]} {moment[11:19]}"


def _bar(start: float, length: float, whole: float) -> str:
    """Return a part of the request's time as a bar on its whole time."""
    if whole <= 0:
        return "█".ljust(_BAR, "·")
    left = min(_BAR - 1, int(_BAR * start / whole))
    size = max(1, min(_BAR - left, round(_BAR * length / whole)))
    return "·" * left + "█" * size + "·" * (_BAR - left - size)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
