"""Noticing that the configuration has changed."""

from __future__ import annotations

import os
from pathlib import Path

from balancer.control.watch import Watch


def watched(config: Path, *files: Path) -> Watch:
    watch = Watch(config)
    watch.about_to_load()
    watch.loaded(files or (config,))
    return watch


def looks(watch: Watch, times: int = 4) -> list[bool]:
    return [watch.changed() for _ in range(times)]


def test_a_changed_file_is_noticed_once_when_it_is_quiet(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("a: 1\n")
    watch = watched(file)
    assert looks(watch) == [False] * 4
    file.write_text("a: 2\n")
    assert not watch.changed()
    file.write_text("a: 33\n")
    assert not watch.changed()  # somebody is still writing
    assert looks(watch) == [True, False, False, False]


def test_a_touch_and_the_same_content_are_no_change(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("a: 1\n")
    watch = watched(file)
    os.utime(file, ns=(1, 1))
    assert looks(watch) == [False] * 4
    fresh = tmp_path / "b.new"
    fresh.write_text("a: 1\n")
    fresh.replace(file)
    assert looks(watch) == [False] * 4


def test_files_of_a_folder_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    watch = watched(tmp_path, tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("b: 1\n")
    assert any(looks(watch))
    (tmp_path / "b.yaml").unlink()
    assert any(looks(watch))
    (tmp_path / "notes.txt").write_text("nothing\n")
    assert not any(looks(watch))


def test_a_swapped_symlink_is_noticed_every_time(tmp_path: Path) -> None:
    link = tmp_path / "..data"
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    for number in range(3):
        folder = tmp_path / f"v{number}"
        folder.mkdir()
        (folder / "config.yaml").write_text(f"a: {number}\n")
    link.symlink_to("v0")
    watch = watched(tmp_path / "config.yaml")
    for number in (1, 2):
        fresh = tmp_path / "..tmp"
        fresh.symlink_to(f"v{number}")
        fresh.replace(link)
        assert any(looks(watch)), number


def test_further_files_of_a_configuration_are_watched_too(tmp_path: Path) -> None:
    file, secret = tmp_path / "b.yaml", tmp_path / "token"
    file.write_text("a: ${file:token}\n")
    secret.write_text("one\n")
    watch = watched(file, file, secret)
    secret.write_text("two\n")
    assert any(looks(watch))


def test_what_is_written_during_a_load_is_seen_after_it(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("a: 1\n")
    watch = watched(file)
    watch.about_to_load()
    file.write_text("a: 2\n")
    watch.loaded([file])
    assert any(looks(watch))


def test_a_file_that_is_gone_and_back_is_no_trouble(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("a: 1\n")
    watch = watched(file)
    file.unlink()
    assert any(looks(watch))
    file.write_text("a: 1\n")
    assert any(looks(watch))


def test_a_file_without_a_name_left_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("a: 1\n")
    with file.open() as mounted:  # as a bind mount of a single file goes on showing the old one
        name = Path(f"/proc/self/fd/{mounted.fileno()}")
        watch = watched(name)
        assert watch.replaced_on_host() == []
        file.unlink()
        assert watch.replaced_on_host() == [name]
        assert watch.replaced_on_host() == []


def test_a_link_to_itself_is_a_change_and_so_is_the_file_that_replaces_it(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("a: 1\n")
    watch = watched(file)
    file.unlink()
    file.symlink_to(file.name)
    assert looks(watch) == [False, True, False, False]
    watch.about_to_load()
    watch.loaded((file,))
    assert looks(watch) == [False] * 4
    assert watch.replaced_on_host() == []
    file.unlink()
    file.write_text("a: 2\n")
    assert looks(watch) == [False, True, False, False]


def test_a_file_that_is_too_large_to_load_is_a_change_and_not_read_whole(tmp_path: Path) -> None:
    """A terabyte, all of it a hole: reading it would take control's memory and its time."""
    file = tmp_path / "b.yaml"
    file.write_text("a: 1\n")
    watch = watched(file)
    with file.open("w") as stream:
        stream.truncate(1 << 40)
    assert looks(watch) == [False, True, False, False]
    watch.about_to_load()
    watch.loaded([file])
    assert looks(watch) == [False] * 4
    with file.open("w") as stream:
        stream.truncate(1 << 41)
    assert looks(watch) == [False, True, False, False]
    file.write_text("a: 1\n")
    assert looks(watch) == [False, True, False, False]
