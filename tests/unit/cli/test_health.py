"""`balancer health`: one line, the exit code, and no waiting for what does not answer."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from balancer.cli import health
from balancer.cli.main import main

Serve = Callable[[dict[str, str]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve paths with `status text|body`; return the URL."""
    listeners: list[socket.socket] = []

    def one(answers: dict[str, str]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    path = connection.recv(4096).split()[1].decode()
                    status, _, body = answers[path].partition("|")
                    connection.sendall(f"{status}\r\nContent-Type: text/plain\r\n\r\n{body}".encode())

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield one
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


OK = "HTTP/1.1 200 OK|ok"
ANSWERS = [
    ("well", {"/healthz": OK, "/readyz": OK}, 0, "{url}: live and ready"),
    (
        "not ready",
        {"/healthz": OK, "/readyz": "HTTP/1.1 503 Service Unavailable|stopping\nsince 3 s"},
        1,
        "{url}/readyz: 503: stopping",
    ),
    ("not well", {"/healthz": "HTTP/1.1 500 Oops|"}, 1, "{url}/healthz: 500"),
    ("not HTTP", {"/healthz": "SSH-2.0|"}, 1, "{url}/healthz: what answers is not http (does it run, "),
]


@pytest.mark.parametrize(("answers", "code", "line"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_the_answers_decide(
    serve: Serve, answers: dict[str, str], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(answers)
    assert health.main(["--admin", url]) == code
    said = capsys.readouterr()
    told = said.out if code == 0 else said.err
    assert told.startswith(line.format(url=url))
    assert told.count("\n") == 1


def test_the_environment_names_the_admin_server(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BALANCER_ADMIN", serve({"/healthz": OK, "/readyz": OK}))
    with pytest.raises(SystemExit) as end:
        main(["health", "--json"])
    assert end.value.code == 0
    assert '"live": true, "ready": true' in capsys.readouterr().out


def test_nobody_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert health.main([f"--admin={url}"]) == 1
    assert capsys.readouterr().err == (
        f"{url}/healthz: connection refused (does it run, and is this its admin address?)\n"
    )


URLS = [
    ("http://127.0.0.1:9900", ("127.0.0.1", 9900)),
    ("http://balancer:9900/", ("balancer", 9900)),
    ("http://[::1]:9900", ("::1", 9900)),
    ("http://[::1]", ("::1", 80)),
    ("http://balancer", ("balancer", 80)),
    ("127.0.0.1:9900", None),
    ("https://balancer:9900", None),
    ("http://balancer:admin", None),
]


@pytest.mark.parametrize(("url", "found"), URLS, ids=[row[0] for row in URLS])
def test_a_url_is_read_or_explained(url: str, found: tuple[str, int] | None) -> None:
    if found is not None:
        assert health.where(url) == found
        return
    live, ready, told = health.ask(url)
    assert not live
    assert not ready
    assert told == f"{url!r} is not an admin URL (write http://127.0.0.1:9900)"


@pytest.mark.parametrize("words", [["now"], ["--admin"]])
def test_wrong_usage_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main(words) == 2
    assert "Usage: balancer health" in capsys.readouterr().err


def test_it_imports_next_to_nothing() -> None:
    code = "import sys\nfrom balancer.cli.main import main\ntry: main(['health', '-h'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not set(done.stdout.split()) & {"click", "asyncio", "http.client", "urllib.request", "json", "logging"}
