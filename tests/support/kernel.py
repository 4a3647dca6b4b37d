"""What the kernel knows about sockets: unread bytes of one connection, and the sockets and descriptors of a process."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SOCK_DIAG_BY_FAMILY = 20
_NETLINK_SOCK_DIAG = 4
_REQUEST, _DUMP = 0x1, 0x300
_STATES = {1: "established", 2: "syn_sent", 3: "syn_recv", 4: "fin_wait1", 5: "fin_wait2", 6: "time_wait", 7: "close"}
_STATES |= {8: "close_wait", 9: "last_ack", 10: "listen", 11: "closing"}
Address = tuple[str, int]


def unread_bytes(local: Address, remote: Address) -> int | None:
    """Return the bytes that the IPv4 socket `local` has received from `remote` and its owner has not read.

    None when there is no such socket any more. Source: sock_diag(7), one exact look-up.
    """
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    request += struct.pack("!HH", local[1], remote[1])
    request += socket.inet_aton(local[0]) + bytes(12) + socket.inet_aton(remote[0]) + bytes(12)
    request += struct.pack("=I", 0) + b"\xff" * 8
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(2)
        netlink.send(struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, 1, 1, 0) + request)
        reply = netlink.recv(8192)
    if struct.unpack_from("=H", reply, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        code = -struct.unpack_from("=i", reply, 16)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    return int(struct.unpack_from("=I", reply, 16 + 56)[0])


def peer_has_read(connection: socket.socket, deadline: float = 2.0) -> bool:
    """Wait until the other end of a loopback connection has read everything sent; False when it is gone."""
    local, remote = connection.getsockname(), connection.getpeername()
    end = time.monotonic() + deadline
    while True:
        waiting = unread_bytes(remote, local)
        if waiting is None:
            return False
        if waiting == 0:
            return True
        if time.monotonic() > end:
            raise AssertionError(f"the peer left {waiting} bytes unread for {deadline} s")
        time.sleep(0.0002)


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """One TCP socket of a process."""

    local: Address
    remote: Address
    state: str


def _descriptors(pid: int) -> list[str]:
    links = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(entry.path))
        except FileNotFoundError:
            continue
    return links


def _all_sockets(family: socket.AddressFamily) -> Iterator[tuple[int, TcpSocket]]:
    """Yield (inode, socket) of every TCP socket that a process may hold; those in TIME_WAIT belong to nobody."""
    states = 0xFFF & ~(1 << 6)
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, states) + bytes(48)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(5)
        netlink.send(struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST | _DUMP, 1, 0) + request)
        while True:
            reply, at = netlink.recv(1 << 20), 0
            while at < len(reply):
                length, kind = struct.unpack_from("=IH", reply, at)
                if kind != _SOCK_DIAG_BY_FAMILY:
                    return
                size = 4 if family == socket.AF_INET else 16
                ports = struct.unpack_from("!HH", reply, at + 20)
                hosts = [socket.inet_ntop(family, reply[at + start : at + start + size]) for start in (24, 40)]
                state = _STATES.get(reply[at + 17], "")
                inode = struct.unpack_from("=I", reply, at + 16 + 68)[0]
                yield inode, TcpSocket((hosts[0], ports[0]), (hosts[1], ports[1]), state)
                at += (length + 3) & ~3


def tcp_sockets(pid: int) -> list[TcpSocket]:
    """Return the TCP sockets that process `pid` holds open."""
    inodes = {int(link[8:-1]) for link in _descriptors(pid) if link.startswith("socket:[")}
    both = itertools.chain(_all_sockets(socket.AF_INET), _all_sockets(socket.AF_INET6))
    return [one for inode, one in both if inode in inodes]


def descriptor_count(pid: int) -> int:
    """Return the number of open descriptors of a process."""
    return len(_descriptors(pid))


def descriptors_by_kind(pid: int) -> Counter[str]:
    """Return descriptors that are no TCP socket, by kind (`pipe`, `anon_inode:[eventpoll]`, a path …).

    Without /dev/null: libuv opens one in reserve, at a moment of its own, for when descriptors run out.
    """
    kinds = Counter(link.split(":[")[0] if link[0] != "/" else link for link in _descriptors(pid))
    kinds["socket"] -= len(tcp_sockets(pid))
    kinds.pop("/dev/null", None)
    return kinds


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def cpu_seconds(pid: int) -> float:
    """Return user and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def started(pid: int) -> float:
    """Return when a process began, in seconds since 1970, to the hundredth below."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
