"""page: the state of things as one plain page, without a script. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_REFRESH = 5  # seconds
_NUMBERS = ("weight", "active_requests", "healthy", "total", "share", "place", "pid", "restarts")
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --good: #1a7f37; --bad: #b42318; --mild: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --good: #4ac26b; --bad: #ff8177; --mild: #e3b341; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.healthy { color: var(--good); } .unhealthy, .fault { color: var(--bad); } .ejected, .draining { color: var(--mild); }
code { font: .9em ui-monospace, monospace; }
"""


def page(status: dict[str, Any]) -> str:
    """Return the page for the answer of `GET /api/v1/status`."""
    groups = status["target_groups"]
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>balancer</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="refresh" content="{_REFRESH}">',
            f"<style>{_STYLE}</style></head><body><main><h1>balancer {escape(status['version'])}</h1>",
            _summary(status),
            _table("Listeners", ("name", "protocol", "address"), status["listeners"]),
            *(_group(group, status["discovery"]) for group in groups),
            "<h2>Workers</h2>",
            _table("Workers", ("place", "pid", "started_at", "restarts", "active_requests"), status["workers"]),
            f"<p>This page reads itself anew every {_REFRESH} seconds.</p>",
            '<p>More: <a href="/metrics">metrics</a>, <a href="/api/v1/status">status as JSON</a>, ',
            '<a href="/api/v1/config">the configuration that runs</a>, ',
            '<a href="/api/v1/openapi.json">the description of the API</a>.</p></main></body></html>\n',
        )
    )


def _summary(status: dict[str, Any]) -> str:
    config = status["config"]
    last = config["last_reload"]
    text = f"<p>Configuration version {config['version']}, loaded {escape(str(config['loaded_at']))}.</p>"
    if not last["success"]:
        faults = "".join(
            (f"<li><code>{escape(one['file'])}:{one['line']}:{one['column']}</code> " if one["file"] else "<li>")
            + (f"{escape(one['path'])}: " if one["path"] else "")
            + f"{escape(one['message'])}</li>"
            for one in last["faults"]
        )
        text += f'<p class="fault">The last attempt ({escape(str(last["at"]))}) was rejected:</p><ul>{faults}</ul>'
    return text


def _group(group: dict[str, Any], names: Iterable[dict[str, Any]]) -> str:
    name = escape(group["name"])
    panic = ' <strong class="fault">panic: unhealthy targets serve too</strong>' if group["panic"] else ""
    gone = group["vanished"]
    vanished = f" {gone} vanished, counted in the zones for 60 s." if gone else ""
    zones = _table("Zones", ("name", "healthy", "total", "share"), group["zones"])
    columns = ("name", "address", "zone", "weight", "state", "since", "reason", "active_requests")
    lost = "".join(
        f'<p class="fault">The name <code>{escape(one["dns"])}</code> does not resolve: {escape(one["error"])} '
        f"(since {escape(str(one['since']))}). Is it spelt right, does its service run, do both share a network?</p>"
        for one in names
        if one["error"] and one["target_group"] == group["name"]
    )
    return (
        f"<h2>Target group {name}</h2><p>Policy {escape(group['policy'])}.{vanished}{panic}</p>{lost}"
        f"{zones}{_table('Targets', columns, group['targets'])}"
    )


def _table(caption: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    head = "".join(f"<th {_kind(column)}>{escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "".join("<tr>" + "".join(_cell(column, row[column]) for column in columns) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _kind(column: str) -> str:
    return 'scope="col" class="n"' if column in _NUMBERS else 'scope="col"'


def _cell(column: str, value: object) -> str:
    text = "" if value is None else escape(str(value)) + ("%" if column == "share" else "")
    if column == "state":
        return f'<td class="{text}">{text}</td>'
    return f'<td class="n">{text}</td>' if column in _NUMBERS else f"<td>{text}</td>"
