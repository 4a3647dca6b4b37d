"""The socket of the admin server: where it listens, what it leaves behind, and who is at the other end."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from balancer.control.admin import address


def test_an_address_of_all_is_shown_as_loopback() -> None:
    assert address.url("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert address.url("::", 80) == "http://[::1]:80"
    assert address.url("10.0.0.1", 80) == "http://10.0.0.1:80"


def test_a_path_is_for_its_user_and_group_and_tells_who_connects(tmp_path: Path) -> None:
    at = f"unix:{tmp_path}/admin.sock"
    with address.listening(at) as listening, socket.socket(socket.AF_UNIX) as client:
        assert address.shown(listening) == at
        assert stat.S_IMODE((tmp_path / "admin.sock").stat().st_mode) == 0o660
        client.connect(str(tmp_path / "admin.sock"))
        accepted, _ = listening.accept()
        with accepted:
            assert address.peer(accepted) == f"uid {os.getuid()} pid {os.getpid()}"


def test_what_a_killed_process_left_is_removed_and_a_living_one_is_not(tmp_path: Path) -> None:
    at = f"unix:{tmp_path}/admin.sock"
    address.listening(at).close()  # its file stays
    with address.listening(at), pytest.raises(OSError) as refused:
        address.listening(at)
    assert refused.value.errno == errno.EADDRINUSE


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    with pytest.raises(OSError):
        address.listening(f"unix:{tmp_path}/precious")
    assert (tmp_path / "precious").read_text() == "kept"


def test_only_its_own_file_is_removed_at_the_end(tmp_path: Path) -> None:
    at = f"unix:{tmp_path}/admin.sock"
    with address.listening(at):
        mine = address.inode(at)
        address.remove(at, mine + 1)
        assert (tmp_path / "admin.sock").exists()
        address.remove(at, mine)
        assert not (tmp_path / "admin.sock").exists()
    address.remove("127.0.0.1:9900", 0)


def test_a_peer_on_loopback_is_its_address() -> None:
    for at in ("127.0.0.1:0", "[::1]:0"):
        with address.listening(at) as listening, socket.create_connection(listening.getsockname()[:2]) as client:
            accepted, _ = listening.accept()
            with accepted:
                host, port = client.getsockname()[:2]
                assert address.peer(accepted) == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
