"""Bytes in a sealed memory file: what is too large for a message travels as its descriptor."""

from __future__ import annotations

import fcntl
import os

LARGEST = 256 * 1024 * 1024  # bytes
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def sealed(data: bytes, name: str = "balancer-snapshot") -> int:
    """Return the descriptor of a memory file that holds `data` and that nobody can change any more."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def content(descriptor: int) -> bytes:
    """Return what a sealed memory file holds; its offset, which all holders share, stays where it is.

    ValueError if it is not sealed (its bytes could change under the reader) or larger than `LARGEST`.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ValueError("descriptor is not a memory file") from error
    if seals & _SEALS != _SEALS:
        raise ValueError("memory file is not sealed")
    size = os.fstat(descriptor).st_size
    if size > LARGEST:
        raise ValueError(f"memory file of {size} bytes (at most {LARGEST})")
    parts: list[bytes] = []
    at = 0
    while at < size:
        part = os.pread(descriptor, size - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)
