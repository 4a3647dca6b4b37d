"""`balancer drill`: fails a zone on purpose, watches, and reports what came of it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import click

from balancer.cli.admin import admin_option, ask
from balancer.cli.faults import InputFault
from balancer.cli.numbers import Number
from balancer.cli.tell import tell
from balancer.model.units import format_duration, parse_duration

_LOOK = 0.5  # seconds between two looks
_SAY = 5.0  # seconds between two lines where nobody watches
_API = "/api/v1/drills"
_PHASES = ("before", "during", "after")


@click.command("drill")
@click.argument("zone", required=False)
@click.option("--group", metavar="NAME", help="Fail the zone in this target group only.")
@click.option("--for", "for_", metavar="DURATION", default="60s", show_default=True, help="How long, at most 1h.")
@click.option("--before", metavar="DURATION", default="5s", show_default=True, help="How long to watch before.")
@click.option(
    "--max-failures",
    type=Number(0, 100),
    metavar="PERCENT",
    default=1.0,
    show_default=True,
    help="The guard rail: end it when so much more of the last 5 s failed than before.",
)
@click.option("--stop", is_flag=True, help="End the drill that runs.")
@click.option("--list", "list_", is_flag=True, help="List the last 20 drills.")
@click.option("--show", metavar="ID", help="Show the report of a drill.")
@click.option("--detach", is_flag=True, help="Do not wait for the report.")
@click.option("--dry-run", is_flag=True, help="Say whether it may begin, and do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@admin_option
def drill(
    zone: str | None,
    group: str | None,
    for_: str,
    before: str,
    max_failures: float,
    stop: bool,
    list_: bool,
    show: str | None,
    detach: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    admin: str,
) -> None:
    """Fail ZONE on purpose for a set time, by the balancer's own state alone: nothing outside is touched.

    New requests go to the other zones, those that run finish. It is refused where the rest could not carry the load,
    and ends by itself when the guard rail is crossed. Ctrl-C ends it too. The report is kept: see --list and --show.

    \b
    Examples:
      balancer drill zone-a --for 2m
      balancer drill zone-a --group demo --for 30s --yes --json
      balancer drill --stop

    \b
    Exit codes:
      0  the drill ended as planned, or was stopped; it was listed or shown
      1  it was refused, the guard rail ended it, --stop found none running, or nothing answers at the admin URL
      2  wrong usage, or nobody to be asked and no --yes
    """
    if sum((zone is not None, stop, list_, show is not None)) != 1:
        raise click.UsageError("name a ZONE, or one of --stop, --list, --show ID")
    if list_:
        _list(admin, as_json=as_json)
    elif show is not None:
        _print(_get(admin, f"{_API}/{quote(show, safe='')}"), as_json=as_json)
    elif stop:
        _stop(admin, as_json=as_json)
    else:
        _duration("--for", for_, 0.1, 3600.0)
        _duration("--before", before, 0.0, 60.0)
        wish: dict[str, Any] = {"zone": zone, "for": for_, "before": before, "max_failures": max_failures}
        if group is not None:
            wish["group"] = group
        _drill(admin, wish, detach=detach, dry_run=dry_run, yes=yes, as_json=as_json)


def _duration(option: str, text: str, least: float, most: float) -> None:
    """Raise BadParameter where a text is no duration from `least` to `most` seconds."""
    seconds = parse_duration(text)
    if seconds is None or not least <= seconds <= most:
        bounds = f"{format_duration(least)} to {format_duration(most)}"
        remedy = f"{text}s" if text.isdigit() else "30s"
        raise click.BadParameter(f"{text!r} is no duration from {bounds} (write {remedy})", param_hint=option)


def _drill(admin: str, wish: dict[str, Any], *, detach: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    from balancer.cli.targets import may

    planned = _post(admin, _API, {**wish, "dry_run": True})  # refused before anybody is asked
    told = f"fail {wish['zone']} in {wish.get('group') or 'every group that has it'} for {wish['for']}"
    if dry_run and as_json:
        _json(planned)
        return
    if not may(told, yes=yes, dry_run=dry_run):
        return
    began = _post(admin, _API, wish)
    if not detach:
        began = _follow(admin, began, quiet=as_json)
    _print(began, as_json=as_json)
    if began["end"] in ("guard_rail", "control_lost"):
        raise click.exceptions.Exit(1)


def _follow(admin: str, drill: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return the drill once it is over; Ctrl-C ends it."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    path = f"{_API}/{drill['id']}"
    said = time.monotonic()
    while drill["stage"] != "done":
        try:
            with console.status(drill["summary"]) as spinner:
                while drill["stage"] != "done":
                    spinner.update(f"{drill['stage']}: {drill['summary']}")
                    if not console.is_terminal and not quiet and time.monotonic() - said >= _SAY:
                        said = time.monotonic()
                        tell(f"{drill['stage']}: {drill['summary']}", err=True)
                    time.sleep(_LOOK)
                    drill = _patiently(admin, path, drill)
        except KeyboardInterrupt:
            ask(admin, f"{path}/stop", method="POST")
            tell("stopping: the zone serves again", err=True)
    return drill


def _patiently(admin: str, path: str, drill: dict[str, Any]) -> dict[str, Any]:
    """Return the drill, or what was known of it while the control process is being replaced."""
    for attempt in range(20):
        try:
            return _get(admin, path)
        except InputFault:
            if attempt == 19:
                raise
            time.sleep(_LOOK)
    return drill


def _stop(admin: str, *, as_json: bool) -> None:
    running = [one for one in _get(admin, _API)["drills"] if one["stage"] != "done"]
    if not running:
        raise InputFault("no drill runs")
    _post(admin, f"{_API}/{running[0]['id']}/stop", None)
    drill = running[0]
    deadline = time.monotonic() + 5.0
    while drill["stage"] in ("before", "running") and time.monotonic() < deadline:
        time.sleep(0.05)
        drill = _get(admin, f"{_API}/{drill['id']}")
    _print(drill, as_json=as_json)


def _list(admin: str, *, as_json: bool) -> None:
    document = _get(admin, _API)
    if as_json:
        _json(document)
        return
    for one in document["drills"]:
        tell(f"{one['id']}  {one['stage']:9}  {one['summary']}")
    if not document["drills"]:
        tell("no drill is kept")


def _print(drill: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _json(drill)
    else:
        tell(text(drill), nl=False)


def text(drill: dict[str, Any]) -> str:
    """Return a drill's report as plain text."""
    lines = [f"drill {drill['id']}: {drill['summary']}"]
    lines.append(f"groups: {', '.join(drill['groups'])}")
    during = drill["phases"]["during"]
    before = drill["phases"]["before"]
    silent = during is not None and not during["requests"] and not (before and before["requests"])
    if silent:
        lines.append("no request came before or during it, so it has shown nothing about traffic")
    for key, told in (
        ("left_s", "the last request went to the zone"),
        ("empty_s", "nothing ran in the zone any more"),
    ):
        if drill[key] is not None and not silent:
            lines.append(f"{drill[key]:g} s after it began {told}")
    for key, told in (("back_s", "the zone got its first request"), ("share_back_s", "it had its share again")):
        if drill[key] is not None:
            lines.append(f"{drill[key]:g} s after it ended {told}")
    zones = sorted({zone for phase in drill["phases"].values() if phase for zone in phase["zones"] if zone})
    rows = [("PHASE", "SECONDS", "REQUESTS", "FAILED", "P50", "P99", *(zone.upper() for zone in zones))]
    for name in _PHASES:
        phase = drill["phases"][name]
        if phase is not None:
            shares = [f"{phase['zones'].get(zone, 0):g}%" for zone in zones]
            times = (_ms(phase["p50_ms"]), _ms(phase["p99_ms"]))
            counts = (f"{phase['seconds']:g}", str(phase["requests"]), str(phase["failures"]))
            rows.append((name, *counts, *times, *shares))
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines += ["", *("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)]
    for name in _PHASES:
        phase = drill["phases"][name]
        if phase and phase["reasons"]:
            told = ", ".join(f"{word} {count}" for word, count in phase["reasons"].items())
            lines.append(f"failures {name}, by reason: {told}")
    return "\n".join(lines) + "\n"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}ms"


def _json(document: dict[str, Any]) -> None:
    import json

    tell(json.dumps(document, indent=2, ensure_ascii=False))


def _get(admin: str, path: str) -> dict[str, Any]:
    code, document = ask(admin, path)
    if code != 200:
        raise InputFault(f"{admin}: {document.get('detail', code)}")
    return document


def _post(admin: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    code, document = ask(admin, path, method="POST", body=body)
    if code != 200:
        raise InputFault(f"{admin}: {document.get('detail', code)}")
    return document
