"""`balancer health`: asks a running balancer whether it is well, with little of the standard library, to be quick."""

from __future__ import annotations

import os
import socket
import sys

TIMEOUT = 3.0  # seconds, each answer
DEFAULT = "http://127.0.0.1:9900"
USAGE = """\
Usage: balancer health [--admin URL] [--json]

  Tell by the exit code whether the balancer is well: it lives (/healthz), and is
  ready for traffic (/readyz). A container's health check.

Options:
  --admin URL  The admin server, or unix:/path of its socket; else
               BALANCER_ADMIN, else http://127.0.0.1:9900.
  --json       Print {"live": …, "ready": …, "detail": …}.
  -h, --help   Show this message and exit.

Exit codes: 0 it is well, 1 it is not, 2 wrong usage."""


def main(arguments: list[str]) -> int:
    """Print one line and return the exit code."""
    admin, as_json = os.environ.get("BALANCER_ADMIN", "") or DEFAULT, False
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            print(USAGE)
            return 0
        if word == "--json":
            as_json = True
        elif word == "--admin" and words:
            admin = words.pop(0)
        elif word.startswith("--admin="):
            admin = word.removeprefix("--admin=")
        else:
            print(f"{USAGE.splitlines()[0]}\nError: unexpected {word!r}", file=sys.stderr)
            return 2
    live, ready, detail = ask(admin)
    if as_json:
        import json

        print(json.dumps({"live": live, "ready": ready, "detail": detail}))
    else:
        print(detail, file=sys.stdout if ready else sys.stderr)
    return 0 if ready else 1


def ask(admin: str) -> tuple[bool, bool, str]:
    """Return whether the balancer at `admin` lives, whether it is ready, and the line that says so."""
    try:
        host, port = where(admin)
    except ValueError as error:
        return False, False, str(error)
    live = False
    for path in ("/healthz", "/readyz"):
        try:
            status, body = get(host, port, path)
        except (OSError, ValueError) as error:
            told = getattr(error, "strerror", None) or str(error)
            remedy = "" if live else " (does it run, and is this its admin address?)"
            return live, False, f"{admin}{path}: {told.lower()}{remedy}"
        if status != 200:
            return live, False, f"{admin}{path}: {status}{': ' if body else ''}{body}"
        live = True
    return True, True, f"{admin}: live and ready"


def where(admin: str) -> tuple[str, int]:
    """Return host and port of an `http://` URL, or (path, 0) of a `unix:/path`; ValueError says what to write."""
    if admin.startswith("unix:/"):
        return admin.removeprefix("unix:"), 0
    scheme, _, rest = admin.partition("://")
    authority = rest.partition("/")[0]
    host, colon, port = authority.rpartition(":")
    if scheme != "http" or not authority or (colon and not port.isdecimal() and "]" not in port):
        raise ValueError(f"{admin!r} is not an admin URL (write {DEFAULT})")
    if not colon or not port.isdecimal():
        host, port = authority, "80"
    return host.strip("[]"), int(port)


def get(host: str, port: int, path: str) -> tuple[int, str]:
    """Return (status, the first line of the body); OSError or ValueError if nothing sensible answers."""
    shown = "localhost" if not port else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with _connected(host, port) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {shown}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while len(answer) < 65_536 and (data := connection.recv(65_536)):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ValueError("what answers is not HTTP")
    lines = body.decode("utf-8", "replace").strip().splitlines()
    said = lines[0][:200] if lines else ""
    return int(words[1]), "".join(one if one.isprintable() else "\ufffd" for one in said)


def _connected(host: str, port: int) -> socket.socket:
    if port:
        return socket.create_connection((host, port), timeout=TIMEOUT)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(host)
    except OSError:
        connection.close()
        raise
    return connection
