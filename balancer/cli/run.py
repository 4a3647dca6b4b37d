"""`balancer run`: the supervisor, with control and workers as its children."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from balancer.cli.faults import InputFault


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
def run(config: Path) -> None:
    """Run the balancer with CONFIG, a file or a folder whose *.yaml are merged, until SIGTERM or Ctrl-C.

    \b
    Examples:
      balancer run config/balancer.yaml
      balancer run /etc/balancer

    \b
    Signals:
      SIGTERM, SIGINT  finish what runs, for at most stop_timeout; the second one ends it at once
      SIGHUP           read the configuration again

    \b
    Exit codes:
      0   stopped by a signal
      1   the configuration has faults, or an address cannot be bound
      2   wrong usage
      70  our fault
    """
    try:
        config.stat()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        said = "no such file or folder" if gone else (error.strerror or "it cannot be read").lower()
        raise InputFault(f"{config}: {said} (name the configuration: balancer run config/)") from error
    if not sys.platform.startswith("linux"):
        raise InputFault("balancer run needs Linux (elsewhere, use the container image)")
    from balancer.process.supervisor import Supervisor

    raise click.exceptions.Exit(Supervisor(config.absolute()).run())
