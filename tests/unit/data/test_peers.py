"""Peers: what an entry of X-Forwarded-For names, and what counts as one client."""

from __future__ import annotations

import pytest

from balancer.data.peers import address_of, network_of


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", ""),
        ("_hidden", ""),
        ("", ""),
        ("192.0.2.1:", ""),
        ("192.0.2.1:http", ""),
        ("192.0.2.1:4711:1", ""),
        ("192.0.2", ""),
        ("192.0.2.256:80", ""),
        ("[2001:db8::1", ""),
        ("[2001:db8::1]443", ""),
        ("2001:db8::1::2", ""),
        ('"[2001:db8::1]:443"', ""),
        ("٣.1.1.1", ""),
    ],
)
def test_an_entry_names_an_address_with_or_without_a_port_or_nobody(entry: str, address: str) -> None:
    assert address_of(entry) == address


def test_the_ports_of_one_address_are_one_client() -> None:
    assert len({network_of(address_of(f"192.0.2.1:{port}")) for port in range(1000)}) == 1
    assert len({network_of(address_of(f"[2001:db8::{port:x}]:{port}")) for port in range(1, 1000)}) == 1
