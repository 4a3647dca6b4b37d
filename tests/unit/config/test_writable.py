"""A place for the access log is refused before it is needed, whoever runs the balancer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balancer.config.load import load
from balancer.config.writable import why_not


def test_a_file_that_is_there_or_can_be_made_is_fine_and_nothing_is_made(tmp_path: Path) -> None:
    there = tmp_path / "there.log"
    there.write_text("kept\n")
    assert why_not(str(there)) is None
    assert why_not(str(tmp_path / "not-yet.log")) is None
    assert why_not("/dev/null") is None
    (tmp_path / "link").symlink_to("later.log")
    assert why_not(str(tmp_path / "link")) is None
    (tmp_path / "link").unlink()
    assert [*tmp_path.iterdir()] == [there]
    assert there.read_text() == "kept\n"


def test_what_cannot_be_a_log_says_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "no" / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    found = {
        name: why_not(str(tmp_path / name)) for name in ("", "no/x", "loop", "dangling", "pipe", "file/x", "a" * 300)
    }
    said = {name: f"{why[0]} ({why[1]})".replace(str(tmp_path), "T") for name, why in found.items() if why is not None}
    choose = f"(make it writable for user {os.geteuid()}, or choose another place)"
    assert said == {
        "": "T is a folder (write a file in it, such as T/access.log)",
        "no/x": "the folder T/no does not exist (make it, or choose another place)",
        "loop": "T/loop is a link that leads to itself (remove it)",
        "dangling": "the folder T/no does not exist (make it, or choose another place)",
        "pipe": f"T/pipe cannot be written to: no such device or address {choose}",
        "file/x": "the folder T/file does not exist (make it, or choose another place)",
        "a" * 300: f"T/{'a' * 300} cannot be written to: file name too long {choose}",
    }


def test_what_this_user_may_not_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may everywhere
    found = why_not(str(tmp_path / "x.log"))
    assert found == (f"nothing can be written in the folder {tmp_path}", f"make it writable for user {os.geteuid()}")


def test_it_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(
        "access_log: {path: /nowhere/x.log}\n"
        "listeners: [{name: web, address: '127.0.0.1:0', rules: [{action: {fixed_response: {status: 200}}}]}]\n"
    )
    loaded = load(file, {})
    assert [str(one).removeprefix(f"{file}:") for one in loaded.faults] == [
        "1:20: access_log.path: the folder /nowhere does not exist (make it, or choose another place)"
    ]
    assert loaded.snapshot is None
