"""The programs the bench needs from Debian: found, or installed when we may."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {"wrk": "wrk", "nginx": "nginx", "haproxy": "haproxy", "taskset": "util-linux"}
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
    packages = sorted({PACKAGES[program] for program in lacking})
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise Lacking(f"{', '.join(lacking)}: not found (install {', '.join(packages)})")
    if os.geteuid() != 0:
        raise Lacking(f"{', '.join(lacking)}: not found (install with: sudo {command})")
    print(f"installing {', '.join(packages)}", file=sys.stderr)
    _install(packages)
    lacking = [program for program in programs if shutil.which(program) is None]
    if lacking:
        raise Lacking(f"{', '.join(lacking)}: not found, although {command} went well")


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
