"""Section: a set of keys, all of them known, none of them converted from another type."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Every section of the file is one; the first paragraph of its docstring is its hover help.

    `short` is the way in which one would write what is meant where a value alone stands, with {} for that value.
    """

    short: ClassVar[str] = ""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
