"""The command line: exit codes, nearest names, and nothing imported that was not asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from balancer.cli import commands, main
from balancer.cli.faults import InputFault


def balancer(*words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "balancer", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **settings)  # type: ignore[call-overload,no-any-return]


def raising(error: BaseException) -> click.Command:
    def callback() -> None:
        raise error

    return click.Command("schema", callback=callback)


ENDS = [
    ("well", click.exceptions.Exit(0), 0, ""),
    ("the input is at fault", InputFault("a.yaml:2:1: bad (write good)"), 1, "a.yaml:2:1: bad (write good)\n"),
    ("wrong usage", click.UsageError("no"), 2, "no"),
    ("interrupted", KeyboardInterrupt(), 130, ""),
    ("the reader has gone", BrokenPipeError(), 1, ""),
    (
        "our fault",
        RuntimeError("boom"),
        70,
        "balancer: our fault, not yours: RuntimeError: boom (please report it with",
    ),
]


@pytest.mark.parametrize(("error", "code", "said"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_every_end_has_its_exit_code(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(commands.Commands, "get_command", lambda *_: raising(error))
    with pytest.raises(SystemExit) as end:
        main.main(["schema"])
    assert end.value.code == code
    told = capfd.readouterr().err
    assert said in told
    assert "Traceback" not in told
    if code == 70:
        (saved,) = tmp_path.glob("balancer-*.txt")
        assert "RuntimeError: boom" in saved.read_text()
        assert str(saved) in told


def test_a_misspelt_command_is_answered_with_the_nearest() -> None:
    done = balancer("statsu")
    assert done.returncode == 2
    assert "no such command 'statsu' (did you mean 'status'?)" in done.stderr


def test_every_command_is_listed_and_none_is_imported_for_it() -> None:
    code = "import sys\nfrom balancer.cli.main import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert all(f"  {name} " in done.stdout for name in main.COMMANDS)
    loaded = set(done.stdout.split())
    assert not loaded & {"asyncio", "aiohttp", "yaml", "pydantic", "rich", "uvloop", "balancer.cli.run"}


def test_the_version_is_said() -> None:
    assert balancer("--version").stdout.startswith("balancer ")


def test_running_what_does_not_exist_is_the_inputs_fault(tmp_path: Path) -> None:
    done = balancer("run", str(tmp_path / "nothing.yaml"))
    assert done.returncode == 1
    assert done.stderr.endswith("nothing.yaml: no such file or folder (name the configuration: balancer run config/)\n")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m balancer --help | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
