"""places: who fills each worker place now, as the supervisor tells it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from balancer.link.messages import Message, Place


@dataclass(slots=True)
class Worker:
    """A living worker; `revision` is the snapshot it runs, 0 while it starts."""

    place: int
    pid: int
    revision: int = 0


class Places:
    """The living workers by place."""

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self.workers = {one.place: Worker(one.place, one.pid, one.revision) for one in places if one.pid}

    def hear(self, message: Message) -> None:
        """Take note of a worker that started, was lost, or runs on a revision."""
        place, pid = int(message.get("place", -1)), int(message.get("pid", 0))
        match message["is"], message.get("event"):
            case "worker", "started":
                self.workers[place] = Worker(place, pid)
            case "worker", "lost":
                if place in self.workers and self.workers[place].pid in (pid, 0):
                    del self.workers[place]
            case (("ready" | "swapped"), _):
                worker = self.workers.setdefault(place, Worker(place, pid))
                worker.pid, worker.revision = pid, int(message["revision"])

    def pids(self) -> set[int]:
        """Return the processes that live."""
        return {worker.pid for worker in self.workers.values()}

    def serving(self, count: int) -> int:
        """Return how many of the first `count` places have a worker that accepts."""
        return sum(worker.revision > 0 for place, worker in self.workers.items() if place < count)

    def behind(self, revision: int) -> list[Worker]:
        """Return the workers that serve, but on an older snapshot."""
        return [worker for worker in self.workers.values() if 0 < worker.revision < revision]
