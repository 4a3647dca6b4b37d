"""`balancer check`: is this configuration sound, and if not, what should be written instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from balancer.config.fault import Fault
    from balancer.config.load import Loaded

MOST = 20  # faults shown to a person; --json has them all


@click.command("check")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with every fault and warning.")
def check(config: Path, as_json: bool) -> None:
    """Tell what is wrong in CONFIG, a file or a folder of *.yaml, and what to write instead.

    \b
    Examples:
      balancer check config/balancer.yaml
      balancer check /etc/balancer
      balancer check --json config/ | jq '.faults[].path'

    \b
    Exit codes:
      0  no faults (there may be warnings)
      1  faults, one a line on standard error
      2  wrong usage
    """
    import os
    import resource

    from balancer.config.load import load

    # The hard limit counts: `balancer run` raises the soft one to it.
    _, nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
    loaded = load(config, os.environ, nofile=None if nofile == resource.RLIM_INFINITY else nofile)
    if as_json:
        click.echo(_document(config, loaded))
    else:
        report(loaded)
        click.echo(f"{config}: {_contents(loaded)}{_verdict(loaded)}")
    if loaded.snapshot is None:
        raise click.exceptions.Exit(1)


def report(loaded: Loaded) -> None:
    """Print faults, then warnings, on standard error; beyond the first twenty of each only their number."""
    for faults, kind in ((loaded.faults, "faults"), (loaded.warnings, "warnings")):
        for fault in faults[:MOST]:
            line = str(fault) if kind == "faults" else warning_line(fault)
            click.echo(line, err=True)
        if len(faults) > MOST:
            click.echo(f"and {len(faults) - MOST} more {kind} (--json shows all)", err=True)


def warning_line(fault: Fault) -> str:
    """Return a warning as people read it: the place first, as in a fault, then the word."""
    path = f"{fault.path}: " if fault.path else ""
    return f"{fault.file}:{fault.line}:{fault.column}: warning: {path}{fault.message}"


def counted(count: int, thing: str) -> str:
    """Return `1 listener`, `2 listeners`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _verdict(loaded: Loaded) -> str:
    verdict = counted(len(loaded.faults), "fault") if loaded.faults else "no faults"
    return f"{verdict}, {counted(len(loaded.warnings), 'warning')}" if loaded.warnings else verdict


def _contents(loaded: Loaded) -> str:
    snapshot = loaded.snapshot
    if snapshot is None:
        return ""
    groups = snapshot.target_groups
    targets = sum(len(group.targets) for group in groups)
    names = sum(len(group.discover) for group in groups)
    parts = [counted(len(snapshot.listeners), "listener"), counted(len(groups), "target group")]
    if targets or not names:
        parts.append(counted(targets, "target"))
    if names:
        parts.append(f"{counted(names, 'name')} to discover")
    return f"{', '.join(parts)}: "


def _document(config: Path, loaded: Loaded) -> str:
    import json

    def plain(fault: Fault) -> dict[str, object]:
        place = {"file": fault.file, "line": fault.line, "column": fault.column, "path": fault.path}
        return {**place, "message": fault.message, "problem": fault.problem, "remedy": fault.remedy}

    document = {
        "config": str(config),
        "ok": loaded.snapshot is not None,
        "faults": [plain(fault) for fault in loaded.faults],
        "warnings": [plain(fault) for fault in loaded.warnings],
        "files": [str(file) for file in loaded.files],
    }
    return json.dumps(document, indent=2)
