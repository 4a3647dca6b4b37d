"""Sealed memory files: whole, unchangeable, and read without moving the offset that all holders share."""

from __future__ import annotations

import os

import pytest

from balancer.link import memory


@pytest.mark.parametrize("size", [0, 1, 4096, 3_000_001])
def test_bytes_survive(size: int) -> None:
    data = os.urandom(size)
    descriptor = memory.sealed(data)
    try:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert memory.content(descriptor) == data
        assert memory.content(descriptor) == data
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == before
    finally:
        os.close(descriptor)


def test_nobody_can_change_it() -> None:
    descriptor = memory.sealed(b"snapshot")
    try:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        assert memory.content(descriptor) == b"snapshot"
    finally:
        os.close(descriptor)


def test_what_is_not_sealed_is_refused() -> None:
    read, write = os.pipe()
    unsealed = os.memfd_create("plain", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with pytest.raises(ValueError, match="not a memory file"):
            memory.content(read)
        with pytest.raises(ValueError, match="not sealed"):
            memory.content(unsealed)
    finally:
        for descriptor in (read, write, unsealed):
            os.close(descriptor)
