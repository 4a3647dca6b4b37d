"""The group of commands: each is imported when it is asked for, not when it is listed."""

from __future__ import annotations

import importlib
from typing import Any

import click

from balancer.model.meant import meant


class Commands(click.Group):
    """A click group over modules `balancer.cli.<name>`; `table` says in a line what each command does."""

    def __init__(self, name: str, table: dict[str, str], **settings: Any) -> None:
        super().__init__(name, **settings)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, importing its module; None if there is none of that name."""
        if cmd_name not in self._table:
            return None
        if cmd_name == "health":
            return _health()
        command = getattr(importlib.import_module(f"balancer.cli.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"balancer.cli.{cmd_name}.{cmd_name} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with; the nearest name is offered for one that does not exist."""
        name = str(args[0])
        if name not in self._table and not name.startswith("-"):
            near = meant(name, self._table)
            ctx.fail(f"no such command {name!r}" + (f" (did you mean {near!r}?)" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))


def _health() -> click.Command:
    """Return `health` as a click command; `main` has not even imported click when it runs it itself."""
    from balancer.cli import health

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(
        "health",
        params=[words],
        callback=lambda words: click.get_current_context().exit(health.main(list(words))),
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )
