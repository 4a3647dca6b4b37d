"""What every child does first: it ties its life to the supervisor's, and finds its channel."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from balancer.link.channel import Channel

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

BEAT = 0.25  # seconds
START_WITHIN = 30.0  # seconds until the first message must have come
OUR_FAULT = 70

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # Source: prctl(2)
_SUPERVISORS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def begin(name: str) -> Channel:
    """Return the channel to the supervisor. `name` (15 bytes at most) is what `ps -o comm` and `top` show.

    From here on the kernel kills this process with its supervisor; signals meant for the supervisor (a terminal sends
    them to everybody) are ignored; SIGUSR1 writes the stack of every thread to stderr.
    """
    channel, parent = os.environ.pop("BALANCER_CHANNEL", ""), os.environ.pop("BALANCER_PARENT", "")
    if not channel or not parent:
        print("this is a part of `balancer run CONFIG`, which starts it", file=sys.stderr)
        raise SystemExit(2)
    # Python shows these of a program's main module, which ours is by `-m`; they are for who writes code. (A coroutine
    # compiled by mypyc calls throw() in the old way, at the first connect that fails.)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before we asked to be told
        raise SystemExit(OUR_FAULT)
    for number in _SUPERVISORS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SUPERVISORS)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.set_inheritable(int(channel), False)
    return Channel(socket.socket(fileno=int(channel)))


def no_core_dumps() -> None:
    """Let no crash write this process's memory to disk: requests, with their credentials, are in it.

    A limit of 0 would not do where the kernel pipes dumps to a program: there it dumps all the same, but for the one
    value 1, with which it stops in either case. Source: core(5), fs/coredump.c.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def settle() -> None:
    """Take what was made at the start out of the garbage collector's rounds, and let these be rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def beat(loop: AbstractEventLoop, cells: memoryview[int], at: int, also: Callable[[], None] | None = None) -> None:
    """Count `cells[at]` up every `BEAT` seconds while the loop turns, and call `also` each time."""
    cells[at] = (cells[at] + 1) & 0xFFFF_FFFF
    if also is not None:
        also()
    loop.call_later(BEAT, beat, loop, cells, at, also)
