"""What a command raises when its input is at fault: a message for people and exit code 1, never a traceback."""

from __future__ import annotations

from typing import IO, Any

import click

from balancer.log.line import visible


def line_of(fault: dict[str, Any]) -> str:
    """Return a fault as the admin API tells it in one line; without a place where no file is at fault."""
    where = f"{fault['file']}:{fault['line']}:{fault['column']}: " if fault["file"] else ""
    path = f"{fault['path']}: " if fault["path"] else ""
    return f"{where}{path}{fault['message']}"


class InputFault(click.ClickException):
    """`where: what is wrong (what to do instead)`; printed as it is."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo("\n".join(map(visible, self.format_message().split("\n"))), file=file, err=file is None)
