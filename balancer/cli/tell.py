"""tell: how a command prints what others have said: nothing reaches the terminal that it would obey, not show.

Paths, hosts and ids are those of strangers, and some bytes of them begin a sequence for a terminal, or turn the text.
"""

from __future__ import annotations

import click

from balancer.log.line import visible


def tell(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print text, with JSON's escapes for what is not printable: JSON stays the JSON that it was."""
    click.echo("\n".join(map(visible, text.split("\n"))), nl=nl, err=err)
