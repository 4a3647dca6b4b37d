"""The JSON Schema that editors read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from balancer.config.schema import DRAFT, schema, text
from balancer.config.source import read

CONFIG = Path(__file__).parents[3] / "config"
NO_DEFAULT = {"action", "to", "rate", "dns", "port", "name", "address", "forward", "redirect", "fixed_response"}
NO_DEFAULT |= {
    "burst",
    "fast_interval",
    "unhealthy_interval",
    "local",
}  # left out means something that the description tells


def properties(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every property with its path."""
    for name, section in [("", value), *value.get("definitions", {}).items()]:
        for key, found in section.get("properties", {}).items():
            yield f"{name}.{key}", found


def test_the_committed_schema_is_up_to_date() -> None:
    assert (CONFIG / "balancer.schema.json").read_text() == text(), "run: balancer schema > config/balancer.schema.json"


def test_every_property_has_a_description_an_example_and_its_default() -> None:
    found = list(properties(schema()))
    assert len(found) > 80
    for path, value in found:
        assert value.get("description"), path
        assert value.get("examples"), path
        assert "default" in value or path.split(".")[-1] in NO_DEFAULT, path


def test_defaults_are_shown_as_people_write_them() -> None:
    shown = {path: value.get("default") for path, value in properties(schema())}
    assert shown[".workers"] == "auto"
    assert shown[".stop_timeout"] == "8s"
    assert shown["Limits.head"] == "32KiB"
    assert shown["HealthCheck.expected_statuses"] == "200-399"
    assert shown["HealthCheck.type"] == "tcp"
    assert shown["Retry.on"] == ["connect", "reset"]


def test_only_words_of_draft_07_are_used() -> None:
    written = text()
    assert schema()["$schema"] == DRAFT
    for word in ("$defs", "prefixItems", "unevaluated", "dependentRequired", "null"):
        assert word not in written
    jsonschema.Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("file", sorted(CONFIG.rglob("*.yaml")), ids=lambda file: file.name)
def test_an_editor_finds_no_fault_in_what_is_shipped(file: Path) -> None:
    tree = read(file, {f"TARGET_{number}": str(number) for number in range(9)}).tree
    assert tree is not None
    plain = json.loads(json.dumps(tree.data))
    errors = [error.message for error in jsonschema.Draft7Validator(schema()).iter_errors(_as_written(plain))]
    assert errors == []


def _as_written(value: Any) -> Any:
    """Return the data with numbers that came from outside as the references they were."""
    if isinstance(value, dict):
        return {key: _as_written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_written(item) for item in value]
    return "${X}" if isinstance(value, str) and value.isdigit() else value


def test_an_editor_finds_what_is_wrong() -> None:
    check = jsonschema.Draft7Validator(schema())
    assert list(check.iter_errors({"listners": []}))
    assert list(check.iter_errors({"stop_timeout": 5}))
    assert list(check.iter_errors({"access_log": "on"}))
    assert not list(check.iter_errors({"access_log": "off", "stop_timeout": "${STOP:-5s}"}))
