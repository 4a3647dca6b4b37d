"""keys: single key presses from the terminal, without Enter and without an echo."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

GONE = "gone"  # what is pressed, so to say, when the terminal goes
_ARROWS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}


class Keys:
    """While entered, `pressed(key)` is called for each character, `up` and `down` for the arrows, GONE at the end."""

    def __init__(self, descriptor: int, pressed: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._pressed = pressed

    def __enter__(self) -> Keys:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        now = termios.tcgetattr(self._descriptor)
        # Ctrl-Z would leave the shell with a terminal in this mode.
        now[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, now)
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, 64)
        except OSError:
            data = b""
        if not data:  # the terminal is gone; SIGHUP comes only to the leader of its session, which may be make
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._pressed(GONE)
        elif data.startswith(b"\x1b"):
            if data in _ARROWS:
                self._pressed(_ARROWS[data])
        else:
            for character in data.decode("ascii", "ignore"):
                self._pressed(character)
