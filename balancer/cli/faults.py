"""What a command raises when its input is at fault: a message for people and exit code 1, never a traceback."""

from __future__ import annotations

from typing import IO, Any

import click


class InputFault(click.ClickException):
    """`where: what is wrong (what to do instead)`; printed as it is."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file, err=file is None)
