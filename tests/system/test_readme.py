"""The documents: what they show works as it stands, what they link to exists, and no word or key lacks its entry."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from balancer.cli.main import COMMANDS
from balancer.config.load import load
from balancer.model.names import ProbeResult
from balancer.model.reason import REASONS
from tests.support.process import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "config").glob("**/*.md")])
SECTIONS = {"admin", "workers", "stop_timeout", "access_log", "listeners", "target_groups"}
REFERENCE = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")  # to a variable that an example takes for granted
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(language: str) -> list[Any]:
    """Return every fenced block of a language as a test's parameter, named by its document and line."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for block in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            found.append(pytest.param(block[1], id=f"{name(document)}:{line}"))
    return found


def forwarded_to(value: object) -> set[str]:
    """Return the names of the groups that some `forward` in a configuration leads to."""
    if isinstance(value, list):
        return {group for one in value for group in forwarded_to(one)}
    if not isinstance(value, dict):
        return set()
    to = value.get("forward")
    here = {to} if isinstance(to, str) else set(to) if isinstance(to, dict) else set()
    return here | {group for one in value.values() for group in forwarded_to(one)}


def completed(text: str) -> str:
    """Return an example as a whole configuration: the sections that it does not speak of are added."""
    shown = yaml.load(text, yaml.BaseLoader)
    added = ""
    groups = {group["name"] for group in shown.get("target_groups", [])} if "target_groups" in shown else set()
    missing = sorted(forwarded_to(shown) - groups)
    if "target_groups" not in shown:
        added += "target_groups:\n"
        for group in missing or ["demo"]:
            added += f"  - {{name: {group}, targets: [{{name: t1, address: '127.0.0.1:8001'}}]}}\n"
    if "listeners" not in shown:
        rules = "".join(f"{{match: {{paths: [/{group}/]}}, action: {{forward: {group}}}}}, " for group in groups)
        last = next(iter(groups), "demo")
        rules += f"{{action: {{forward: {last}}}}}"
        added += f"listeners: [{{name: web, address: '127.0.0.1:8080', rules: [{rules}]}}]\n"
    return f"{text.rstrip()}\n{added}"


def is_ours(text: str) -> bool:
    """Return whether a YAML block is for the balancer, not for Prometheus or compose."""
    shown = yaml.load(text, yaml.BaseLoader)
    return isinstance(shown, dict) and set(shown) <= SECTIONS


@pytest.mark.parametrize("text", [block for block in blocks("yaml") if is_ours(str(block.values[0]))])
def test_every_configuration_that_is_shown_has_no_fault(text: str, tmp_path: Path) -> None:
    file = tmp_path / "balancer.yaml"
    file.write_text(completed(text))
    loaded = load(file, dict.fromkeys(REFERENCE.findall(text), "given"))
    faults = [one for one in loaded.faults if one.path != "access_log.path"]  # the folder need not be here
    assert not faults, "\n".join(map(str, faults))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_something_that_exists(document: Path) -> None:
    broken = []
    for link in LINK.findall(re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(link)
    assert not broken


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_shown() -> dict[str, tuple[str, ...]]:
    """Return each way in which the documents call `balancer`: the command's name, with the options named."""
    shown: dict[str, tuple[str, ...]] = {}
    for document in DOCUMENTS:
        text = document.read_text()
        lines = [
            line
            for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            for line in block.splitlines()
        ]
        for said in [*lines, *re.findall(r"`(balancer [^`]+)`", text)]:
            for call in re.findall(
                r"(?:^|[\s/(])balancer ((?:[a-z]+|--[a-z-]+)(?: [^|>&;)\n]*)?)", said.replace("exec balancer ", "")
            ):
                words = call.split()
                shown[call] = (words[0], *(word.partition("=")[0] for word in words[1:] if word.startswith("--")))
    return shown


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    help_of = {command: run("balancer", command, "--help") for command in COMMANDS}
    top = run("balancer", "--help")
    unknown = []
    for call, (command, *options) in commands_shown().items():
        text = top if command.startswith("--") else help_of.get(command, "")
        wanted = [command, *options] if command.startswith("--") else options
        if not text or any(option not in text for option in wanted):
            unknown.append(call)
    assert not unknown


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{shlex.join(words)}: exit {done.returncode}\n{done.stderr}"
    return done.stdout


def test_every_make_target_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        shown = set(re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.MULTILINE))
        assert shown <= targets, name(document)


def test_shell_blocks_are_valid_shell() -> None:
    for block in blocks("sh"):
        done = subprocess.run(["bash", "-n"], input=str(block.values[0]), capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, f"{block.id}: {done.stderr}"


def test_every_command_has_its_row_of_exit_codes() -> None:
    rows = re.findall(r"^\| `balancer ([a-z]+)", (ROOT / "docs" / "exit-codes.md").read_text(), re.MULTILINE)
    assert set(rows) == set(COMMANDS)


def test_every_reason_has_its_entry_with_its_status() -> None:
    text = (ROOT / "docs" / "reasons.md").read_text()
    entries = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^#)", text, re.MULTILINE | re.DOTALL))
    later = text.partition("## Words of later versions")[2].partition("\n## ")[0]
    for reason in REASONS:
        entry = entries.get(reason.word)
        row = next((line for line in later.splitlines() if f"`{reason.word}`" in line), None)
        assert (entry is None) != (row is None), f"{reason.word}: one entry, or one row among the later ones"
        if reason.status:
            assert str(reason.status) in (entry or row or "").partition("\n")[0], reason.word
        assert entry is None or "What to do:" in entry or reason.word == "reuse_race", reason.word
    assert not set(entries) - {reason.word for reason in REASONS}


def test_a_reason_of_a_later_version_is_never_said() -> None:
    text = (ROOT / "docs" / "reasons.md").read_text()
    later = set(re.findall(r"`(\w+)`", text.partition("## Words of later versions")[2].partition("\n## ")[0]))
    said = set()
    for file in (ROOT / "balancer" / "data").glob("**/*.py"):
        for found in re.findall(
            r"(?:fail|Bad|abort|_refuse|request_failed|end|failed)\((?:self, )?\s*Reason\.(\w+)", file.read_text()
        ):
            said.add(found.lower())
    assert said, "the search finds something"
    assert not said & later


def test_every_finding_of_a_probe_is_explained() -> None:
    text = (ROOT / "docs" / "reasons.md").read_text().partition("## Why a target is in its state")[2]
    assert {result.value for result in ProbeResult} <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def test_every_key_of_the_access_log_is_explained_in_its_order() -> None:
    text = (ROOT / "docs" / "access-log.md").read_text()
    table = text.partition("## Keys")[2].partition("\n## ")[0]
    explained = [
        key for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    ]
    example = re.search(r"^\{.*\}$", text, re.MULTILINE)
    assert example
    assert explained == list(yaml.safe_load(example[0]))
    written = (ROOT / "balancer" / "data" / "record.py").read_text()
    assert all(f'"{key}":' in written for key in explained if key not in ("listener", "client")), explained
