"""Section: a set of keys, all of them known, none of them converted from another type."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Every section of the file is one; the first paragraph of its docstring is its hover help."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
