"""dns: asks the system's resolver about every host name, for ever, on our own clock, off the event loop.

What the system says goes (hosts file, search domains, Docker's DNS); its times to live do not: Docker answers 600 s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from balancer.control import log
from balancer.control.discovery.names import Answer, Name

DEADLINE = 2.0  # seconds for one answer
THREADS = 4
REMEDY = "is it spelt right, does its service run, and do both share a network?"
_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA}

Ask = Callable[[str], Answer]


def ask(host: str) -> Answer:
    """Return the addresses of a name in order: IPv4 ones, or IPv6 ones where there is no other. Blocks."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Answer() if error.errno in _NO_SUCH_NAME else Answer(error=(error.strerror or "error").lower())
    except (OSError, UnicodeError) as error:
        return Answer(error=str(error))
    fours = {str(where[0]) for family, _, _, _, where in found if family is socket.AF_INET}
    sixes = {str(where[0]) for family, _, _, _, where in found if family is socket.AF_INET6}
    return Answer(tuple(sorted(fours or sixes, key=lambda ip: ipaddress.ip_address(ip.partition("%")[0]).packed)))


class Dns:
    """The names in use and their addresses."""

    def __init__(self, changed: Callable[[], None], well: Callable[[str], bool], ask: Ask = ask) -> None:
        """`changed()` is called when a name has other addresses; `well(name)` says whether all its targets are."""
        self._changed = changed
        self._well = well
        self._ask = ask
        self._names: dict[str, Name] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="dns")
        self._wake = asyncio.Event()
        self._answered = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._warned: set[str] = set()

    def want(self, hosts: Iterable[str]) -> None:
        """Keep exactly these names resolved."""
        wanted = set(hosts)
        for host in set(self._names) - wanted:
            del self._names[host]
        for host in wanted - set(self._names):
            self._names[host] = Name()
        self._wake.set()

    def recall(self, known: Mapping[str, tuple[str, ...]]) -> None:
        """Take addresses that were in use before this process began, until there are answers."""
        for host, addresses in known.items():
            if host in self._names:
                self._names[host].addresses = addresses

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a name, none while it does not resolve."""
        name = self._names.get(host)
        return name.addresses if name is not None else ()

    def failing(self, host: str) -> tuple[str, float] | None:
        """Return what is wrong with a name and since when (monotonic), None if it resolves or was never asked about."""
        name = self._names.get(host)
        if name is None or name.failing_since is None:
            return None
        return name.error, name.failing_since

    def hurry(self, host: str) -> None:
        """Ask about a name as soon as may be: at once, but once a second at most."""
        if host in self._names:
            self._names[host].hurried = True
            self._wake.set()

    async def answered(self, within: float) -> None:
        """Wait until every name has had an answer, of whatever kind, for at most `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while not all(name.answered for name in self._names.values()):
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Resolve until cancelled."""
        try:
            while True:
                now = time.monotonic()
                due = now + 1.0
                self._wake.clear()
                for host, name in self._names.items():
                    at = name.due(now, self._well(host))
                    if at <= now:
                        name.asking, name.hurried, name.asked_at = True, False, now
                        task = asyncio.create_task(self._resolve(host, name))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                    else:
                        due = min(due, at)
                    complaint = name.complaint(now)
                    if complaint:
                        log.warn("name does not resolve", name=host, error=complaint, remedy=REMEDY)
                try:
                    async with asyncio.timeout(due - now):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _resolve(self, host: str, name: Name) -> None:
        question = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, host)
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await asyncio.shield(question)
        except TimeoutError:
            self._take(host, name, Answer(error="no answer in time"))
            try:
                answer = await question  # one question about a name at a time; a late answer is one too
            except RuntimeError:
                return
        name.asking = False
        self._take(host, name, answer)
        self._wake.set()

    def _take(self, host: str, name: Name, answer: Answer) -> None:
        if self._names.get(host) is not name:
            return
        before = name.addresses
        changed = name.take(answer, time.monotonic())
        self._answered.set()
        if changed:
            log.info(
                "name resolved",
                name=host,
                addresses=",".join(name.addresses) or "none",
                before=",".join(before) or None,
            )
            self._warn_if_public(host, name.addresses)
            self._changed()

    def _warn_if_public(self, host: str, addresses: tuple[str, ...]) -> None:
        public = [ip for ip in addresses if ipaddress.ip_address(ip.partition("%")[0]).is_global]
        if "." not in host and public and host not in self._warned:
            self._warned.add(host)
            log.warn("a name without a dot has a public address: a search domain may have answered", name=host)
