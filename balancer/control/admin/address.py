"""address: the socket that the admin server listens on, of either kind, and how it is called."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from pathlib import Path

UNIX = "unix:"
MODE = 0o660  # its user, and its group: who may connect is what the file's rights say
BACKLOG = 128
_PEER = struct.Struct("iII")  # pid, uid, gid. Source: unix(7), SO_PEERCRED


def listening(address: str) -> socket.socket:
    """Return a socket that listens on `host:port` or `unix:/path`; raises OSError.

    What a control process that was killed has left at the path is removed; where somebody still listens, it stays.
    """
    if not address.startswith(UNIX):
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
    path = Path(address.removeprefix(UNIX))
    sock = socket.socket(socket.AF_UNIX)
    try:
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _left_behind(path):
                raise
            path.unlink(missing_ok=True)
            sock.bind(str(path))
        path.chmod(MODE)  # nobody can connect before it listens
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def shown(sock: socket.socket) -> str:
    """Return the URL under which a listening socket is reached from this machine, or `unix:/path`."""
    name = sock.getsockname()
    return UNIX + name if sock.family == socket.AF_UNIX else url(str(name[0]), int(name[1]))


def url(host: str, port: int) -> str:
    """Return the URL under which an address is reached from this machine: one that means all is shown as loopback."""
    there = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{there}]:{port}" if ":" in there else f"http://{there}:{port}"


def written(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def remove(address: str, inode: int) -> None:
    """Remove the file of a socket that nobody listens on any more, unless another has taken its place."""
    path = Path(address.removeprefix(UNIX))
    try:
        if address.startswith(UNIX) and path.stat().st_ino == inode:
            path.unlink()
    except OSError:
        return  # it is gone


def inode(address: str) -> int:
    """Return what tells the file of a unix socket from others of its name; 0 for any other address."""
    return Path(address.removeprefix(UNIX)).stat().st_ino if address.startswith(UNIX) else 0


def peer(sock: socket.socket) -> str:
    """Return who is at the other end: `127.0.0.1:40312`, or user and process of a unix socket."""
    if sock.family == socket.AF_UNIX:
        pid, uid, _gid = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        return f"uid {uid} pid {pid}"
    host, port = sock.getpeername()[:2]
    return written(host, port)


def _left_behind(path: Path) -> bool:
    """Return whether a socket lies at the path that nobody listens on."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED
