"""The mounted folder is edited while it serves: a good edit takes effect, a bad one changes nothing and is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack, eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(480, func_only=True)]

# Two looks of the watcher a second apart have to agree, and some time to apply.
TAKES_EFFECT = 5.0


@pytest.fixture
def edited(stack: Stack) -> Iterator[Stack]:
    """The stack, with its configuration put back after the test."""
    yield stack
    stack.restore()


def with_a_rule(text: str) -> str:
    """Return the configuration with a redirect as the first rule of the listener."""
    rule = '{match: {paths: ["=/edited"]}, action: {redirect: {to: "/elsewhere", status: 307}}}'
    changed, count = re.subn(r"^( +)rules:.*$", rf"\g<0>\n\1  - {rule}", text, count=1, flags=re.MULTILINE)
    assert count == 1, "config/balancer.yaml has no line `rules:`"
    return changed


@pytest.mark.parametrize("way", ["renamed over the old file", "written in place"])
def test_an_edit_takes_effect_without_a_lost_request(edited: Stack, way: str) -> None:
    version = edited.metrics().sum("config_version")
    assert edited.get("/edited")[0] == 200
    loop = edited.load(rate=100, duration=6)
    text = with_a_rule(edited.original)
    if way == "written in place":
        (edited.config / "balancer.yaml").write_text(text)
    else:
        edited.write(text)
    eventually(lambda: edited.get("/edited")[0] == 307, TAKES_EFFECT, "the new rule answers")
    assert edited.get("/edited")[1]["location"].endswith("/elsewhere")
    assert edited.metrics().sum("config_version") > version
    report = loop.finish()
    assert report.failed == 0, report
    edited.restore()
    eventually(lambda: edited.get("/edited")[0] == 200, TAKES_EFFECT, "the rule is gone again")


def test_broken_yaml_is_refused_and_the_old_configuration_serves_on(edited: Stack) -> None:
    version = edited.metrics().sum("config_version")
    lines = edited.original.splitlines()
    place = next(number for number, line in enumerate(lines, 1) if line.startswith("listeners:"))
    lines[place - 1] = "listeners: ["
    loop = edited.load(rate=100, duration=6)
    edited.write("\n".join(lines) + "\n")
    eventually(lambda: edited.metrics().sum("config_last_reload_success") == 0, TAKES_EFFECT, "the file is refused")
    last = edited.status()["config"]["last_reload"]
    assert last["success"] is False
    assert all(fault["file"].endswith("balancer.yaml") and fault["line"] >= place for fault in last["faults"])
    assert last["faults"]
    assert "balancer.yaml:" in edited.log()
    assert edited.metrics().sum("config_version") == version
    report = loop.finish()
    assert report.failed == 0, report
