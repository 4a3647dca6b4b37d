"""The `balancer` command: finds the command asked for, imports nothing else, and maps what went wrong to exit codes.

0 well, 1 the input is at fault, 2 wrong usage, 70 our fault, 130 Ctrl-C. A reader that goes away (`| head`) is met
with silence and 1.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import click

INTERRUPTED, OUR_FAULT = 130, 70

# name → what the list of commands says. Its module is balancer.cli.<name>, and in it the command of that name.
COMMANDS = {
    "run": "Run the balancer with CONFIG, a file or a folder.",
    "check": "Tell what is wrong in CONFIG, and what to write instead.",
    "plan": "Show the difference between CONFIG and what runs.",
    "reload": "Have the running balancer read its configuration again.",
    "status": "Show what runs: listeners, target groups, zones, targets.",
    "drain": "Give a target no new requests and let it finish those it has.",
    "undrain": "Let a target serve again.",
    "weight": "Give a target another weight than the configuration does.",
    "explain": "Tell why one request went where it went.",
    "drill": "Fail a zone on purpose for a set time, and report what came of it.",
    "health": "Tell by the exit code whether the balancer is well.",
    "schema": "Print the JSON Schema of the configuration.",
    "demo": "Run everything on this machine, with targets to play with.",
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter complains about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        code = _our_fault(error)
    sys.exit(code)


def _run(words: list[str]) -> int:
    if words[:1] == ["health"]:  # every few seconds, in every container: it must not cost an import of click
        from balancer.cli import health

        return health.main(words[1:])

    import click

    try:
        with _group().make_context("balancer", list(words)) as context:
            context.command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return 0


def _our_fault(error: Exception) -> int:
    """Save the traceback, tell in one line where, and return the exit code."""
    import tempfile
    import traceback

    from balancer.log.line import visible

    text = "".join(traceback.format_exception(error))
    told = visible(f"{type(error).__name__}: {error}".splitlines()[0])
    try:
        with tempfile.NamedTemporaryFile("w", prefix="balancer-", suffix=".txt", delete=False) as file:
            file.write(text)
        print(f"balancer: our fault, not yours: {told} (please report it with {file.name})", file=sys.stderr)
    except OSError:  # a read-only container: nowhere to save it
        print(f"{text}balancer: our fault, not yours: {told} (please report the lines above)", file=sys.stderr)
    return OUR_FAULT


def _group() -> click.Group:
    import click

    from balancer import __version__, compiled
    from balancer.cli.commands import Commands

    group = Commands(
        "balancer",
        COMMANDS,
        help="A self-hosted traffic tier: a load balancer with zones, health checks and reasons.",
        epilog="Exit codes: 0 well, 1 the input is at fault, 2 wrong usage, 70 our fault.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    message = f"%(prog)s %(version)s{' (compiled)' if compiled() else ''}"
    return click.version_option(__version__, prog_name="balancer", message=message)(group)
