"""Whatever stands in a file: a Snapshot, or faults with places; never an exception, and the same answer each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balancer.config.load import Loaded, load
from balancer.config.plan import diff
from balancer.model.codec import decode, encode

CONFIG = Path(__file__).parents[2] / "config"
SEEDS = [file.read_text() for file in sorted(CONFIG.rglob("*.yaml"))]
WORDS = [
    *(
        "on",
        "off",
        "no",
        "yes",
        "true",
        "null",
        "~",
        "",
        "0",
        "-1",
        "1e9",
        "5",
        "5s",
        "0s",
        "8KiB",
        "*",
        "&a",
        "*a",
        "!!x",
    ),
    *(
        "${A}",
        "${A:-b}",
        "${",
        "$$",
        "[",
        "]",
        "{",
        "}",
        ":",
        "- ",
        "'",
        '"',
        "|",
        ">",
        "#",
        "%",
        "@",
        "\t",
        "\0",
        "\x7f",
    ),
    *(
        "demo",
        "web",
        "a1",
        "/",
        "~^/(a+)+",
        "~(",
        "=/x",
        "127.0.0.1:8080",
        "0.0.0.0:8080",
        "[::]:80",
        "zone-a",
        "é",
        "\ud7ff",
    ),
    *("listeners", "rules", "target_groups", "targets", "action", "forward", "match", "name", "scaling_groups", "<<"),
    *("---", "...", "? ", "9" * 5000, "x" * 300, "a: b: c", "\r", "\u2028", "\ufeff"),
]
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return a shipped configuration with pieces cut out, put in twice, or replaced by words that hurt."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        piece = draw(st.one_of(st.sampled_from(WORDS), st.just(text[start:end] * 2), st.just(""), st.text(max_size=4)))
        text = text[:start] + piece + text[end:]
    return text


KEYS = st.sampled_from([word for word in WORDS if word.isidentifier()]) | st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=6)
trees = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def is_judged(loaded: Loaded, file: Path) -> None:
    """Hold that there is a snapshot or a reason, and that every reason can be acted on."""
    assert (loaded.snapshot is None) == bool(loaded.faults)
    lines = file.read_bytes().count(b"\n") + file.read_bytes().count(b"\r") + 2
    for fault in (*loaded.faults, *loaded.warnings):
        assert fault.file == str(file)
        assert fault.line >= 1
        assert fault.column >= 1
        assert fault.problem
        assert fault.remedy
        assert "\n" not in str(fault)
        if "\u2028" not in file.read_text(errors="replace") and "\x85" not in file.read_text(errors="replace"):
            assert fault.line <= lines + file.read_text(errors="replace").count("\u2029")


@quick
@given(text=mutated())
def test_a_mutated_file_gives_a_snapshot_or_faults_with_places(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    loaded = load(file, {"A": "1"}, cpus=lambda: 1, nofile=1024)
    is_judged(loaded, file)
    if loaded.snapshot is not None:
        assert decode(encode(loaded.snapshot)) == loaded.snapshot
        assert diff(loaded.snapshot, loaded.snapshot) == ()


@quick
@given(sections=st.dictionaries(KEYS, trees, max_size=5))
def test_a_tree_of_any_shape_gives_a_snapshot_or_faults(tmp_path: Path, sections: dict[str, Any]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(sections, allow_unicode=True))
    is_judged(load(file, {}, cpus=lambda: 1), file)


@quick
@given(place=st.data())
def test_a_shipped_file_with_one_value_of_another_shape_gives_faults_or_a_snapshot(
    tmp_path: Path, place: st.DataObject
) -> None:
    """Every place of a sound tree meets every shape of value: the readers of all fields are reached."""
    plain = yaml.load(place.draw(st.sampled_from(SEEDS)), Loader=yaml.BaseLoader)
    here: Any = plain
    while True:
        step = place.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if isinstance(here[step], dict | list) and here[step] and place.draw(st.booleans()):
            here = here[step]
            continue
        here[step] = place.draw(trees)
        break
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(plain, allow_unicode=True))
    is_judged(load(file, {}, cpus=lambda: 1), file)


@quick
@given(data=st.binary(max_size=200))
def test_bytes_of_any_kind_give_faults(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(data)
    is_judged(load(file, {}, cpus=lambda: 1), file)


@pytest.mark.parametrize("one", SEEDS, ids=range(len(SEEDS)))
def test_nothing_changes_between_a_configuration_and_itself(tmp_path: Path, one: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(one)
    first, second = load(file, {}).snapshot, load(file, {}).snapshot
    assert first is not None
    assert second is not None
    assert diff(first, second) == ()
