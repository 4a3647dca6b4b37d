"""Files and folders, YAML 1.2, and values from outside."""

# ruff: noqa: E501 - a table is read by line

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from balancer.config.environment import Substituted, Unresolved, substitute
from balancer.config.fault import Fault, few
from balancer.config.load import load
from balancer.config.source import read
from balancer.config.tree import MAX_NODES

WEB = "listeners: [{name: web, address: 127.0.0.1:8080, rules: [{action: {forward: demo}}]}]\n"
DEMO = 'target_groups: [{name: demo, targets: [{name: a1, address: "127.0.0.1:8001"}]}]\n'


def data(folder: Path, text: str, **environment: str) -> Any:
    """Return what a text means, as plain values."""
    file = folder / "c.yaml"
    file.write_text(text)
    source = read(file, environment)
    assert source.tree is not None, source.faults
    assert not source.findings
    return source.tree.data


def said(path: Path, **environment: str) -> list[str]:
    """Return every fault and warning without the folder's name."""
    loaded = load(path, environment)
    folder = path if path.is_dir() else path.parent
    return [str(fault).replace(f"{folder}/", "").replace(str(folder), ".") for fault in loaded.faults + loaded.warnings]


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("22:22", "22:22"),
        ("2026-01-01", "2026-01-01"),
        ("0x1f", "0x1f"),
        ("0o17", "0o17"),
        ("0777", 777),
        ("1_000", "1_000"),
        ("true", True),
        ("True", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("'12'", "12"),
        ('"true"', "true"),
        ("=", "="),
        ("2s", "2s"),
        ("12345678901234567890", 12345678901234567890.0),
    ],
)
def test_words_are_read_as_yaml_1_2(tmp_path: Path, written: str, means: object) -> None:
    value = data(tmp_path, f"key: {written}\n")["key"]
    assert value == means
    assert type(value) is type(means)


def test_keys_are_words_too(tmp_path: Path) -> None:
    assert data(tmp_path, "on: {off: no}\n1: x\n") == {"on": {"off": "no"}, "1": "x"}


def test_an_alias_repeats_a_value(tmp_path: Path) -> None:
    assert data(tmp_path, "a: &x {b: [1]}\nc: *x\n") == {"a": {"b": (1,)}, "c": {"b": (1,)}}


# fmt: off
BROKEN = [  # what is wrong, what stands there, what is said
    ("a tab", "admin:\n\taddress: x\n", "c.yaml:2:1: a tab indents this line (use spaces)"),
    ("a colon too many", "a: b: c\n", "c.yaml:1:5: a second ': ' in one line (put the value in quotes, or check the indentation)"),
    ("an open bracket", "a: [1, 2\n", "c.yaml:2:1: a '[' is not closed (write a comma between the entries and ] at the end)"),
    ("an open brace", "a: {b: c\n", "c.yaml:2:1: a '{' is not closed (write a comma between the entries and } at the end)"),
    ("an open quote", 'a: "b\n', "c.yaml:2:1: a quote is not closed (close it)"),
    ("an at sign", "a: @b\n", "c.yaml:1:4: a value cannot begin with '@' (put the value in quotes)"),
    ("an unknown anchor", "a: *b\n", "c.yaml:1:4: this alias has no anchor (write &name before its first use, or put the value in quotes)"),
    ("a star", "a: *\n", "c.yaml:1:5: a '*' or '&' without a name (put the value in quotes)"),
    ("an anchor twice", "a: &x 1\nb: &x 2\n", "c.yaml:2:4: this anchor is set twice (give it another name)"),
    ("two documents", "a: 1\n---\nb: 2\n", "c.yaml:2:1: a second document begins here (write one document a file, without ---)"),
    ("a key in a list", "- a\nb: c\n", "c.yaml:2:1: a key in the middle of a list (indent it under its '- ', or end the list)"),
    ("a wrong indentation", "a:\n  b: 1\n c: 2\n", "c.yaml:3:2: this line does not fit the one above (check indentation and quotes)"),
    ("an escape", 'a: "\\q"\n', "c.yaml:1:5: an unknown escape in double quotes (write it in single quotes)"),
    ("a control character", "a: b\nc: \x01\n", "c.yaml:2:4: the control character 0x01 (remove it)"),
    ("only a list", "- a\n", "c.yaml:1:1: this is not a set of sections (write listeners: and so on)"),
    ("only a word", "hello\n", "c.yaml:1:1: this is not a set of sections (write listeners: and so on)"),
    ("nothing", "", "c.yaml:1:1: nothing is written here (write listeners and target_groups)"),
    ("only a comment", "# later\n", "c.yaml:1:1: nothing is written here (write listeners and target_groups)"),
    ("a deep hole", "a: " + "[" * 200 + "\n", "c.yaml:1:102: nested deeper than 100 (close a bracket, or write fewer levels)"),
]
# fmt: on


