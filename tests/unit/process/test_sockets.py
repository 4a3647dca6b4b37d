"""Listening sockets: one a place, errors in words, and nothing closed before a commit says so."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from balancer.process import sockets
from balancer.process.sockets import Sockets, Unbound, bind, resolve


@pytest.fixture
def held() -> Iterator[Sockets]:
    """Sockets that close, and leak nothing."""
    before = len(os.listdir("/proc/self/fd"))
    one = Sockets()
    yield one
    one.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def taken() -> Iterator[int]:
    """A port where somebody listens, with SO_REUSEPORT as another balancer would."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


RESOLVED = [
    ("127.0.0.1:80", (socket.AF_INET, ("127.0.0.1", 80))),
    (":8080", (socket.AF_INET, ("0.0.0.0", 8080))),
    ("[::1]:0", (socket.AF_INET6, ("::1", 0))),
    ("localhost:8080", (socket.AF_INET, ("127.0.0.1", 8080))),
]


@pytest.mark.parametrize(("address", "where"), RESOLVED, ids=[row[0] for row in RESOLVED])
def test_an_address_is_read_as_written(address: str, where: object) -> None:
    assert resolve(address) == where


UNREADABLE = [
    ("8080", "'8080' is not an address (write host:port)"),
    ("localhost:http", "'localhost:http' is not an address (write host:port)"),
    ("localhost:70000", "'localhost:70000' is not an address (write host:port)"),
    ("::1:80", "'::1:80' is not an address (write an IPv6 address in brackets: [::1]:80)"),
    ("no-such-host.invalid:80", "'no-such-host.invalid' does not resolve: "),
]


@pytest.mark.parametrize(("address", "words"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_what_cannot_be_read_is_explained(address: str, words: str) -> None:
    with pytest.raises(Unbound) as caught:
        resolve(address)
    assert str(caught.value).startswith(words)


def test_every_place_has_its_socket_and_all_share_the_chosen_port() -> None:
    bound = bind("127.0.0.1:0", 3)
    try:
        assert bound.port > 0
        assert bound.name == f"127.0.0.1:{bound.port}"
        assert {sock.getsockname() for sock in bound.sockets} == {("127.0.0.1", bound.port)}
        assert len({sock.fileno() for sock in bound.sockets}) == 3
        assert not any(sock.getblocking() or sock.get_inheritable() for sock in bound.sockets)
        assert accepts(bound.name)
    finally:
        bound.close()


def test_an_ipv6_address_is_named_with_brackets() -> None:
    bound = bind("[::1]:0", 1)
    assert bound.name == f"[::1]:{bound.port}"
    assert accepts(bound.name)
    bound.close()


def test_an_address_of_another_balancer_is_not_shared_silently(taken: int) -> None:
    with pytest.raises(Unbound, match=r"^address already in use \(stop what listens there, or use another port\)$"):
        bind(f"127.0.0.1:{taken}", 2)
    with pytest.raises(Unbound, match="address already in use"):
        bind(f"0.0.0.0:{taken}", 2)


def test_an_address_of_another_machine_is_explained() -> None:
    with pytest.raises(Unbound, match=r"192\.0\.2\.1 is not an address of this machine"):
        bind("192.0.2.1:0", 1)


def test_a_privileged_port_is_explained() -> None:
    words = sockets._explain(PermissionError(13, "Permission denied"), "0.0.0.0", 80)
    assert words == "permission denied for port 80 (run with CAP_NET_BIND_SERVICE or use a port above 1023)"


def test_an_address_stays_bound_under_another_name(held: Sockets) -> None:
    first = held.listen([("web", "127.0.0.1:0")], 2)["web"]
    held.commit(["web"])
    numbers = held.committed(0)[1]
    assert held.listen([("shop", first)], 2) == {"shop": first}
    assert held.offered(0) == (["shop"], numbers)
    held.commit(["shop"])
    assert held.names == {"shop": first}
    assert accepts(first)


def test_two_listeners_may_exchange_their_addresses(held: Sockets) -> None:
    names = held.listen([("a", "127.0.0.1:0"), ("b", "127.0.0.1:0")], 1)
    held.commit(["a", "b"])
    assert names["a"] != names["b"]
    assert held.listen([("a", names["b"]), ("b", names["a"])], 1) == {"a": names["b"], "b": names["a"]}
    held.commit(["a", "b"])
    assert accepts(names["a"])
    assert accepts(names["b"])


def test_a_listener_on_port_zero_keeps_its_port(held: Sockets) -> None:
    names = held.listen([("web", "127.0.0.1:0")], 1)
    held.commit(["web"])
    assert held.listen([("web", "127.0.0.1:0")], 1) == names


def test_what_cannot_be_bound_changes_nothing(held: Sockets, taken: int) -> None:
    web = held.listen([("web", "127.0.0.1:0")], 2)["web"]
    held.commit(["web"])
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Unbound) as caught:
        held.listen([("new", "127.0.0.1:0"), ("bad", f"127.0.0.1:{taken}")], 2)
    assert (caught.value.name, caught.value.address) == ("bad", f"127.0.0.1:{taken}")
    assert str(caught.value).startswith("address already in use")
    assert len(os.listdir("/proc/self/fd")) == before
    assert held.offered(0)[0] == ["web"]
    assert accepts(web)


def test_a_withdrawn_address_is_closed_and_the_committed_one_stays(held: Sockets) -> None:
    web = held.listen([("web", "127.0.0.1:0")], 1)["web"]
    held.commit(["web"])
    other = held.listen([("web", "127.0.0.1:0"), ("new", "127.0.0.1:0")], 1)["new"]
    assert accepts(other)
    held.withdraw()
    assert not accepts(other)
    assert accepts(web)
    assert held.offered(0)[0] == ["web"]


def test_a_removed_listener_is_closed_at_the_commit(held: Sockets) -> None:
    names = held.listen([("web", "127.0.0.1:0"), ("old", "127.0.0.1:0")], 1)
    held.commit(["web", "old"])
    held.listen([("web", names["web"])], 1)
    assert accepts(names["old"])
    held.commit(["web"])
    assert not accepts(names["old"])


def test_a_listener_may_go_from_all_addresses_to_one_on_its_port(held: Sockets) -> None:
    wide = held.listen([("web", "0.0.0.0:0")], 1)["web"]
    held.commit(["web"])
    narrow = "127.0.0.1:" + wide.rpartition(":")[2]
    assert held.listen([("web", narrow)], 1) == {"web": narrow}
    held.commit(["web"])
    assert accepts(narrow)


def test_a_listener_written_in_another_way_is_the_same(held: Sockets) -> None:
    web = held.listen([("web", "127.0.0.1:0")], 1)["web"]
    held.commit(["web"])
    port = web.rpartition(":")[2]
    assert held.listen([("web", f"localhost:{port}")], 1) == {"web": web}


def test_there_is_a_limit_to_listeners(held: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_LISTENERS", 2)
    with pytest.raises(Unbound, match="more than 2 listeners"):
        held.listen([(str(number), "127.0.0.1:0") for number in range(3)], 1)
