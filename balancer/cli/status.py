"""`balancer status`: what runs, as a table that a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from balancer.cli.admin import admin_option, ask
from balancer.cli.faults import InputFault, line_of
from balancer.cli.tell import tell
from balancer.log.line import visible

Row = tuple[str, ...]
_COLOURS = {"healthy": "green", "unhealthy": "red", "ejected": "yellow", "draining": "yellow"}
_OUT = ("draining", "disabled")  # out on purpose: nobody misses them
_WIDE = 110  # columns from which a table with lines shows every name whole
_TARGETS = ("TARGET", "ADDRESS", "ZONE", "STATE", "SINCE", "REASON", "ACTIVE", "WEIGHT")


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of /api/v1/status as one JSON document.")
@admin_option
def status(as_json: bool, admin: str) -> None:
    """Show what runs: listeners, target groups with their zones and targets, workers, the last reload.

    \b
    Examples:
      balancer status
      balancer status --admin http://127.0.0.1:9901
      balancer status --json | jq '.target_groups[].targets[] | select(.state != "healthy")'

    \b
    Exit codes:
      0  it was shown
      1  nothing answers at the admin URL
      2  wrong usage
    """
    import json
    import shutil
    import sys

    code, document = ask(admin, "/api/v1/status", needs="workers")
    if code != 200:
        raise InputFault(f"{admin}: {document.get('detail', code)}")
    if as_json:
        tell(json.dumps(document, indent=2, ensure_ascii=False))
    elif sys.stdout.isatty() and shutil.get_terminal_size().columns >= _WIDE:
        _show(document)
    else:
        tell(text(document, datetime.now(UTC)), nl=False)


def text(document: dict[str, Any], now: datetime) -> str:
    """Return the status as plain text: aligned columns, no colour."""
    lines = [*summary(document, now), "", *_aligned(("LISTENER", "PROTOCOL", "ADDRESS"), listeners(document))]
    for group in document["target_groups"]:
        lines += ["", heading(group), *unresolved(document, group["name"], now), *zones(group)]
        lines += _aligned(_TARGETS, targets(group, now))
    return "\n".join(lines) + "\n"


def summary(document: dict[str, Any], now: datetime) -> list[str]:
    """Return the lines on the program: its version and configuration, its workers, what went wrong last."""
    config, workers = document["config"], document["workers"]
    alive = sum(worker["pid"] != 0 for worker in workers)
    restarts = sum(worker["restarts"] for worker in workers)
    told = f"{alive} of {len(workers)} workers" + (f", {restarts} restart{'s' * (restarts != 1)}" if restarts else "")
    lines = [
        f"balancer {document['version']}{' (compiled)' if document.get('compiled') else ''}, {told}",
        f"configuration version {config['version']}, loaded {ago(config['loaded_at'], now)}",
    ]
    drill = document.get("drill")
    if drill is not None:
        lines.append(f"DRILL {drill['id']}, {drill['stage']}: {drill['summary']} (balancer drill --stop ends it)")
    last = config["last_reload"]
    if not last["success"]:
        lines.append(f"the last reload, {ago(last['at'], now)}, was rejected; the configuration above still runs:")
        lines += [f"  {line_of(one)}" for one in last["faults"]]
    return lines


def listeners(document: dict[str, Any]) -> list[Row]:
    """Return the rows of the listeners."""
    return [(one["name"], one["protocol"], one["address"]) for one in document["listeners"]]


def heading(group: dict[str, Any]) -> str:
    """Return the line that stands over a target group."""
    states = [one["state"] for one in group["targets"] if one["state"] not in _OUT]
    gone = [f", {count} {state}" for state in _OUT if (count := sum(one["state"] == state for one in group["targets"]))]
    out = "".join(gone)
    if group.get("vanished"):
        out += f", {group['vanished']} vanished (counted in its zone for 60 s)"
    panic = ", PANIC: unhealthy targets serve too" if group["panic"] else ""
    return f"{group['name']}: {group['policy']}, {states.count('healthy')} of {len(states)} targets healthy{out}{panic}"


def unresolved(document: dict[str, Any], group: str, now: datetime) -> list[str]:
    """Return a line for each name of a group that does not resolve."""
    return [
        f"NAME {one['dns']} DOES NOT RESOLVE: {one['error']}, first {ago(one['since'], now)}"
        f"{_kept(one)} (is it spelt right, does its service run, do both share a network?)"
        for one in document.get("discovery", ())
        if one["error"] and one["target_group"] == group
    ]


def _kept(name: dict[str, Any]) -> str:
    count = len(name["addresses"])
    return f"; its last {count} address{'es stay' if count != 1 else ' stays'} in use" if count else ""


def zones(group: dict[str, Any]) -> list[str]:
    """Return the line of a group's zones."""
    told = [f"{zone['name']} {zone['healthy']}/{zone['total']} {zone['share']:g}%" for zone in group["zones"]]
    return [f"zones: {', '.join(told)}"] if told else []


def targets(group: dict[str, Any], now: datetime) -> list[Row]:
    """Return the rows of a group's targets."""
    return [
        (
            one["name"],
            one["address"],
            one["zone"],
            one["state"],
            ago(one["since"], now),
            _reason(one),
            str(one["active_requests"]),
            _weight(one),
        )
        for one in group["targets"]
    ]


def _reason(target: dict[str, Any]) -> str:
    told = f"{target['reason']} ({target['detail']})" if target.get("detail") else target["reason"]
    return f"{told}, DRILLED" if target.get("drilled") else str(told)


def _weight(target: dict[str, Any]) -> str:
    weight, configured = target["weight"], target.get("configured_weight", target["weight"])
    return str(weight) if weight == configured else f"{weight} (file: {configured})"


def ago(moment: str | None, now: datetime) -> str:
    """Return how long ago a moment (RFC 3339) was, in its largest unit: `12s ago`."""
    if moment is None:
        return "never"
    seconds = max(0, int((now - datetime.fromisoformat(moment.replace("Z", "+00:00"))).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def _aligned(columns: Row, rows: Sequence[Row]) -> list[str]:
    table = [columns, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]


def _show(document: dict[str, Any]) -> None:
    """Print the status on a terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def shown(text: str) -> str:
        return escape(visible(text))

    console = Console(highlight=False)
    now = datetime.now(UTC)
    for line in summary(document, now):
        console.print(shown(line))
    for name, protocol, address in listeners(document):
        console.print(f"listener {shown(name)}: {protocol} on {shown(address)}")
    for group in document["target_groups"]:
        table = Table(title=shown(heading(group)), title_justify="left", caption=shown(", ".join(zones(group))))
        table.caption_justify = "left"
        for column in _TARGETS:
            table.add_column(column.lower(), justify="right" if column in ("ACTIVE", "WEIGHT") else "left")
        for row in targets(group, now):
            cells = [shown(cell) for cell in row]
            colour = _COLOURS.get(row[3])
            cells[3] = f"[{colour}]{cells[3]}[/]" if colour else cells[3]
            table.add_row(*cells)
        console.print()
        for line in unresolved(document, group["name"], now):
            console.print(f"[red]{escape(line)}[/]")
        console.print(table)
