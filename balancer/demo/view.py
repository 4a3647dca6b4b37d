"""The live view: one screen with who gets the requests, how each target is, and what has just happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from balancer.demo.sight import Sight, TargetSight, ZoneSight
from balancer.demo.targets import Target

_COLOURS = {
    "healthy": "green",
    "running": "green",
    "unknown": "yellow",
    "draining": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "frozen": "cyan",
}
_NARROW = 90  # columns: below this, bars are short
_BAR, _SHORT_BAR = 12, 5  # characters for 50 % of the traffic and above
_FIXED = 21  # lines that are there beside the events


@dataclass(frozen=True, slots=True)
class Load:
    """What has become of the demo's own requests; `slowest` in seconds."""

    per_second: int
    sent: int
    failed: int
    slowest: float
    last_failure: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is on the screen. `events`: (time of day, what happened), oldest first."""

    listener: str
    admin: str
    tries: Sequence[tuple[str, str]]
    sight: Sight
    silent: bool  # the admin server does not answer: what is shown is the last that is known
    targets: Sequence[Target]
    selected: str
    load: Load | None
    events: Sequence[tuple[str, str]]


def screen(scene: Scene, width: int, height: int) -> RenderableType:
    """Return the screen for a terminal of that many columns and lines."""
    room = max(1, height - _FIXED)
    return Group(
        _title(scene),
        Text(),
        _table(scene, _SHORT_BAR if width < _NARROW else _BAR),
        Text(),
        _traffic(scene),
        Text(),
        *(
            Text.assemble((f"{what + ':':<18}", "dim"), how, overflow="ellipsis", no_wrap=True)
            for what, how in scene.tries
        ),
        Text(),
        Text("What happened", style="bold"),
        *([_event(*event) for event in list(scene.events)[-room:]] or [Text("  nothing yet: press a key", "dim")]),
        Text(),
        *_keys(scene.selected),
    )


def _title(scene: Scene) -> RenderableType:
    sight = scene.sight
    total = sum(zone.total for zone in sight.zones)
    well = Text(f"{sight.healthy} of {total} targets healthy")
    well.stylize("green" if sight.healthy == total else "yellow" if sight.healthy else "red")
    if sight.panic:
        well.append(", panic", style="red")
    lines = Table.grid(padding=(0, 2))
    lines.add_row(Text("balancer demo", style="bold"), Text.assemble("listener ", (scene.listener, "bold")), well)
    note = Text("the admin server does not answer", "red") if scene.silent else Text(sight.policy, "dim")
    lines.add_row(Text(), Text.assemble("admin    ", (scene.admin, "bold")), note)
    return lines


def _table(scene: Scene, bar: int) -> RenderableType:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name, width in (("zone", 12), ("key", 3), ("name", 4), ("pid", 7), ("process", 8), ("state", 9)):
        table.add_column(name, no_wrap=True, min_width=width, justify="right" if name == "pid" else "left")
    table.add_column("reason", overflow="ellipsis", min_width=8)  # what gives way where there is no room
    table.add_column("req/s", justify="right", no_wrap=True, min_width=5)
    table.add_column("share", no_wrap=True, min_width=6 + bar)
    sights = {one.name: one for one in scene.sight.targets}
    zones = {one.name: one for one in scene.sight.zones}
    seen: set[str] = set()
    for key, target in enumerate(scene.targets, 1):
        first = target.zone not in seen
        seen.add(target.zone)
        table.add_row(
            _zone(target.zone, zones.get(target.zone), first, target.zone == scene.selected),
            str(key),
            target.name,
            str(target.pid or "-"),
            _word(target.process),
            *_target(sights.get(target.name), bar),
        )
    return table


def _zone(name: str, zone: ZoneSight | None, first: bool, selected: bool) -> Text:
    mark = "▸ " if selected else "  "
    if first:
        return Text(mark + name, style="bold" if selected else "")
    return Text(f"{mark}gets {zone.share:.0f} %" if zone is not None else "", style="" if selected else "dim")


def _target(one: TargetSight | None, width: int) -> tuple[Text, Text, Text, Text]:
    if one is None:
        return Text("-"), Text(), Text(), Text()
    bar = "█" * round(min(one.share, 50) / 50 * width)
    reason = "" if one.state == "healthy" else one.reason
    return (
        _word(one.state),
        Text(reason, no_wrap=True),
        Text(f"{one.per_second:.1f}"),
        Text(f"{one.share:3.0f} % {bar}"),
    )


def _word(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, "red"))


def _traffic(scene: Scene) -> Text:
    load = scene.load
    if load is None:
        return Text(f"No traffic of the demo's own. All requests: {scene.sight.per_second:.1f}/s")
    text = Text(f"Traffic: {load.per_second} requests/s, {load.sent} sent, ")
    text.append(f"{load.failed} failed", style="red" if load.failed else "green")
    if load.last_failure:
        text.append(f" ({load.last_failure})")
    return text.append(f", slowest of the last 10 s: {load.slowest * 1000:.0f} ms")


def _event(at: str, told: str) -> Text:
    return Text.assemble("  ", (at, "dim"), "  ", told, overflow="ellipsis", no_wrap=True)


def _keys(selected: str) -> tuple[Text, Text]:
    return (
        Text.assemble(("1-6", "bold"), " stop or start a target   ", ("a b c", "bold"), " select a zone"),
        Text.assemble(
            *(("f", "bold"), f" freeze or thaw {selected}   "),
            *(("z", "bold"), f" kill or start {selected}   "),
            *(("q", "bold"), " quit"),
        ),
    )
