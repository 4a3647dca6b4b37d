"""The access log: whole lines in order, in pieces that workers cannot mix, dropped and counted where nobody reads."""

from __future__ import annotations

import json
import os
import select
import threading
from pathlib import Path

import pytest

from balancer.data import access_log
from balancer.data.access_log import MAX_PATH, AccessLog, Clock, path_text
from balancer.model.snapshot import FixedResponse, Limits, Match, Rule
from tests.support.waiting import wait_for
from tests.unit.data.stage import GET, OK, POST, stage

KEYS = [
    "time", "request_id", "listener", "client", "method", "host", "path", "status", "source", "reason", "target_group",
    "target", "zone", "duration_ms", "connect_ms", "first_byte_ms", "bytes_in", "bytes_out", "retries",
    "upstream_status", "detail",
]  # fmt: skip


# The line of a request


def test_every_line_has_the_same_keys_in_the_same_order_whatever_the_end() -> None:
    rules = (Rule("f", Match(paths=("=/fixed",)), FixedResponse()),)
    with stage(log=True) as set_:
        client = set_.client()
        for _ in range(4):  # the long way and the short way
            client.feed(GET)
            set_.loop.run()
            set_.answer(OK)
        client.feed(POST)
        set_.loop.run()
        set_.answer(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n")
        client.feed(b"broken\r\n\r\n")
        gone = set_.ask(GET)
        gone.feed_reset()
        set_.loop.run()
        lines = set_.lines
    with stage(rules=rules, log=True) as set_:
        set_.ask(GET.replace(b"/", b"/fixed", 1))
        set_.ask(GET)
        lines += set_.lines
    assert len(lines) == 9
    for line in lines:
        assert line.endswith("}\n") and line.count("\n") == 1
        assert list(json.loads(line)) == KEYS


def test_a_line_says_what_happened() -> None:
    with stage(log=True) as set_:
        client = set_.ask(POST)
        set_.go(0.25)
        set_.answer(b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\n")
        set_.go(0.25)
        set_.answer(b"hello")
        line = json.loads(set_.lines[0])
        request_id = client.take().split(b"X-Request-ID: ")[1][:24].decode()
    assert line == {
        "time": "2023-11-14T22:13:20.500Z", "request_id": request_id, "listener": "web", "client": "203.0.113.9",
        "method": "POST", "host": "a.test", "path": "/", "status": 500, "source": "upstream", "reason": "",
        "target_group": "demo", "target": "t0", "zone": "zone-0", "duration_ms": 500.0, "connect_ms": 0.0,
        "first_byte_ms": 250.0, "bytes_in": 4, "bytes_out": 5, "retries": 0, "upstream_status": 500, "detail": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b'/a"b?secret=1', '/a"b'),
        (b"/%22%5c", "/%22%5c"),
        (b"/{}<>|^`", "/{}<>|^`"),
        (b"/" + b"p" * 3000, "/" + "p" * (MAX_PATH - 1) + "…"),
        (b"http://a.test/x?y", "/x"),
        (b"/a/../b", "/b"),
    ],
)
def test_a_path_is_shown_without_its_query_and_as_valid_json(target: bytes, shown: str) -> None:
    with stage(log=True) as set_:
        set_.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a.test\r\n\r\n")
        set_.answer(OK)
        assert json.loads(set_.lines[0])["path"] == shown
        assert "secret" not in set_.lines[0]
        assert len(set_.lines[0].encode()) <= select.PIPE_BUF


