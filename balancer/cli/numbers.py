"""Numbers on the command line, by the names that people have for them: click would speak of an "integer range"."""

from __future__ import annotations

import click


class Whole(click.IntRange):
    """A whole number from `min` to `max`."""

    name = "whole number"


class Number(click.FloatRange):
    """A number from `min` to `max`."""

    name = "number"
