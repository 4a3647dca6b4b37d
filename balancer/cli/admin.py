"""How a command speaks to the balancer that runs: its admin API, with the standard library alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from balancer.cli.faults import InputFault

DEFAULT = "http://127.0.0.1:9900"
_ADMIN = "(is this the admin address?)"
_MOST = 128 * 1024 * 1024  # bytes of an answer: ten times what the largest configuration has to tell

if TYPE_CHECKING:
    import urllib.request

_Command = TypeVar("_Command", bound=Callable[..., Any])


def admin_option(command: _Command) -> _Command:
    """Give a command `--admin`, else `BALANCER_ADMIN`, else the default."""
    return click.option(
        "--admin",
        metavar="URL|unix:PATH",
        envvar="BALANCER_ADMIN",
        default=DEFAULT,
        show_default=True,
        show_envvar=True,
        help="The admin server of the balancer that runs.",
    )(command)


def ask(
    admin: str,
    path: str,
    *,
    needs: str = "",
    method: str = "GET",
    timeout: float = 5.0,
    body: dict[str, Any] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of an answer, problems (4xx, 5xx) included. Raises InputFault when
    there is none, or one of something else: without the key that a good one `needs`.

    A token is taken from `BALANCER_ADMIN_TOKEN`.
    """
    import http.client
    import json
    import os
    import urllib.error
    import urllib.request

    if not admin.startswith(("http://", "https://", "unix:/")):
        raise click.BadParameter(f"{admin!r} is not a URL (write {DEFAULT}, or unix:/path)", param_hint="--admin")
    unix = admin.removeprefix("unix:") if admin.startswith("unix:") else ""
    url = f"http://localhost{path}" if unix else admin.rstrip("/") + path
    token = os.environ.get("BALANCER_ADMIN_TOKEN", "")
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - the scheme was checked
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if unix:
        handlers.append(_through(unix))
        url = f"{admin}: {path}"
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
            return answer.status, _document(url, answer.read(_MOST), needs)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise InputFault(f"{url}: the token is missing or wrong (set BALANCER_ADMIN_TOKEN)") from error
        try:
            return error.code, _document(url, error.read(_MOST), "")
        except InputFault:
            raise InputFault(f"{url} answers {error.code} {_ADMIN}") from error
    except OSError as error:
        raise InputFault(_no_answer(admin, getattr(error, "reason", None) or error)) from error
    except http.client.HTTPException as error:
        raise InputFault(f"{url} answers something else than HTTP {_ADMIN}") from error


def _no_answer(admin: str, reason: object) -> str:
    """Return what is said where nobody answers: why, and what to do about just that."""
    import os
    import socket
    import ssl

    named = ", which BALANCER_ADMIN names" if os.environ.get("BALANCER_ADMIN") == admin else ""
    said = str((getattr(reason, "strerror", None) if isinstance(reason, OSError) else None) or reason).lower()
    if isinstance(reason, ssl.SSLCertVerificationError):
        said, remedy = reason.verify_message.lower(), "set SSL_CERT_FILE to the authority that signed its certificate"
    elif isinstance(reason, ssl.SSLError):
        said = (reason.reason or said).lower().replace("_", " ")
        remedy = f"the admin server itself speaks no TLS: write http{admin.removeprefix('https')}"
    elif isinstance(reason, socket.gaierror):
        remedy = "name it with --admin, by an address or a name that is known here"
    elif isinstance(reason, TimeoutError):
        remedy = "is this the admin address? Name it with --admin"
    else:
        remedy = (
            "start it: balancer run; if it runs, its control process may be starting anew: ask again; or name it"
            " with --admin"
        )
    return f"nothing answers at {admin}{named}: {said} ({remedy})"


def _through(path: str) -> urllib.request.HTTPHandler:
    """Return what has urllib speak through the socket at a path."""
    import http.client
    import socket
    import urllib.request

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(path)

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Connection, request)

    return Handler()


def _document(url: str, data: bytes, needs: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputFault(f"{url} answers something else than JSON {_ADMIN}") from error
    if not isinstance(value, dict) or (needs and needs not in value):
        raise InputFault(f"{url} answers something unexpected {_ADMIN}")
    return value