def test_what_was_refused_shows_no_query_either() -> None:
    with stage(log=True) as set_:
        set_.ask(b"GET /x?secret=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        line = json.loads(set_.lines[0])
        assert (line["method"], line["path"], line["reason"]) == ("GET", "/x", "bad_host")
        assert "secret" not in set_.lines[0]


def test_the_client_behind_a_trusted_proxy_is_the_one_that_is_shown() -> None:
    with stage(trusted_proxies=("203.0.113.0/24",), log=True) as set_:
        set_.ask(GET.replace(b"Host", b'X-Forwarded-For: 198.51.100.1, "evil\r\nHost'))
        set_.answer(OK)
        set_.ask(GET.replace(b"Host", b"X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\nHost"))
        set_.answer(OK)
        set_.ask(GET.replace(b"Host", b"X-Forwarded-For: 198.51.100.1:4711\r\nHost"))
        set_.answer(OK)
        assert [json.loads(line)["client"] for line in set_.lines] == ["203.0.113.9", "198.51.100.1", "198.51.100.1"]


# Texts


def test_the_time_of_a_line_is_rfc_3339_with_milliseconds() -> None:
    clock = Clock()
    seen = [clock.text(wall) for wall in (0.0, 1.9995, 1_700_000_000.001, 1_700_000_000.9, 1_700_000_001.0)]
    assert seen == [
        "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.999Z", "2023-11-14T22:13:20.001Z", "2023-11-14T22:13:20.900Z",
        "2023-11-14T22:13:21.000Z",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/", '/"', "/\\", "/\x7f", "/é", "/" + '"' * MAX_PATH, "/\u2028"])
def test_any_path_is_a_json_string_of_one_line(path: str) -> None:
    text = path_text(path)
    assert "\n" not in text and text.isascii()
    assert json.loads(text).rstrip("…") == path[:MAX_PATH]


# Leaving


@pytest.mark.parametrize("sizes", [[10], [4095, 1, 2], [5000, 10], [10, 9000, 10], [100] * 500, [4096, 4096], [4097]])
def test_lines_leave_in_pieces_that_a_pipe_takes_whole(sizes: list[int]) -> None:
    data = b"".join(b"x" * (size - 1) + b"\n" for size in sizes)
    pieces = access_log._pieces(data)
    assert b"".join(pieces) == data
    for piece in pieces:
        assert piece.endswith(b"\n")
        assert len(piece) <= select.PIPE_BUF or piece.count(b"\n") == 1  # a longer line goes alone


def test_lines_reach_their_file_in_order_and_stay_apart(tmp_path: Path) -> None:
    log = AccessLog()
    log.open(str(tmp_path / "log"))
    assert log.enabled
    lines = [f"{number}\n" for number in range(2000)]
    for line in lines:
        log.write(line)
    log.close(5.0)
    assert (tmp_path / "log").read_text() == "".join(lines)
    assert log.dropped == 0


def test_a_reload_moves_the_lines_to_another_file(tmp_path: Path) -> None:
    log = AccessLog()
    log.open(str(tmp_path / "one"))
    log.write("1\n")
    log.open(str(tmp_path / "two"))
    log.write("2\n")
    log.close(5.0)
    assert (tmp_path / "one").read_text() == "1\n"
    assert (tmp_path / "two").read_text() == "2\n"


@pytest.mark.parametrize("moved", [True, False], ids=["moved away", "removed"])
def test_lines_go_to_the_file_that_is_at_the_path_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """Whoever rotates it need not tell anybody."""
    monkeypatch.setattr(access_log, "LOOK", 0.0)
    path, before = tmp_path / "a.log", tmp_path / "a.log.1"
    log = AccessLog()
    log.open(str(path))
    log.write("first\n")
    log.flush()
    wait_for(lambda: path.read_text() == "first\n", 5, "the first line is written")
    path.rename(before) if moved else path.unlink()
    log.write("second\n")
    log.flush()
    wait_for(lambda: path.exists() and path.read_text() == "second\n", 5, "the second line is in a new file")
    assert not moved or before.read_text() == "first\n"
    log.write("third\n")
    log.close(5)
    assert path.read_text() == "second\nthird\n" and log.dropped == 0


def test_a_path_that_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    log = AccessLog()
    log.open(str(tmp_path / "one"))
    with pytest.raises(OSError, match="absent"):
        log.open(str(tmp_path / "absent" / "two"))
    log.write("1\n")
    log.close(5.0)
    assert (tmp_path / "one").read_text() == "1\n"


def test_a_named_pipe_that_nobody_reads_holds_nobody_up_and_is_written_to_once_somebody_does(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    log = AccessLog()
    with pytest.raises(OSError, match="pipe"):
        log.open(path)
    assert log.enabled and not log.open_again(100.0)
    log.write("1\n")
    log.flush()
    assert log.dropped == 1
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert not log.open_again(101.0), "not at every tick"
        assert log.open_again(102.0) and not log.missing
        assert not log.open_again(110.0)
        log.write("2\n")
        log.close(5.0)
        assert os.read(reader, 100) == b"2\n"
    finally:
        os.close(reader)


def test_what_could_not_be_opened_is_no_longer_tried_after_a_reload_to_elsewhere(tmp_path: Path) -> None:
    log = AccessLog()
    with pytest.raises(OSError, match="absent"):
        log.open(str(tmp_path / "absent" / "one"))
    log.open("")
    assert not log.enabled and not log.missing


def test_nowhere_to_write_is_off() -> None:
    log = AccessLog()
    log.open("")
    assert not log.enabled


def test_a_reader_that_has_stopped_costs_lines_and_never_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_PENDING", 100_000)
    reader, writer = os.pipe()
    log = AccessLog()
    log.open(f"/proc/self/fd/{writer}")
    try:
        for _ in range(400):
            log.write("x" * 999 + "\n")
            log.flush()
        assert 0 < log.dropped < 400
        taken = 0
        thread = threading.Thread(target=log.close, args=(5.0,))
        thread.start()
        os.close(writer)
        while thread.is_alive() or select.select([reader], [], [], 0)[0]:
            if select.select([reader], [], [], 0.01)[0]:
                data = os.read(reader, 65536)
                if not data:
                    break
                taken += data.count(b"\n")
        assert taken + log.dropped == 400
    finally:
        os.close(reader)


def test_lines_that_cannot_be_written_are_counted() -> None:
    log = AccessLog()
    log.open("/dev/full")
    for _ in range(3):
        log.write("x\n")
    log.close(5.0)
    assert log.dropped == 3


@pytest.mark.parametrize(
    ("method", "field", "status"),
    [
        ("POST", b"Content-Length: 11", 413),
        ("TRACE", b"X-A: b", 405),
        ("GET", b"Connection: Upgrade\r\nUpgrade: websocket", 400),
    ],
)
def test_a_head_that_is_refused_once_it_was_read_is_answered_and_logged_as_what_it_was(
    method: str, field: bytes, status: int
) -> None:
    said = (
        b"Host: A.test:80\r\nAccept: text/plain\r\nX-Request-ID: of-the-client-1\r\nX-Forwarded-For: 198.51.100.7\r\n"
        + field
    )
    with stage(trusted_proxies=("203.0.113.0/24",), limits=Limits(body=10), log=True) as set_:
        answer = set_.ask(b"%b /a//b/%%7e?q=1 HTTP/1.1\r\n%b\r\n\r\n" % (method.encode(), said)).take()
        line = json.loads(set_.lines[-1])
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"Content-Type: text/plain" in answer and b"X-Request-ID: of-the-client-1\r\n" in answer
    assert (line["method"], line["host"], line["status"]) == (method, "A.test:80", status)
    assert (line["request_id"], line["client"]) == ("of-the-client-1", "198.51.100.7")
    with stage(log=True) as served:
        served.ask(b"GET /a//b/%7e?q=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        served.answer()
        assert line["path"] == json.loads(served.lines[-1])["path"]


def test_a_pipe_that_nobody_reads_stops_no_other_file_and_what_waits_for_it_is_counted_as_lost(tmp_path: Path) -> None:
    pipe, file = str(tmp_path / "pipe"), tmp_path / "file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog()
    log.open(pipe)
    stuck = log._writer
    assert stuck is not None
    try:
        for _ in range(200):
            log.write("x" * 999 + "\n")
        log.open(str(file))
        log.write("after\n")
        log.flush()
        wait_for(lambda: file.exists() and file.read_text() == "after\n", 5, "the line in the new file")

        def given_up() -> bool:
            log.flush()
            return not log._leaving

        wait_for(given_up, access_log.PATIENCE + 5, "the pipe is given up")
        assert 100 < log.dropped <= 200, "a pipe takes 64 KiB"
        dropped = log.dropped
        while stuck.thread.is_alive() or select.select([reader], [], [], 0)[0]:
            if select.select([reader], [], [], 0.01)[0] and not os.read(reader, 65536):
                break
        stuck.thread.join(5.0)
        assert not stuck.thread.is_alive(), "it ends by itself once somebody reads"
        assert log.dropped == dropped, "and nothing is counted twice"
        log.close(5.0)
        assert file.read_text() == "after\n"
    finally:
        os.close(reader)
