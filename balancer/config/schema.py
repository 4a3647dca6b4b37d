"""The JSON Schema of the configuration, in the words of draft-07, which is what editors read."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from balancer.config.sections.configuration import Configuration
from balancer.config.sections.section import Section

DRAFT = "http://json-schema.org/draft-07/schema#"


class _Draft07(GenerateJsonSchema):
    """Writes defaults as people write them in YAML."""

    def encode_default(self, dft: Any) -> Any:
        return _written(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title made from the key tells nothing


def schema() -> dict[str, Any]:
    """Return the schema of the whole configuration."""
    made = Configuration.model_json_schema(ref_template="#/definitions/{model}", schema_generator=_Draft07)
    definitions = made.pop("$defs")
    top = {"$schema": DRAFT, "title": "Configuration of the balancer"}
    return {
        **top,
        **_tidy({key: value for key, value in made.items() if key != "title"}),
        "definitions": {name: _tidy(definition) for name, definition in sorted(definitions.items())},
    }


def text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _written(value: Any) -> Any:
    if isinstance(value, Section):
        return {}  # its own keys carry their defaults
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple) and value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in value)  # ranges of statuses
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return value


def _tidy(value: Any) -> Any:
    """Return the schema with what draft-07 would not see put where it does: beside a $ref it reads nothing."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    tidied = {key: _tidy(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    if tidied.get("default", ...) is None:
        del tidied["default"]  # left out has a meaning of its own, which the description gives
    if "$ref" in tidied and len(tidied) > 1:
        return {"allOf": [{"$ref": tidied.pop("$ref")}], **tidied}
    return tidied
