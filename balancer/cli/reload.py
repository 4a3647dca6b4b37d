"""`balancer reload`: has the running balancer take over what is on disk; says what changed, or what is wrong."""

from __future__ import annotations

from typing import Any

import click

from balancer.cli.admin import admin_option, ask
from balancer.cli.faults import InputFault, line_of

_PATIENCE = 30.0  # seconds: reading, checking, and an answer of every worker
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command("reload")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of /api/v1/reload as one JSON document.")
@admin_option
def reload(as_json: bool, admin: str) -> None:
    """Read the configuration again and apply it to every worker; if it has faults, nothing changes.

    `balancer plan CONFIG` shows beforehand what would change.

    \b
    Examples:
      balancer reload
      balancer reload --admin http://127.0.0.1:9901
      balancer reload --json | jq .changes

    \b
    Exit codes:
      0  every worker runs on the configuration that is on disk
      1  it has faults and nothing was changed, or nothing answers at the admin URL
      2  wrong usage
    """
    import json

    code, document = ask(admin, "/api/v1/reload", method="POST", timeout=_PATIENCE)
    if "success" not in document:
        raise InputFault(f"{admin}: {document.get('detail', code)}")
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif document["success"]:
        for line in changes(document):
            click.echo(line)
    else:
        for one in document["faults"]:
            click.echo(line_of(one), err=True)
        click.echo(f"nothing was changed; version {document['version']} still runs", err=True)
    if not document["success"]:
        raise click.exceptions.Exit(1)


def changes(document: dict[str, Any]) -> list[str]:
    """Return what has changed, a line for each object and field, and the version that runs."""
    lines = []
    for one in document["changes"]:
        lines.append(f"{_SIGNS[one['kind']]} {one['kind']} {one['object']} {one['path']}: {one['cost']}")
        lines += [f"    {field['name']}: {field['old']} → {field['new']}" for field in one["fields"]]
    kept = [f"! kept {one}" for one in document.get("kept", ())]
    if not lines:
        return [*kept, f"no change; version {document['version']} runs"]
    return [*lines, *kept, f"version {document['version']} runs in every worker"]
