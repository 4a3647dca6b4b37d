"""Where the demo finds what it needs: its configuration, the demo targets' program, and free ports."""

from __future__ import annotations

import errno
import os
import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
_FIRST_PORT = 10_000  # below are those that programs are known by
PACKAGE = Path(__file__).resolve().parent
HOME = PACKAGE.parents[1]  # the folder that the package `balancer` lies in: the repository, or site-packages


class Unusable(Exception):
    """What the user asked for cannot be had: `where: what is wrong (what to do instead)`."""


def configuration() -> Path:
    """Return the demo's YAML: the repository's, else the copy that is installed with the package."""
    return _first(HOME / "config" / "demo" / "demo.yaml", PACKAGE / "demo.yaml")


def targets_home() -> Path:
    """Return the folder that the package `backends` lies in."""
    return _first(HOME / "backends" / "answers.py", PACKAGE / "backends" / "answers.py").parents[1]


def _first(*places: Path) -> Path:
    for place in places:
        if place.is_file():
            return place
    raise Unusable(f"{places[0]}: no such file (run `make demo` in a copy of the repository)")


def pick_port(wanted: int | None, usual: int, option: str) -> tuple[int, str]:
    """Return a port that is free now, and a remark if it is not the usual one although nobody asked for another.

    `wanted` None: `usual`, else any; 0: any; a number: that one, or Unusable.
    """
    if wanted is None:
        if _why_not(usual) is None:
            return usual, ""
        port = _any_port()
        return port, f"port {usual} is taken, so this is {port} ({option} chooses another)"
    if wanted == 0:
        return _any_port(), ""
    why = _why_not(wanted)
    if why is not None:
        raise Unusable(f"{HOST}:{wanted}: {why} (choose another {option}, or 0 for any that is free)")
    return wanted, ""


def _why_not(port: int) -> str | None:
    with socket.socket() as probe:
        # As a server binds: a port whose last connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return os.strerror(error.errno or errno.EADDRINUSE).lower()
    return None


def _any_port() -> int:
    """Return a port that nobody has, and that the kernel gives to no one else before we take it."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in (
        random.sample(range(_FIRST_PORT, lowest), min(100, lowest - _FIRST_PORT)) if lowest > _FIRST_PORT else ()
    ):
        if _why_not(port) is None:
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
