"""`balancer demo`: the whole product on this machine, with six targets in three zones to stop, freeze and kill."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from balancer.cli.faults import InputFault
from balancer.cli.numbers import Whole

_PORT = Whole(0, 65535)


@click.command("demo")
@click.option("--port", type=_PORT, help="Port of the listener; 0 is any.  [default: 8080, or any if it is taken]")
@click.option("--admin-port", type=_PORT, help="Port of the admin server; 0 is any.  [default: 9900, or any]")
@click.option("--no-traffic", is_flag=True, help="Send no requests of the demo's own (20 a second).")
@click.option("--plain", is_flag=True, help="Print lines instead of the live view, as on a pipe.")
@click.option(
    "--access-log",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Append the balancer's access log to this file.  [default: nowhere]",
)
def demo(port: int | None, admin_port: int | None, no_traffic: bool, plain: bool, access_log: Path | None) -> None:
    """Run the balancer before six targets in three zones, all on 127.0.0.1, without Docker.

    On a terminal a live view shows where requests go while keys stop, freeze and kill targets. Elsewhere a line is
    printed when something changes. It runs until q, Ctrl-C or SIGTERM, and leaves nothing behind.

    \b
    Examples:
      balancer demo
      balancer demo --port 8081 --admin-port 9901
      balancer demo --plain --no-traffic --access-log access.log

    \b
    Exit codes:
      0   stopped by a key or a signal
      1   a port is taken, or the demo's configuration has faults
      2   wrong usage
      70  our fault
    """
    if not sys.platform.startswith("linux"):
        raise InputFault("balancer demo needs Linux (elsewhere: docker compose up --build -d --wait)")
    from balancer.demo.places import Unusable
    from balancer.demo.product import Ended
    from balancer.demo.stage import Options, run

    try:
        code = run(Options(port, admin_port, not no_traffic, plain, access_log))
    except Unusable as fault:
        raise InputFault(str(fault)) from fault
    except Ended as end:
        click.echo(str(end), err=True)
        code = end.code
    raise click.exceptions.Exit(code)
