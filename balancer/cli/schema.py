"""`balancer schema`: what an editor needs to help with the configuration."""

from __future__ import annotations

import click


@click.command("schema")
def schema() -> None:
    """Print the JSON Schema (draft-07) of the configuration.

    \b
    Examples:
      balancer schema > balancer.schema.json
      balancer schema | jq '.definitions.HealthCheck.properties.interval'

    \b
    Then begin each file with:
      # yaml-language-server: $schema=./balancer.schema.json

    \b
    Exit codes:
      0  printed
      2  wrong usage
    """
    from balancer.config.schema import text

    click.echo(text(), nl=False)
