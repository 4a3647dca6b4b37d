"""What the admin API answers on requests is read while control goes on with everything else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from balancer.control.explain import explained, look

Ask = Callable[[Any], Coroutine[Any, Any, object]]
READS: list[tuple[str, Ask]] = [
    ("find", lambda control: explained.explain(control, "some-id-1")),
    ("latest", lambda control: explained.latest(control, 20, failed=False)),
    ("kept", lambda control: explained.unknown(control, "some-id-1")),
]


@pytest.mark.parametrize(("read", "ask"), READS, ids=[name for name, _ in READS])
def test_control_goes_on_while_the_board_is_read(read: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    went_on = threading.Event()
    seen: list[bool] = []

    def reading(*_: object, **__: object) -> None:
        seen.append(went_on.wait(5))
        raise EOFError

    monkeypatch.setattr(look, read, reading)

    async def asking() -> None:
        asyncio.get_running_loop().call_later(0.01, went_on.set)
        with pytest.raises(EOFError):
            await ask(SimpleNamespace(board=None, running=None, zones={}))

    asyncio.run(asking())
    assert seen == [True]
