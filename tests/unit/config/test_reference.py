"""`docs/configuration.md`: its reference is made from the schema, and every example in it is sound.

After a change of the schema: `python -m tests.unit.config.test_reference` writes the reference anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balancer.config.load import load
from balancer.config.schema import schema

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
BEGIN, END = "<!-- reference: made from the schema -->", "<!-- end of the reference -->"
ORDER = [
    *(
        ("Admin", "admin"),
        ("AccessLog", "access_log"),
        ("Listener", "listeners"),
        ("ClientTimeouts", "listeners.timeouts"),
        ("RateLimit", "listeners.rate_limit"),
    ),
    *(("Limits", "listeners.limits"), ("Rule", "listeners.rules"), ("Match", "listeners.rules.match")),
    *(("Action", "listeners.rules.action"), ("Redirect", "listeners.rules.action.redirect")),
    *(("FixedResponse", "listeners.rules.action.fixed_response"), ("TargetGroup", "target_groups")),
    *(("Target", "target_groups.targets"), ("Discover", "target_groups.discover")),
    *(("HealthCheck", "target_groups.health_check"), ("Zones", "target_groups.zones")),
    *(("UpstreamTimeouts", "target_groups.timeouts"), ("Retry", "target_groups.retry")),
    *(("Passive", "target_groups.passive"), ("Queue", "target_groups.queue")),
]


def reference() -> str:
    """Return the reference as Markdown: a table for each section."""
    document = schema()
    parts = [_table("The whole file", document)]
    parts += [_table(f"`{path}`", document["definitions"][name]) for name, path in ORDER]
    return "\n".join(parts)


def _table(title: str, section: dict[str, Any]) -> str:
    lines = [f"### {title}", "", section["description"], "", "| key | default | is | example |", "|---|---|---|---|"]
    needed = section.get("required", [])
    for key, value in section["properties"].items():
        default = (
            "**needed**" if key in needed else _code(value["default"]) if value.get("default") not in ({}, None) else ""
        )
        text = value["description"].replace("|", "\\|")
        lines.append(f"| `{key}` | {default} | {text} | {_code(value['examples'][0])} |")
    return "\n".join([*lines, ""])


def _code(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return "`{}`".format(re.sub(r'"([a-z0-9_-]+)":', r"\1:", text).replace("|", "\\|").replace("\n", "\\n"))


def examples() -> Iterator[str]:
    """Yield every YAML block of the page."""
    yield from re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_reference_tells_what_the_schema_tells() -> None:
    written = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert written.strip() == reference().strip(), "run: python -m tests.unit.config.test_reference"


def test_no_section_is_forgotten() -> None:
    assert {name for name, _ in ORDER} == set(schema()["definitions"])


@pytest.mark.parametrize("example", list(examples()), ids=lambda text: text.splitlines()[0])
def test_every_example_of_the_page_is_sound(tmp_path: Path, example: str) -> None:
    """A part of a file is put where it belongs: what it leaves out is added."""
    groups = ", ".join(f"{{name: {name}, discover: [{{dns: a, port: 1}}]}}" for name in ("demo", "shop", "shop-canary"))
    parts = {
        "listeners:": "listeners: [{name: web, address: 127.0.0.1:8080, rules: [{action: {forward: demo}}]}]\n",
        "target_groups:": f"target_groups: [{groups}]\n",
    }
    file = tmp_path / "c.yaml"
    file.write_text(example + "".join(part for key, part in parts.items() if f"\n{key}" not in f"\n{example}"))
    assert [str(fault) for fault in load(file, {"TOKEN": "t"}).faults] == []


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{reference()}\n{END}{rest.partition(END)[2]}")
