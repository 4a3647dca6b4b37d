"""The entry of the control process: it begins as a child, then runs `balancer.control.main.run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from balancer.board import layout
from balancer.board.board import Board
from balancer.link import memory
from balancer.link.channel import Channel, Ended, close_all
from balancer.link.messages import ControlStart, control_start
from balancer.log.sink import LOG, to_stderr
from balancer.process.begin import OUR_FAULT, START_WITHIN, beat, begin, no_core_dumps

Run = Callable[[Path, Channel, Board, ControlStart], Awaitable[int]]


def start(config: Path, run: Run) -> int:
    """Begin, then return the exit code of `run(config, channel, board, start)`.

    The channel is not attached yet: what the supervisor said meanwhile waits in it. While `run` goes on, the loop
    beats on the board; a `run` that keeps the loop for seconds is taken for stuck and killed.
    """
    channel = begin("balancer-ctl")
    no_core_dumps()
    try:
        message, descriptors = channel.wait(START_WITHIN)
    except Ended:
        return 0
    board = Board(descriptors[0])
    snapshot = memory.content(descriptors[1]) if len(descriptors) > 1 else None
    close_all(descriptors)
    found = control_start(message, snapshot)
    loop = uvloop.new_event_loop()
    board.cells[layout.CONTROL_PID] = os.getpid()
    beat(loop, board.cells, layout.CONTROL_BEAT)

    async def running() -> int:
        return await run(config, channel, board, found)

    return loop.run_until_complete(running())


def main(config: str) -> int:
    """Return the exit code: 1 alone means that the first configuration is at fault, 70 is ours."""
    to_stderr()
    try:
        from balancer.control.main import run

        return start(Path(config), run)
    except Exception:
        LOG.exception("control failed")
        return OUR_FAULT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
