"""A control process without a mind: it publishes what a JSON file says and writes down all it hears.

The file: {"listeners": {name: address}, "workers": n, "stop_timeout": s, "do": what else (see `run`)}. What it hears
goes to `heard.jsonl` beside it, one message a line, with the pid of this process and the time (monotonic).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from balancer.board.board import Board
from balancer.link import memory
from balancer.link.channel import Channel, close_all
from balancer.link.messages import ControlStart, Message
from balancer.model import codec
from balancer.model.snapshot import Listener, Snapshot
from balancer.process.control import start


async def run(config: Path, channel: Channel, board: Board, found: ControlStart) -> int:
    """Publish the file, then again at each `reload`; end with the channel, or as `do` says."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[Message | None] = asyncio.Queue()
    record = (config.parent / "heard.jsonl").open("a", buffering=1)

    def on_message(message: Message, descriptors: list[int]) -> None:
        close_all(descriptors)
        record.write(json.dumps({**message, "control": os.getpid(), "at": time.monotonic()}) + "\n")
        heard.put_nowait(message)

    revision = codec.decode(found.snapshot).revision if found.snapshot else 0
    message = {"is": "start", **dataclasses.asdict(found), "snapshot": revision}
    on_message(message, [])
    channel.attach(loop, on_message, lambda: heard.put_nowait(None))
    wishes = json.loads(config.read_text())
    if str(wishes.get("do")).startswith("exit "):
        return int(wishes["do"].split()[1])
    if wishes.get("do") == "fail 1":
        channel.send({"is": "fail", "exit": 1})
    elif wishes.get("do") == "hang":
        time.sleep(3600)
    elif not found.snapshot:
        listen(channel, wishes)
    while (message := await heard.get()) is not None:  # type: ignore[assignment]
        match message["is"]:
            case "reload":
                wishes = json.loads(config.read_text())
                if wishes.get("do") == "commit":
                    commit(channel, wishes, revision)
                else:
                    listen(channel, wishes)
            case "listening":
                revision += 1
                offer(channel, wishes, revision)
                if wishes.get("do") == "withdraw":
                    channel.send({"is": "withdraw", "revision": revision})
                elif wishes.get("do") != "offer only":
                    commit(channel, wishes, revision)
            case "unbound":
                print(f"{message['name']}: {message['address']}: {message['error']}", file=sys.stderr)
                channel.send({"is": "fail", "exit": 1})
    on_message({"is": "stop", "end": True}, [])
    return 0


def listen(channel: Channel, wishes: dict[str, Any]) -> None:
    listeners = [{"name": name, "address": address} for name, address in wishes["listeners"].items()]
    channel.send({"is": "listen", "listeners": listeners, "workers": wishes["workers"]})


def offer(channel: Channel, wishes: dict[str, Any], revision: int) -> None:
    spec = tuple(Listener(name=name, address=address) for name, address in wishes["listeners"].items())
    descriptor = memory.sealed(codec.encode(Snapshot(revision=revision, listeners=spec)))
    channel.send({"is": "offer", "revision": revision}, [descriptor])
    os.close(descriptor)


def commit(channel: Channel, wishes: dict[str, Any], revision: int) -> None:
    message = {"is": "commit", "revision": revision, "listeners": list(wishes["listeners"])}
    channel.send({**message, "workers": wishes["workers"], "stop_timeout": wishes.get("stop_timeout", 2)})


if __name__ == "__main__":
    sys.exit(start(Path(sys.argv[1]), run))
