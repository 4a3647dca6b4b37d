"""The listening sockets: one a worker place for each address, made and held by the supervisor.

The kernel spreads new connections over the places (`SO_REUSEPORT`). A socket outlives the worker that serves it: what
waits in its queue is served by the successor. Sockets belong to addresses, not to listeners, so that a listener may
change its name, or two may exchange their addresses, without one connection refused.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn
MAX_LISTENERS = 240  # their sockets travel in one packet, beside board and snapshot

_SockAddress = tuple[socket.AddressFamily, tuple[str, int]]


class Unbound(Exception):
    """An address that cannot be bound; the message says why and what to do instead."""

    def __init__(self, words: str, name: str = "", address: str = "") -> None:
        super().__init__(words)
        self.name = name
        self.address = address


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """An address with its sockets, one a place. `name` is where they listen: `ip:port`, the port as chosen."""

    family: socket.AddressFamily
    ip: str
    port: int
    sockets: tuple[socket.socket, ...]

    @property
    def name(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.family is socket.AF_INET6 else f"{self.ip}:{self.port}"

    def close(self) -> None:
        """Let go of the sockets; a worker that has them too may go on accepting."""
        for sock in self.sockets:
            sock.close()


def resolve(address: str) -> _SockAddress:
    """Return the family and the (ip, port) to bind for `host:port` or `[v6]:port`; no host means every IPv4 address.

    A name with addresses of both families means its IPv4 one. Raises Unbound.
    """
    host, colon, port_text = address.rpartition(":")
    if not colon or not port_text.isdecimal() or int(port_text) > 65535:
        raise Unbound(f"{address!r} is not an address (write host:port)")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in host and not address.startswith("["):
        raise Unbound(f"{address!r} is not an address (write an IPv6 address in brackets: [{host}]:{port_text})")
    try:
        found = socket.getaddrinfo(
            host or "0.0.0.0", int(port_text), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError) as error:
        raise Unbound(f"{host!r} does not resolve: {_words(error)} (write an address of this machine)") from error
    family, _, _, _, where = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(where[0]), int(where[1]))


def bind(address: str, places: int, *, shared: bool = False) -> Bound:
    """Return `places` listening sockets for `address`; port 0 lets the kernel choose one port for all of them.

    `[::]` is IPv6 alone, so that a client's address never looks like `::ffff:10.0.0.1`. `shared`: we hold an
    overlapping address on this port already (`0.0.0.0:80` and `127.0.0.1:80`). Raises Unbound.
    """
    family, (ip, port) = resolve(address)
    sockets: list[socket.socket] = []
    try:
        if port and not shared:
            # With SO_REUSEPORT a second balancer would bind silently and take half of the connections.
            with _socket(family) as probe:
                probe.bind((ip, port))
        for _ in range(places):
            sock = _socket(family)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((ip, port))
            sock.listen(BACKLOG)
            port = int(sock.getsockname()[1])
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise Unbound(_explain(error, ip, port)) from error
    return Bound(family, ip, port, tuple(sockets))


def _socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family is socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _explain(error: OSError, ip: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "address already in use (stop what listens there, or use another port)"
        case errno.EACCES:
            return f"permission denied for port {port} (run with CAP_NET_BIND_SERVICE or use a port above 1023)"
        case errno.EADDRNOTAVAIL:
            return f"{ip} is not an address of this machine (use one that it has, or 0.0.0.0)"
        case errno.EMFILE | errno.ENFILE:
            return "too many open files (raise the limit: ulimit -n)"
        case _:
            return _words(error)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error)


class Sockets:
    """All that is bound. `listen` adds, `commit` makes a set of names the one that stays, `withdraw` takes back."""

    def __init__(self) -> None:
        self._bound: list[Bound] = []
        self._texts: dict[str, Bound] = {}  # as written → bound; a listener on port 0 has one of its own
        self._committed: dict[str, Bound] = {}
        self._wanted: dict[str, Bound] = {}

    def listen(self, listeners: Iterable[tuple[str, str]], places: int) -> dict[str, str]:
        """Bind what is not bound yet; return name → `ip:port` of all `listeners` (name, address).

        Raises Unbound with the listener's name and address; then nothing has changed.
        """
        listeners = list(listeners)
        if len(listeners) > MAX_LISTENERS:
            raise Unbound(f"more than {MAX_LISTENERS} listeners", *listeners[MAX_LISTENERS])
        wanted: dict[str, Bound] = {}
        new: list[Bound] = []
        try:
            for name, address in listeners:
                wanted[name] = self._texts.get(_key(name, address)) or self._bind(name, address, places, new)
        except Unbound:
            self._drop(new)
            raise
        self._wanted = wanted
        self._drop([one for one in self._bound if one not in wanted.values() and one not in self._committed.values()])
        return {name: bound.name for name, bound in wanted.items()}

    def _bind(self, name: str, address: str, places: int, new: list[Bound]) -> Bound:
        try:
            family, (ip, port) = resolve(address)
            found = next((one for one in self._bound if (one.family, one.ip, one.port) == (family, ip, port)), None)
            if found is None:
                ours = any(one.family is family and one.port == port for one in self._bound)
                found = bind(address, places, shared=ours)
                self._bound.append(found)
                new.append(found)
        except Unbound as error:
            raise Unbound(str(error), name, address) from error
        self._texts[_key(name, address)] = found
        return found

    def commit(self, names: Iterable[str]) -> None:
        """Keep the sockets of `names`, out of those listened for last (or committed before), and close the others."""
        pool = self._committed | self._wanted
        self._committed = {name: pool[name] for name in names if name in pool}
        self._wanted = dict(self._committed)
        self._drop([one for one in self._bound if one not in self._committed.values()])

    def withdraw(self) -> None:
        """Close what was bound since the last commit."""
        self._wanted = {}
        self.commit(list(self._committed))

    @property
    def names(self) -> dict[str, str]:
        """Return the committed listeners: name → `ip:port`."""
        return {name: bound.name for name, bound in self._committed.items()}

    def offered(self, place: int) -> tuple[list[str], list[int]]:
        """Return the names listened for last, and this place's descriptors in the same order."""
        return _of(self._wanted, place)

    def committed(self, place: int) -> tuple[list[str], list[int]]:
        """Return the committed names, and this place's descriptors in the same order."""
        return _of(self._committed, place)

    def close(self) -> None:
        """Let go of all; workers that have them go on."""
        self._committed, self._wanted = {}, {}
        self._drop(list(self._bound))

    def _drop(self, gone: list[Bound]) -> None:
        for one in gone:
            one.close()
        self._bound = [one for one in self._bound if one not in gone]
        self._texts = {text: one for text, one in self._texts.items() if one not in gone}


def _key(name: str, address: str) -> str:
    """Return what tells one bound address from another: listeners on port 0 do not share theirs."""
    return f"{name} {address}" if address.endswith(":0") else address


def _of(listeners: dict[str, Bound], place: int) -> tuple[list[str], list[int]]:
    return list(listeners), [bound.sockets[place].fileno() for bound in listeners.values()]
