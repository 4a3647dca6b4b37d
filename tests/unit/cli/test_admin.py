"""What a command says where nobody answers: why not, and what to do about just that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from balancer.cli.admin import ask
from balancer.cli.faults import InputFault

START = (
    "(start it: balancer run; if it runs, its control process may be starting anew: ask again; or name it with --admin)"
)


@pytest.fixture(autouse=True)
def _no_admin_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALANCER_ADMIN", raising=False)


def said(admin: str, timeout: float = 5.0) -> str:
    """Return what is said where nobody answers at an address."""
    with pytest.raises(InputFault) as fault:
        ask(admin, "/api/v1/status", timeout=timeout)
    return str(fault.value)


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Listen, and answer whatever one client says; without an answer, never accept. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        if answer:
            thread.start()
        yield server.getsockname()[1]
        if answer:
            thread.join()


def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_nobody_listens() -> None:
    admin = f"http://127.0.0.1:{unused()}"
    assert said(admin) == f"nothing answers at {admin}: connection refused {START}"


def test_the_address_is_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = f"http://127.0.0.1:{unused()}"
    monkeypatch.setenv("BALANCER_ADMIN", admin)
    assert said(admin) == f"nothing answers at {admin}, which BALANCER_ADMIN names: connection refused {START}"


def test_no_such_socket(tmp_path: Path) -> None:
    admin = f"unix:{tmp_path}/admin.sock"
    assert said(admin) == f"nothing answers at {admin}: no such file or directory {START}"


def test_no_such_name() -> None:
    text = said("http://nowhere.invalid:9900")
    assert text.startswith("nothing answers at http://nowhere.invalid:9900: ") and "errno" not in text
    assert text.endswith("(name it with --admin, by an address or a name that is known here)")


def test_tls_where_none_is_spoken() -> None:
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        text = said(f"https://127.0.0.1:{port}")
    assert text.startswith(f"nothing answers at https://127.0.0.1:{port}: ") and "_ssl.c" not in text
    assert text.endswith(f"(the admin server itself speaks no TLS: write http://127.0.0.1:{port})")


OTHERS = [
    (b"SSH-2.0-x\x1b[2J\r\n", "answers something else than HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}", "answers something unexpected"),
    (b"HTTP/1.1 200 OK\r\n\r\n<html>", "answers something else than JSON"),
    (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "answers something else than JSON"),
    (b"HTTP/1.1 200 OK\r\n\r\nnull", "answers something unexpected"),
    (b'HTTP/1.1 200 OK\r\n\r\n{"config": 1}', "answers something unexpected"),
    (b"HTTP/1.1 404 Not Found\r\n\r\nnope", "answers 404"),
]


@pytest.mark.parametrize(("answer", "expected"), OTHERS, ids=range(len(OTHERS)))
def test_something_else_answers(answer: bytes, expected: str) -> None:
    with listening(answer) as port, pytest.raises(InputFault) as fault:
        ask(f"http://127.0.0.1:{port}", "/api/v1/status", needs="workers")
    assert str(fault.value) == f"http://127.0.0.1:{port}/api/v1/status {expected} (is this the admin address?)"


def test_something_that_never_answers() -> None:
    with listening(b"") as port:
        text = said(f"http://127.0.0.1:{port}", timeout=0.05)
    remedy = "(is this the admin address? Name it with --admin)"
    assert text == f"nothing answers at http://127.0.0.1:{port}: timed out {remedy}"