@pytest.mark.parametrize("row", BROKEN, ids=lambda row: row[0])
def test_broken_yaml_is_told_with_its_place(tmp_path: Path, row: tuple[str, str, str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(row[1])
    assert said(file) == [row[2]]


def test_text_that_is_not_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"admin:\n  token: caf\xe9\n")
    assert said(file) == ["c.yaml:2:13: this is not UTF-8 (save the file as UTF-8)"]


def test_an_alias_inside_itself_ends(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("admin: &a [*a]\n" + WEB + DEMO)
    assert any("nested deeper than 100 (an alias inside itself never ends)" in line for line in said(file))


def test_aliases_of_aliases_are_bounded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    file = tmp_path / "c.yaml"
    file.write_text("\n".join(lines))
    told = said(file)
    assert any(f"aliases make more than {MAX_NODES} values (write fewer aliases of aliases)" in line for line in told)


# folders


def test_the_files_of_a_folder_are_one_configuration(tmp_path: Path) -> None:
    (tmp_path / "10-web.yaml").write_text(WEB)
    (tmp_path / "20-demo.yaml").write_text(DEMO)
    (tmp_path / "30-more.yaml").write_text(WEB.replace("web", "more").replace("8080", "8081"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.yaml").write_text("frobnicate: 1")
    (tmp_path / ".hidden.yaml").write_text("frobnicate: 1")
    (tmp_path / "README.md").write_text("hello")
    loaded = load(tmp_path, {})
    assert [str(fault) for fault in loaded.faults + loaded.warnings] == []
    assert loaded.snapshot is not None
    assert [listener.name for listener in loaded.snapshot.listeners] == ["web", "more"]
    assert [file.name for file in loaded.files] == ["10-web.yaml", "20-demo.yaml", "30-more.yaml"]


def test_a_name_in_two_files_is_told_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WEB + DEMO)
    (tmp_path / "b.yaml").write_text("\n" + WEB.replace("8080", "8081"))
    assert said(tmp_path) == [
        "b.yaml:2:20: listeners.web.name: the listener 'web' is there already, in a.yaml:1:20"
        " (give one of them another name)"
    ]


def test_a_section_in_two_files_is_told_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("workers: 1\n" + WEB)
    (tmp_path / "b.yaml").write_text(DEMO + "workers: 2\n")
    assert said(tmp_path) == [
        "b.yaml:2:1: workers: this section stands in a.yaml:1:1 too (keep it in one of the files)"
    ]


def test_a_fault_in_the_second_file_is_told_with_its_place_there(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WEB + DEMO)
    (tmp_path / "b.yaml").write_text("\ntarget_groups:\n  - {name: more, polcy: x}\n")
    assert said(tmp_path)[0] == "b.yaml:3:18: target_groups.more.polcy: unknown key (write policy)"


def test_a_file_that_is_called_yml_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WEB + DEMO)
    (tmp_path / "b.yml").write_text(WEB)
    assert said(tmp_path) == ["b.yml:1:1: this file is not read (call it b.yaml)"]


def test_one_unreadable_file_of_a_folder_does_not_hide_the_faults_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [")
    (tmp_path / "b.yaml").write_text(WEB + DEMO + "frobnicat: 1\n")
    assert len(said(tmp_path)) == 2


def test_a_folder_without_yaml_and_a_path_without_a_file_are_told(tmp_path: Path) -> None:
    assert said(tmp_path) == [".:1:1: no *.yaml in this folder (write one, such as balancer.yaml)"]
    assert said(tmp_path / "none.yaml") == [
        "none.yaml:1:1: cannot be read: no such file or directory (name a file, or a folder with *.yaml in it)"
    ]


def test_a_named_pipe_does_not_stop_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.yaml")
    assert said(tmp_path / "c.yaml") == ["c.yaml:1:1: nothing is written here (write listeners and target_groups)"]


# values from outside


def test_values_come_from_the_environment_and_numbers_stay_numbers(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    text = "workers: ${W}\nadmin: {insecure: '${I:-true}', token: '${T:-12}'}\nstop_timeout: ${S:-3s}\n"
    file.write_text(text + WEB + DEMO.replace("127.0.0.1:8001", "${HOST:-127.0.0.1}:${PORT}"))
    snapshot = load(file, {"W": "3", "PORT": "8009", "HOST": ""}).snapshot
    assert snapshot is not None
    assert (snapshot.workers, snapshot.admin.insecure, snapshot.admin.token) == (3, True, "12")
    assert snapshot.stop_timeout == 3.0
    assert snapshot.target_groups[0].targets[0].address == "127.0.0.1:8009"


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("${A}", "1"),
        ("x${A}y${A}", "x1y1"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${NONE:-d}", "d"),
        ("${NONE:-}", ""),
        ("${NONE:-a b:c}", "a b:c"),
        ("${A:-d}", "1"),
        ("${A:?m}", "1"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("^/r$", "^/r$"),
        ("$A", "$A"),
    ],
)
def test_references_are_replaced_as_compose_replaces_them(written: str, means: str) -> None:
    assert substitute(written, {"A": "1", "EMPTY": ""}, lambda _: "") == means


@pytest.mark.parametrize("written", ["${NONE}", "${NONE:?m}", "${EMPTY:?m}", "${}", "${A", "${a b}", "${A:+x}"])
def test_a_reference_that_cannot_be_replaced_is_refused(written: str) -> None:
    with pytest.raises(Unresolved):
        substitute(written, {"A": "1", "EMPTY": ""}, lambda _: "")


def test_a_value_from_outside_adds_no_structure(tmp_path: Path) -> None:
    value = data(tmp_path, "a: ${A}\n", A="{b: [1]}\nc: ${B}")["a"]
    assert value == "{b: [1]}\nc: ${B}"
    assert isinstance(value, Substituted)


def test_a_secret_comes_from_its_file_and_the_file_is_watched(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    file = tmp_path / "c.yaml"
    for setting in (f'token: "${{file:{secret}}}"', f"token_file: {secret}"):
        file.write_text(f"admin: {{{setting}}}\n{WEB}{DEMO}")
        loaded = load(file, {})
        assert loaded.snapshot is not None
        assert loaded.snapshot.admin.token == "s3cret"
        assert loaded.files == (file, secret)


MANY = [
    ("one key again and again", "x: {" + ",".join(["a: 1"] * 100_000) + "}\n", 100_000),
    ("the last of many keys again and again", f"x: {{{','.join(f'k{n}: 1' for n in range(20_000))}, {','.join(['k19999: 1'] * 20_000)}}}\n", 20_000),
    ("unknown keys", "".join(f"k{n}: 1\n" for n in range(20_000)), 20_000),
]  # fmt: skip


@pytest.mark.parametrize("row", MANY, ids=[row[0] for row in MANY])
def test_the_time_for_a_bad_file_grows_with_its_faults_and_not_with_their_square(
    tmp_path: Path, row: tuple[str, str, int]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(row[1])
    began = time.process_time()
    loaded = load(file, {})
    took = time.process_time() - began
    assert len(loaded.faults) >= row[2]
    assert took < 8  # 1 to 3 s; it was 11 s and more for 20,000 keys


def test_of_many_faults_the_first_are_kept_and_the_rest_are_counted() -> None:
    faults = tuple(Fault("c.yaml", line, 1, "x", "is wrong", "mend it") for line in range(1, 1001))
    kept = few(faults)
    assert kept[:-1] == faults[:100]
    assert str(kept[-1]) == "and 900 more (balancer check --json shows all)"
    assert few(faults[:100]) == faults[:100]
