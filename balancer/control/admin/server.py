"""server: the admin server itself: guard, routes, problems."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from balancer import __version__
from balancer.config.fault import MOST as MOST_FAULTS
from balancer.control import log, metrics
from balancer.control.admin import address, door, guard, openapi, page, problems, views
from balancer.control.admin.changes import Changes, changes_nothing, who
from balancer.control.admin.drills import Drills
from balancer.control.admin.routes import HTML, JSON, MOST_REQUESTS, ROUTES
from balancer.control.admin.steering import Steering
from balancer.control.explain import explained
from balancer.control.look import picture
from balancer.control.loop import Control
from balancer.control.picture import Picture
from balancer.control.readiness import Readiness
from balancer.control.reload import Reload
from balancer.control.stats import Stats
from balancer.model.snapshot import Admin

MOST = 64 * 1024  # bytes of a request's body
BODY_WITHIN = 10.0  # seconds for a request's body
MOMENT = 0.1  # seconds

_Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Left(Exception):
    """The client went away before its body was whole: its own affair, and nobody is there to be told."""


class AdminServer:
    """Answers the routes of `ROUTES`: the method of each route's name, here or in a room of its own."""

    def __init__(self, control: Control, reload: Reload, readiness: Readiness, most: int = door.MOST) -> None:
        """`most`: the connections that are let in at once."""
        self._most = most
        self._control = control
        self._reload = reload
        self._readiness = readiness
        self._changes = Changes(control, reload)
        self._steering = Steering(control, self._look)
        self._drills = Drills(control.driller)
        self._runner: web.AppRunner | None = None
        self._door: door.Door | None = None
        self._server: asyncio.Server | None = None
        self._host_name = socket.gethostname()
        self._admin = Admin()
        self._inode = 0
        self.bound = ""  # the address as bound

    async def start(self, admin: Admin) -> str:
        """Listen on the admin address; return its URL, or `unix:/path`. Raises OSError.

        A reload may change the other settings.
        """
        self._admin = admin
        app = web.Application(middlewares=[self._guarded], client_max_size=MOST)
        for route in ROUTES:
            rooms = (self, self._steering, self._drills)
            answer = next(getattr(room, route.name) for room in rooms if hasattr(room, route.name))
            app.router.add_route(route.method, route.path, answer)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        assert runner.server is not None
        loop = asyncio.get_running_loop()
        entry = door.Door(runner.server, loop, self._most)
        try:
            sock = address.listening(admin.address)
        except OSError:
            entry.close()
            await runner.cleanup()
            raise
        self._inode = address.inode(admin.address)
        if sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(entry, sock=sock)
        else:
            server = await loop.create_server(entry, sock=sock)
        self._runner, self._door, self._server = runner, entry, server
        shown, name = address.shown(sock), sock.getsockname()
        self.bound = shown if sock.family == socket.AF_UNIX else address.written(str(name[0]), int(name[1]))
        return shown

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None and self._door is not None and self._server is not None:
            self._server.close()
            self._door.close()
            await self._runner.cleanup()
            address.remove(self._admin.address, self._inode)

    # Every request

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Answer) -> web.StreamResponse:
        asking = who(request)
        answer = self._refusal(request)
        if answer is None:
            try:
                nowhere = request.match_info.http_exception
                if nowhere is not None:  # a body would change nothing
                    raise nowhere
                await self._read_body(request)
                if isinstance(request.protocol, door.Connection):
                    request.protocol.busy = True  # not before: who only owes us a body makes room for the next
                answer = await self._changes.answer(request, handler)
            except _Left:
                answer = problems.answer(400, "the client left within its body")
            except web.HTTPException as error:
                kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
                answer = problems.answer(error.status, _said(request, error), kept)
            except Exception:
                door.LOG.exception("the admin server failed on %s %s", request.method, log.quoted(request.path))
                answer = problems.answer(500, "a fault of the balancer itself; its log says more")
        answer.headers.update(door.HEADERS)
        self._changes.told(request, answer, asking, by_token=bool(self._settings.token))
        return answer

    async def _read_body(self, request: web.Request) -> None:
        """Have the body before anything is done: whole, small and soon. `request.read()` then has it."""
        if request.method in guard.SAFE:
            return
        try:
            async with asyncio.timeout(BODY_WITHIN):
                if (request.content_length or 0) > MOST:
                    raise web.HTTPRequestEntityTooLarge(MOST, request.content_length or 0)
                await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except ConnectionError:
            raise _Left from None

    @property
    def _settings(self) -> Admin:
        return self._control.base.admin if self._control.base is not None else self._admin

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        admin = self._settings
        allowed = guard.allowed_hosts(admin, self._host_name)
        name = request.transport.get_extra_info("sockname") if request.transport is not None else None
        local = str(name[0]) if isinstance(name, tuple) else ""
        if not request.raw_path.startswith("/") or guard.twice(lambda name: request.headers.getall(name, ())):
            return problems.answer(400, "ask with a path, and with one Host, Origin and Authorization at most")
        by_file = admin.address.startswith(address.UNIX)  # no browser comes there: its rights say who may
        if not by_file and guard.host_refused(request.headers.get("Host"), allowed, local):
            return problems.answer(403, "this Host does not lead here (add it to admin.hosts)")
        if guard.origin_refused(request.method, request.headers, allowed, local):
            return problems.answer(403, "this request was sent by a page of another site")
        if guard.token_refused(admin, request.method, request.path, request.headers.get("Authorization")):
            bearer = {"WWW-Authenticate": 'Bearer realm="balancer"'}
            return problems.answer(401, "send the token of admin.token as Authorization: Bearer …", bearer)
        return None

    def _look(self) -> tuple[Picture, Stats]:
        stats = self._control.stats()
        return picture(self._control, self._reload), stats or Stats(self._control.board, {}, 0)

    # The routes

    async def page(self, _request: web.Request) -> web.Response:
        return web.Response(text=page.page(views.status(*self._look())), content_type=HTML)

    async def metrics(self, request: web.Request) -> web.Response:
        seen, stats = self._look()
        body, content_type = await asyncio.to_thread(metrics.render, seen, stats, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        why = self._readiness.reasons()
        if why and request.headers.get("Accept", "").startswith("text/plain"):
            return web.Response(status=503, text="; ".join(why) + "\n")
        if why:
            return problems.answer(503, "; ".join(why), reasons=why)
        return web.Response(text="ready\n")

    async def status(self, _request: web.Request) -> web.Response:
        return _json(views.status(*self._look()))

    async def target(self, request: web.Request) -> web.Response:
        group, name = request.match_info["group"], request.match_info["target"]
        found = views.target(*self._look(), group, name)
        if found is None:
            return problems.answer(404, f"there is no target {name!r} in a target group {group!r}")
        return _json(found)

    async def requests(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "20")
        if not limit.isascii() or not limit.isdigit() or len(limit) > 9 or not 1 <= int(limit) <= MOST_REQUESTS:
            return problems.answer(400, f"limit is {limit[:40]!r} (write a number from 1 to {MOST_REQUESTS})")
        failed = request.query.get("failed", "0") not in ("0", "", "false")
        return _json(await explained.latest(self._control, int(limit), failed=failed))

    async def request(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        found = await explained.explain(self._control, wanted)
        if found is None or found["open"]:  # an answer leaves a moment before its record is written
            await asyncio.sleep(MOMENT)
            found = await explained.explain(self._control, wanted)
        if found is None:
            return problems.answer(404, await explained.unknown(self._control, wanted))
        return _json(found)

    async def config(self, _request: web.Request) -> web.Response:
        return _json(views.config(self._look()[0]))

    async def reload(self, request: web.Request) -> web.Response:
        if self._control.stopping:
            return problems.answer(503, "the balancer is stopping")
        before = self._reload.base
        outcome = await self._reload.apply("admin")
        if outcome.success and before is not None and outcome.version == before.version:
            changes_nothing(request)
        kept = views.orders_kept(self._look()[0])
        if outcome.passing:
            detail = "the workers did not all answer; nothing has changed, and it is tried again in a moment"
            return problems.answer(503, detail, **views.outcome(outcome, kept))
        if not outcome.success:
            count = len(outcome.faults)
            told = f"more than {MOST_FAULTS}" if count > MOST_FAULTS else str(count)
            detail = f"the configuration has {told} fault{'' if count == 1 else 's'}; nothing has changed"
            return problems.answer(422, detail, **views.outcome(outcome, kept))
        return _json(views.outcome(outcome, kept))

    async def openapi(self, _request: web.Request) -> web.Response:
        return _json(openapi.document(ROUTES, __version__))


def _said(request: web.Request, error: web.HTTPException) -> str:
    """Return what is wrong with a request that aiohttp did not take."""
    match error.status:
        case 413:
            return f"a body may have {MOST} bytes here"
        case 408:
            return f"the body did not come within {BODY_WITHIN:g} s"
        case status if status < 500:
            return f"{request.method} {request.path} is not answered here"
    return error.reason


def _json(document: dict[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(document, ensure_ascii=False) + "\n", content_type=JSON)
