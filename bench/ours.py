"""What ours is measured with: the best Python at hand, in an environment of its own, and the compiled build in it.

Interpreted, ours is what lies in the work tree; the environment has only what it needs. The compiled build is the wheel
of `make build-fast`, installed in the same environment, so that both run on one interpreter.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import interpreter
import machine
import needs

ROOT = needs.HERE.parent
LOCK = ROOT / "requirements-run.lock"
ENVIRONMENT = needs.TOOLS / "python"


def best() -> str:
    """Return the interpreter that runs this, or a profile-guided one at hand that the same compiled modules fit."""
    own = interpreter.this()
    if own.guided == interpreter.GUIDED:
        return sys.executable
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (f"/usr/bin/{name}", f"/usr/local/bin/{name}", shutil.which(name)):
        about = interpreter.of(python) if python else None
        if python and about and about.guided == interpreter.GUIDED and about.abi == own.abi:
            return python
    return sys.executable


def environment(python: str) -> Path:
    """Return the interpreter of an environment made with `python`, with what a run needs; raises needs.Lacking."""
    about = interpreter.of(python)
    if about is None or about.version < (3, 11):
        raise needs.Lacking(f"{python}: no Python >= 3.11 with venv and ssl")
    made_of = f"{about.base}\n{about.key}\n{hashlib.sha256(LOCK.read_bytes()).hexdigest()}\n"
    stamp = ENVIRONMENT / "made-of"
    if not (stamp.exists() and stamp.read_text() == made_of):
        print(f"making an environment of {about.base}", file=sys.stderr)
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        _run([about.base, "-m", "venv", "--without-pip", str(ENVIRONMENT)])
        _install(["--require-hashes", "-r", str(LOCK)])
        stamp.write_text(made_of)
    return ENVIRONMENT / "bin" / "python"


def compiled(python: Path) -> str:
    """Install the compiled build beside `python`, built if it is not yet; return `python`; raises needs.Lacking."""
    about = interpreter.of(str(python))
    own = interpreter.this()
    if about is None or about.abi != own.abi:
        raise needs.Lacking(f"it is compiled for {own.key.split()[0]}, the interpreter of .venv")
    needs.provide(["cc", "make"])
    needs.provide_headers(Path(sysconfig.get_path("include")))
    print("make build-fast (the first time, and after a change, two minutes)", file=sys.stderr)
    # Not as a part of the make that may have started us.
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    _run(["make", "-C", str(ROOT), "build-fast"], outside)
    wheel = max(ROOT.glob("dist/balancer-*.whl"), key=lambda path: path.stat().st_mtime)
    _install(["--no-deps", "--no-index", "--force-reinstall", str(wheel)])
    if machine.compiled(str(python), {"PYTHONPATH": ""}) in ("", "interpreted", "not there"):
        raise needs.Lacking(f"{wheel.name} holds no compiled module that fits")
    return str(python)


def _install(arguments: list[str]) -> None:
    """Install into the environment with the pip of this one, as the Makefile does."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode != 0:
        _run([sys.executable, "-m", "ensurepip"])
    _run(
        [
            *pip,
            "-q",
            "--disable-pip-version-check",
            "--python",
            str(ENVIRONMENT / "bin" / "python"),
            "install",
            *arguments,
        ]
    )


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise needs.Lacking(f"{' '.join(command[:4])} …: {(done.stderr or done.stdout).strip()[-500:]}")
