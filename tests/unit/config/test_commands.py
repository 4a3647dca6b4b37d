"""`balancer check`, `plan` and `schema`, as they are typed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from balancer.cli.check import check
from balancer.cli.plan import plan
from balancer.cli.schema import schema
from balancer.config.load import load
from balancer.config.schema import text
from balancer.control.reload import hash_of
from balancer.model.codec import encode

SOUND = """workers: 1
listeners: [{name: web, address: 127.0.0.1:8080, rules: [{action: {forward: demo}}]}]
target_groups: [{name: demo, targets: [{name: a1, address: "127.0.0.1:8001"}, {name: a2, address: "127.0.0.1:8002"}]}]
"""


def run(command: click.Command, *arguments: object, **environment: str) -> Result:
    """Run a command as it is typed; the environment has what is given, and no admin address."""
    env: dict[str, str | None] = {"BALANCER_ADMIN": None, "BALANCER_ADMIN_TOKEN": None, **environment}
    return CliRunner().invoke(command, [str(argument) for argument in arguments], env=env)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(SOUND)
    return file


class Admin:
    """An admin server that answers with whatever `body` is; `seen` are the tokens of the requests."""

    def __init__(self) -> None:
        self.body = b"{}"
        self.status = 200
        self.seen: list[str | None] = []
        admin = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                admin.seen.append(self.headers["Authorization"])
                self.send_response(admin.status if self.path == "/api/v1/config" else 404)
                self.end_headers()
                self.wfile.write(admin.body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def runs(self, file: Path) -> None:
        """Answer as a balancer that runs this file."""
        snapshot = load(file, {}).snapshot
        assert snapshot is not None
        document = {"snapshot": json.loads(encode(snapshot)), "version": 1, "hash": hash_of(snapshot)}
        self.body = json.dumps(document).encode()


@pytest.fixture
def admin() -> Iterator[Admin]:
    admin = Admin()
    thread = threading.Thread(target=admin.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield admin
    admin.server.shutdown()
    admin.server.server_close()
    thread.join()


def test_a_sound_file_is_one_line_and_exit_0(file: Path) -> None:
    result = run(check, file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{file}: 1 listener, 1 target group, 2 targets: no faults\n"


def test_faults_go_to_standard_error_and_exit_1(file: Path) -> None:
    file.write_text(SOUND.replace("workers: 1", "wrkers: 1\nstop_timeout: 30s"))
    result = run(check, file, BALANCER_STOP_GRACE="10s")
    assert result.exit_code == 1
    assert result.stdout == f"{file}: 1 fault, 1 warning\n"
    assert result.stderr == (
        f"{file}:1:1: wrkers: unknown key (write workers)\n"
        f"{file}:2:15: warning: stop_timeout: docker kills after 10s unless it is told to wait longer than 30s"
        " (set stop_grace_period in compose above 30s, and BALANCER_STOP_GRACE to the same, which tells it here)\n"
    )


def test_beyond_twenty_faults_their_number_is_told(file: Path) -> None:
    file.write_text(SOUND + "".join(f"frobnicate{number}: 1\n" for number in range(30)))
    result = run(check, file)
    assert result.stderr.count("\n") == 21
    assert result.stderr.endswith("and 10 more faults (--json shows all)\n")
    assert len(json.loads(run(check, "--json", file).stdout)["faults"]) == 30


def test_a_check_can_be_read_by_a_program(file: Path) -> None:
    file.write_text(SOUND.replace("workers: 1", "wrkers: 1"))
    result = run(check, "--json", file)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["faults"] == [
        {
            "file": str(file),
            "line": 1,
            "column": 1,
            "path": "wrkers",
            "message": "unknown key (write workers)",
            "problem": "unknown key",
            "remedy": "write workers",
        }
    ]


def test_the_environment_is_used(file: Path) -> None:
    file.write_text(SOUND.replace("workers: 1", "workers: ${SOME_WORKERS}"))
    assert run(check, file).exit_code == 1
    assert run(check, file, SOME_WORKERS="2").exit_code == 0


def test_a_path_without_a_file_is_a_fault_and_no_path_is_wrong_usage(tmp_path: Path) -> None:
    assert run(check, tmp_path / "none").exit_code == 1
    assert run(check).exit_code == 2


def test_a_plan_shows_each_change_and_what_it_costs(file: Path, admin: Admin) -> None:
    admin.runs(file)
    file.write_text(
        SOUND.replace("name: a2, address", "name: a2, weight: 5, address").replace("workers: 1", "workers: 2")
    )
    result = run(plan, "--admin", admin.url, file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "~ changed section workers: needs a restart: a reload cannot change it\n"
        "    workers: 1 → 2\n"
        "~ changed target target_groups.demo.targets.a2: applies to the next pick\n"
        "    weight: 1 → 5\n"
        f"{file}: 2 changed against {admin.url}; a reload would refuse this, restart instead\n"
    )


def test_a_plan_without_changes_says_so(file: Path, admin: Admin) -> None:
    admin.runs(file)
    result = run(plan, file, BALANCER_ADMIN=admin.url, BALANCER_ADMIN_TOKEN="secret")
    assert (result.exit_code, result.stdout) == (0, f"{file}: no change against {admin.url}\n")
    assert set(admin.seen) == {"Bearer secret"}


@pytest.mark.parametrize(
    "order",
    [("{name: a2", "{name: a1"), ("{name: a1", "{name: a2")],
    ids=["of targets", "none"],
)
def test_a_plan_of_the_same_in_another_order_says_just_that(file: Path, admin: Admin, order: tuple[str, str]) -> None:
    """It is no secret value that differs, and neither is it nothing."""
    first, second = "{name: a1, address: 127.0.0.1:9001}", "{name: a2, address: 127.0.0.1:9002}"
    head = "listeners: [{name: web, address: 127.0.0.1:8080, rules: [{action: {forward: demo}}]}]\n"
    text = head + "target_groups: [{name: demo, targets: [%s, %s]}]\n"
    file.write_text(text % (first, second))
    admin.runs(file)
    swapped = order[0] == "{name: a2"
    file.write_text(text % ((second, first) if swapped else (first, second)))
    result = run(plan, "--admin", admin.url, file)
    said = "only the order differs, of listeners, rules, target groups or targets," if swapped else "no change"
    assert (result.exit_code, result.stdout) == (0, f"{file}: {said} against {admin.url}\n")
    document = json.loads(run(plan, "--json", "--admin", admin.url, file).stdout)
    assert (document["hidden"], document["reordered"], document["changes"]) == (False, swapped, [])


def test_a_plan_can_be_read_by_a_program(file: Path, admin: Admin) -> None:
    admin.runs(file)
    file.write_text(SOUND.replace("8080", "8081"))
    document = json.loads(run(plan, "--json", "--admin", admin.url, file).stdout)
    assert document["restart"] is False
    assert document["changes"] == [
        {
            "kind": "changed",
            "object": "listener",
            "path": "listeners.web",
            "cost": "binds 127.0.0.1:8081; connections on 127.0.0.1:8080 end after their current response",
            "fields": [{"name": "address", "old": "127.0.0.1:8080", "new": "127.0.0.1:8081"}],
            "restart": False,
        }
    ]


def test_a_plan_of_a_faulty_file_is_its_faults(file: Path, admin: Admin) -> None:
    file.write_text("listners: []\n")
    result = run(plan, "--admin", admin.url, file)
    assert result.exit_code == 1
    assert "unknown key (write listeners)" in result.stderr
    assert admin.seen == []


def test_a_plan_without_a_balancer_says_that_nothing_answers(file: Path, admin: Admin) -> None:
    admin.server.server_close()
    result = run(plan, "--admin", admin.url, file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"nothing answers at {admin.url}: ")
    assert result.stderr.endswith("ask again; or name it with --admin)\n")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"", "the token is missing or wrong (set BALANCER_ADMIN_TOKEN)"),
        (404, b"", "answers 404 (is this the admin address?)"),
        (404, b"{}", "answers 404 (is this the admin address?)"),
        (200, b"<html>", "answers something else than JSON"),
        (200, b'{"snapshot": {"format": 99}}', "answers something else than a configuration"),
        (200, b"[]", "answers something unexpected"),
    ],
)
def test_a_plan_against_something_else_says_so(file: Path, admin: Admin, status: int, body: bytes, said: str) -> None:
    admin.status, admin.body = status, body
    result = run(plan, "--admin", admin.url, file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_admin_address_that_is_no_url_is_wrong_usage(file: Path) -> None:
    assert run(plan, "--admin", "127.0.0.1:9900", file).exit_code == 2


def test_the_schema_is_printed_whole() -> None:
    result = run(schema)
    assert (result.exit_code, result.stdout) == (0, text())


@pytest.mark.parametrize("command", [check, plan, schema], ids=lambda command: command.name)
def test_help_has_a_sentence_examples_and_exit_codes(command: click.Command) -> None:
    shown = run(command, "--help").stdout
    assert "Examples:" in shown
    assert "Exit codes:" in shown
    assert f"balancer {command.name}" in shown
