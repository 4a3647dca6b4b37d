"""A balancer in front of one hostile upstream, for the modules whose every test writes its own script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.balancer import Balancer
from tests.support.configs import forward, group, listener
from tests.support.hostile import Hostile


@pytest.fixture(scope="module")
def peer() -> Iterator[Hostile]:
    with Hostile() as made:
        yield made


@pytest.fixture(scope="module")
def before_peer(peer: Hostile) -> Iterator[Balancer]:
    """Forwards everything to `peer`; listener `no-half-close` takes a FIN for a farewell."""
    listeners = [
        listener("web", [forward("hostile")], timeouts={"half_close": "1s"}),
        listener("no-half-close", [forward("hostile")], timeouts={"half_close": "0s"}),
    ]
    with Balancer({"listeners": listeners, "target_groups": [group("hostile", peer.address)]}) as made:
        yield made


@pytest.fixture(scope="module")
def peer_address(before_peer: Balancer) -> tuple[str, int]:
    return before_peer.address()
