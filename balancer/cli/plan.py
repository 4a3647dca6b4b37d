"""`balancer plan`: what a reload with this configuration would change in the balancer that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from balancer.cli.admin import admin_option, ask
from balancer.cli.faults import InputFault

if TYPE_CHECKING:
    from balancer.config.plan import Change
    from balancer.model.snapshot import Snapshot

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command("plan")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with every change.")
@admin_option
def plan(config: Path, as_json: bool, admin: str) -> None:
    """Show the difference between CONFIG and what runs, object by object, and what each change costs.

    \b
    Examples:
      balancer plan config/
      balancer plan --admin http://127.0.0.1:9901 balancer.yaml
      balancer plan --json config/ | jq '.changes[] | select(.restart)'

    \b
    Exit codes:
      0  the plan is shown, whether or not there are changes
      1  CONFIG has faults, or nothing answers at the admin URL
      2  wrong usage
    """
    import os

    from balancer.cli.check import report
    from balancer.config.load import load
    from balancer.config.plan import arranged, diff
    from balancer.control.reload import hash_of

    loaded = load(config, os.environ)
    report(loaded)
    if loaded.snapshot is None:
        raise click.exceptions.Exit(1)
    running, running_hash = _running(admin)
    changes = diff(running, loaded.snapshot)
    kept = _kept(admin, loaded.snapshot)
    differs = not changes and running_hash not in ("", hash_of(loaded.snapshot))
    hidden = differs and running_hash != hash_of(arranged(loaded.snapshot, running))
    if as_json:
        click.echo(_document(config, admin, changes, kept, hidden=hidden, reordered=differs and not hidden))
    else:
        text = _text(config, admin, changes, hidden=hidden, reordered=differs and not hidden)
        click.echo("\n".join([*(f"! kept {one}" for one in kept), text]))


def _running(admin: str) -> tuple[Snapshot, str]:
    """Return the configuration that runs, its secrets masked, and the hash of all of it; raise InputFault if there is
    none to be had."""
    import json

    from balancer.model.codec import decode

    status, document = ask(admin, "/api/v1/config")
    url = f"{admin.rstrip('/')}/api/v1/config"
    if status != 200:
        raise InputFault(f"{url} answers {status} (is this the admin address?)")
    try:
        return decode(json.dumps(document["snapshot"]).encode()), str(document.get("hash", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputFault(f"{url} answers something else than a configuration (is this the same version?)") from error


def _kept(admin: str, snapshot: Snapshot) -> list[str]:
    """Return in words what the operator ordered that a reload with `snapshot` would not undo."""
    status, document = ask(admin, "/api/v1/status")
    if status != 200:
        return []
    written = {(group.name, target.name): target for group in snapshot.target_groups for target in group.targets}
    told = []
    for group in document.get("target_groups", ()):
        for one in group["targets"]:
            order, target = one.get("order") or {}, written.get((group["name"], one["name"]))
            name = f"{group['name']}/{one['name']}"
            if target is None and "#" not in one["name"]:
                continue  # it leaves, and its orders with it
            if order.get("drain") and not (target and target.drain):
                told.append(f"{name} stays drained by the operator (balancer undrain {name})")
            if order.get("drain") is False and target and target.drain:
                told.append(f"{name} goes on serving by the operator's word (balancer drain {name})")
            configured = target.weight if target else one["configured_weight"]
            if order.get("weight") is not None and order["weight"] != configured:
                told.append(f"{name} keeps the operator's weight {order['weight']} (balancer weight {name} reset)")
    return told


def _text(config: Path, admin: str, changes: tuple[Change, ...], *, hidden: bool, reordered: bool) -> str:
    if hidden:
        what = "the token, or secret values of headers or query keys"
        return f"~ {what}, which are not shown\n{config}: nothing else changes against {admin}"
    if reordered:
        return f"{config}: only the order differs, of listeners, rules, target groups or targets, against {admin}"
    if not changes:
        return f"{config}: no change against {admin}"
    lines = []
    for change in changes:
        lines.append(f"{_SIGNS[change.kind]} {change.kind} {change.object} {change.path}: {change.cost}")
        lines += [f"    {field.name}: {field.old} → {field.new}" for field in change.fields]
    counts = {kind: sum(change.kind == kind for change in changes) for kind in _SIGNS}
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    restart = "; a reload would refuse this, restart instead" if any(change.restart for change in changes) else ""
    return "\n".join([*lines, f"{config}: {summary} against {admin}{restart}"])


def _document(
    config: Path, admin: str, changes: tuple[Change, ...], kept: list[str], *, hidden: bool, reordered: bool
) -> str:
    import dataclasses
    import json

    document = {
        "config": str(config),
        "admin": admin,
        "restart": any(change.restart for change in changes),
        "kept": kept,
        "hidden": hidden,  # only values differ that are masked
        "reordered": reordered,  # only the order differs
        "changes": [dataclasses.asdict(change) for change in changes],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
