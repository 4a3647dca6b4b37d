"""The stage: starts targets and balancer, watches them, does what keys ask for, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp

from balancer.demo import words
from balancer.demo.hands import Hands
from balancer.demo.keys import GONE, Keys
from balancer.demo.places import Unusable, pick_port
from balancer.demo.product import Ended, Product, last_words
from balancer.demo.sight import Sight, Watcher, counts
from balancer.demo.targets import TARGETS, Target
from balancer.demo.traffic import PER_SECOND, Traffic
from balancer.demo.view import Load, Scene, screen

LISTENER_PORT, ADMIN_PORT = 8080, 9900
_EVENTS = 100  # that are kept


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; ports: None is the usual one, else any; 0 is any."""

    port: int | None = None
    admin_port: int | None = None
    traffic: bool = True
    plain: bool = False
    access_log: Path | None = None


class Stage:
    """One run of the demo. It ends by a signal, by `q`, or because the balancer has ended."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._asked = asyncio.Event()  # somebody wants it to end
        self._hurry = asyncio.Event()  # and has asked twice
        self._targets: list[Target] = []
        self._product: Product | None = None
        self._events: deque[tuple[str, str]] = deque(maxlen=_EVENTS)
        self._traffic: Traffic | None = None
        self._live = not options.plain and sys.stdin.isatty() and sys.stdout.isatty()

    async def run(self) -> int:
        """Return the exit code. Raises Unusable for ports that cannot be had, Ended if the balancer ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._interrupt)
        with tempfile.TemporaryDirectory(prefix="balancer-demo-") as folder, ExitStack() as files:
            play = asyncio.create_task(self._play(Path(folder), files))
            asked = asyncio.create_task(self._asked.wait())
            try:
                await asyncio.wait({play, asked}, return_when=asyncio.FIRST_COMPLETED)
                if play.done():
                    play.result()
                return 0
            finally:
                play.cancel()
                asked.cancel()
                await asyncio.gather(play, asked, return_exceptions=True)
                await self._leave()

    def _interrupt(self) -> None:
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()

    async def _leave(self) -> None:
        """Stop everything: what is frozen is woken first, so that the requests it holds can end."""
        with suppress(OSError):  # whoever read it may be gone
            print(words.closing(_load(self._traffic)), flush=True)
        for target in self._targets:
            target.thaw()
        if self._product is not None:
            await self._product.stop(self._hurry)
        for target in self._targets:
            target.end()

    # What runs

    async def _play(self, folder: Path, files: ExitStack) -> None:
        options = self._options
        port, about_port = pick_port(options.port, LISTENER_PORT, "--port")
        admin_port, about_admin = pick_port(options.admin_port, ADMIN_PORT, "--admin-port")
        log = folder / "balancer.log"
        access_log: int | IO[bytes] = subprocess.DEVNULL
        if options.access_log is not None:
            try:
                access_log = files.enter_context(options.access_log.open("ab"))
            except OSError as error:
                reason = error.strerror or type(error).__name__
                told = f"--access-log: {str(options.access_log)!r} cannot be written: {reason.lower()}"
                raise Unusable(f"{told} (name a file in a folder that is there)") from error
        targets_log = files.enter_context((folder / "targets.log").open("ab"))
        print("starting six targets and the balancer", flush=True)
        self._targets = [Target(name, zone, targets_log) for name, zone in TARGETS]
        try:
            await asyncio.gather(*(target.start() for target in self._targets))
        except OSError as error:
            raise Ended(f"{error}\n{last_words(folder / 'targets.log')}", 70) from error
        addresses = {target.name: target.address for target in self._targets}
        product = self._product = Product(port, admin_port, log)
        async with AsyncExitStack() as stack:
            # A connection for each request: no pool that would try again by itself, and every worker gets its part.
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            await product.start(addresses, access_log, session)
            print(words.opening(product, self._targets, log, [*filter(None, (about_port, about_admin))]), flush=True)
            traffic: Traffic | None = None
            if options.traffic:
                traffic = self._traffic = Traffic(f"{product.listener}/", session)
                sending = asyncio.create_task(traffic.run())
                stack.callback(sending.cancel)
            hands = Hands(self._targets)
            await (self._show if self._live else self._tell)(product, hands, traffic, session)

    async def _news(
        self, product: Product, hands: Hands, watcher: Watcher, session: aiohttp.ClientSession
    ) -> tuple[Sight | None, list[str]]:
        """Return what there is to see, None while the admin server is silent, and what has happened."""
        product.check()
        told = hands.news()
        try:
            status, exposition = await product.ask(session)
        except (aiohttp.ClientError, TimeoutError):
            return None, told
        sight, events = watcher.look(status, counts(exposition), time.monotonic())
        return sight, [*told, *events]

    async def _tell(
        self, product: Product, hands: Hands, traffic: Traffic | None, session: aiohttp.ClientSession
    ) -> None:
        """Print a line when something has changed, at most one in a second."""
        watcher, sight, first = Watcher(), Sight(), ["everything runs"]
        while True:
            seen, told = await self._news(product, hands, watcher, session)
            sight = seen or sight
            told, first = [*first, *told], []
            if told:
                print(words.change(_time_of_day(), told, sight, _load(traffic)), flush=True)
            await asyncio.sleep(1.0)

    async def _show(
        self, product: Product, hands: Hands, traffic: Traffic | None, session: aiohttp.ClientSession
    ) -> None:
        """Draw the live view twice a second, and at once after a key."""
        from rich.console import Console
        from rich.live import Live

        touched = asyncio.Event()

        def pressed(key: str) -> None:
            if key in ("q", "Q", "\x04", GONE):
                self._interrupt()
            elif hands.press(key.lower()):
                touched.set()

        console = Console()
        watcher, sight = Watcher(), Sight()
        with Live(console=console, screen=True, auto_refresh=False) as live, Keys(sys.stdin.fileno(), pressed):
            while True:
                seen, told = await self._news(product, hands, watcher, session)
                sight = seen or sight
                self._events.extend((_time_of_day(), event) for event in told)
                scene = Scene(
                    listener=product.listener,
                    admin=product.admin,
                    tries=words.to_try(product.listener, product.admin, product.config, self._targets),
                    sight=sight,
                    silent=seen is None,
                    targets=self._targets,
                    selected=hands.selected,
                    load=_load(traffic),
                    events=self._events,
                )
                live.update(screen(scene, console.width, console.height), refresh=True)
                touched.clear()
                try:
                    async with asyncio.timeout(0.5):
                        await touched.wait()
                except TimeoutError:
                    continue


def _load(traffic: Traffic | None) -> Load | None:
    if traffic is None:
        return None
    return Load(PER_SECOND, traffic.sent, traffic.failed, traffic.slowest(), traffic.last_failure)


def _time_of_day() -> str:
    return time.strftime("%H:%M:%S")


def run(options: Options) -> int:
    """Run the demo until it is asked to end; return the exit code."""

    async def stage() -> int:
        return await Stage(options).run()

    return asyncio.run(stage())


__all__ = ["Ended", "Options", "run"]
