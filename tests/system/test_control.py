"""Control as its users meet it: what it says of targets, how a configuration is taken over, and what survives it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from balancer.control.admin.routes import ROUTES
from tests.support import configs, raw
from tests.support.balancer import Balancer
from tests.support.faults import free_port, refusing
from tests.support.process import ROOT, Backend
from tests.support.recorder import Recorder
from tests.support.waiting import wait_for

CHECK = {"type": "http", "path": "/healthz", "interval": "1s", "timeout": "500ms", "fast_interval": "200ms"}
FAMILIES = [
    "requests_total",
    "request_duration_seconds",
    "upstream_first_byte_seconds",
    "request_bytes_total",
    "response_bytes_total",
    "active_requests",
    "active_connections",
    "target_state",
    "zone_healthy_ratio",
    "zone_share_ratio",
    "panic",
    "failovers_total",
    "health_checks_total",
    "retries_total",
    "failures_total",
    "config_version",
    "config_last_reload_success",
    "config_last_reload_timestamp_seconds",
    "worker_restarts_total",
    "workers",
    "build_info",
    "access_log_dropped_total",
]


def checked(*targets: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """Return a configuration whose group `demo` has these (name, address, zone), checked often."""
    group = {
        "name": "demo",
        "health_check": CHECK,
        "targets": [configs.target(name, address, zone) for name, address, zone in targets],
        **more,
    }
    return {"listeners": [configs.listener("web", [configs.forward("demo")])], "target_groups": [group]}


@contextmanager
def serving(*zones: str, **more: Any) -> Iterator[tuple[Balancer, dict[str, Backend]]]:
    """Run a balancer in front of one demo target a zone: a1 in zone-a and so on."""
    backends = {f"{zone}1": Backend(f"{zone}1", f"zone-{zone}") for zone in zones}
    try:
        targets = [(name, one.address, one.zone) for name, one in backends.items()]
        with Balancer(checked(*targets, **more), workers=2) as balancer:
            for name in backends:
                balancer.wait_for_state("demo", name, "healthy")
            yield balancer, backends
    finally:
        for one in backends.values():
            one.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Balancer]:
    with Recorder() as recorder, Balancer(configs.simple(recorder.address), workers=2) as balancer:
        yield balancer


def ask(balancer: Balancer, method: str, path: str, sent: bytes = b"", /, **headers: str) -> http.client.HTTPResponse:
    """Send one request to the admin server with exactly these headers beside Host."""
    connection = http.client.HTTPConnection(*balancer.admin, timeout=5)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(sent or None)
    return connection.getresponse()


def get(balancer: Balancer, path: str = "/") -> int:
    """Send one request through the balancer and return the status."""
    connection = http.client.HTTPConnection(*balancer.address(), timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


# Seeing


def test_the_start_ends_with_where_to_go_and_how_many_targets_are_well() -> None:
    with serving("a", "b") as (balancer, _):
        lines = wait_for(
            lambda: found if "targets healthy" in (found := balancer.log_text()) else None, 5, "the last line"
        ).splitlines()
        said = [re.sub(r":\d+$", ":N", line.split(" ", 2)[2].split(" listener=")[0]) for line in lines[-3:]]
        assert said == [
            "listening on http://127.0.0.1:N",
            "admin on http://127.0.0.1:N",
            "2 of 2 targets healthy in 2 zones",
        ]


def test_every_family_is_there_although_nothing_was_counted(plain: Balancer) -> None:
    _, body = plain.get("/metrics")
    described = set(re.findall(r"^# TYPE balancer_(\S+)", body.decode(), re.MULTILINE))
    assert set(FAMILIES) - described == set()
    samples = plain.metrics()
    for name in FAMILIES:
        full = f"{name}_count" if name.endswith(("duration_seconds", "byte_seconds")) else name
        assert samples.has(full) or name in ("health_checks_total",), name


def test_openmetrics_is_spoken_to_who_asks_for_it(plain: Balancer) -> None:
    answer = ask(plain, "GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.read().endswith(b"# EOF\n")


def test_a_request_is_counted_for_its_target_and_zone(plain: Balancer) -> None:
    before = plain.metrics()
    assert [get(plain) for _ in range(5)] == [200] * 5
    labels = {"listener": "web", "target_group": "up", "target": "up1", "zone": "zone-a", "code": "2xx"}

    def counted() -> bool:
        now = plain.metrics()
        grown = now.sum("requests_total", source="upstream", **labels) - before.sum("requests_total", **labels)
        return grown == 5

    wait_for(counted, 2, "five requests more")


def test_the_status_has_the_shape_of_the_design(plain: Balancer) -> None:
    status = plain.status()
    assert {"version", "config", "control", "workers", "listeners", "target_groups"} <= set(status)
    assert {"version", "loaded_at", "last_reload"} <= set(status["config"])
    assert set(status["config"]["last_reload"]) == {"success", "at", "faults"}
    assert {"pid", "started_at"} <= set(status["control"])
    assert all({"pid", "started_at", "restarts"} <= set(worker) for worker in status["workers"])
    assert set(status["listeners"][0]) == {"name", "protocol", "address"}
    group = status["target_groups"][0]
    assert {"name", "policy", "panic", "zones", "targets"} <= set(group)
    assert set(group["zones"][0]) == {"name", "healthy", "total", "share"}
    keys = {"name", "address", "zone", "weight", "state", "since", "reason", "active_requests"}
    assert keys <= set(group["targets"][0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", group["targets"][0]["since"])


# Health


def test_a_target_that_stops_is_found_out_and_one_that_returns_is_used_again() -> None:
    with serving("a", "b") as (balancer, backends):
        backends["b1"].kill()
        balancer.wait_for_state("demo", "b1", "unhealthy")
        target = balancer.target("demo", "b1")
        assert (target["reason"], target["evidence"]) == ("refused", "hard")
        zones = {zone["name"]: (zone["healthy"], zone["share"]) for zone in balancer.group("demo")["zones"]}
        assert zones == {"zone-a": (1, 100), "zone-b": (0, 0)}
        _, body = balancer.get("/api/v1/target_groups/demo/targets/b1")
        assert [probe["result"] for probe in json.loads(body)["probes"]][:3] == ["refused"] * 3
        backends["b1"].restart()
        balancer.wait_for_state("demo", "b1", "healthy")
        for said in ("target became unhealthy", "zone was lost", "zone was regained"):
            balancer.told(said)
        assert balancer.metrics().sum("health_checks_total", target="b1", result="refused") >= 3


def test_a_target_whose_traffic_fails_is_ejected_but_never_the_last_one() -> None:
    with Recorder() as good, refusing() as bad, refusing() as worse:
        passive = {"consecutive_connect_failures": 2, "base_ejection": "60s", "max_ejected_percent": 100}
        config = configs.simple(bad, good.address, passive=passive)
        with Balancer(config) as balancer:
            for _ in range(12):
                assert get(balancer) == 200
            balancer.wait_for_state("up", "up1", "ejected")
            assert balancer.target("up", "up1")["reason"] == "connect_failures"
            assert balancer.metrics().sum("target_state", target="up1", state="ejected") == 1
        with Balancer(configs.simple(bad, worse, passive=passive)) as balancer:
            assert {get(balancer) for _ in range(12)} == {502}
            wait_for(lambda: balancer.target("up", "up1")["state"] == "ejected" or True, 1)
            states = sorted(one["state"] for one in balancer.group("up")["targets"])
            assert "healthy" in states


# Taking a configuration over


def test_a_broken_file_changes_nothing_and_is_reported_everywhere() -> None:
    with Recorder() as recorder, Balancer(configs.simple(recorder.address)) as balancer:
        broken = balancer.render(configs.simple(recorder.address)).replace("policy", "polcy") + "\nnonsense: 1\n"
        config = balancer.reload(broken, applied=False)
        fault = config["last_reload"]["faults"][0]
        assert set(fault) == {"file", "line", "column", "path", "message"}
        assert (fault["file"], fault["path"]) == (str(balancer.file), "nonsense")
        assert balancer.metrics().sum("config_last_reload_success") == 0
        balancer.told("configuration was rejected", times=len(config["last_reload"]["faults"]))
        assert get(balancer) == 200
        balancer.reload(configs.simple(recorder.address))
        assert balancer.metrics().sum("config_last_reload_success") == 1


@pytest.mark.parametrize(
    "bad",
    ["x: {" + ",".join(["a: 1"] * 100_000) + "}\n", "".join(f"k{n}: 1\n" for n in range(20_000))],
    ids=["a hundred thousand keys twice", "twenty thousand unknown keys"],
)
def test_a_file_with_very_many_faults_neither_stops_control_nor_keeps_a_good_one_waiting(bad: str) -> None:
    with Recorder() as recorder, Balancer(configs.simple(recorder.address)) as balancer:
        pid, good = balancer.control_pid(), balancer.file.read_text()
        _by_rename(balancer.file, good + bad)
        wait_for(lambda: balancer.get("/healthz") and not balancer.status()["config"]["last_reload"]["success"], 30)
        faults = balancer.status()["config"]["last_reload"]["faults"]
        assert len(faults) == 101
        assert re.fullmatch(r"and \d+ more \(balancer check --json shows all\)", faults[-1]["message"])
        balancer.told("configuration was rejected", times=101)
        assert balancer.control_pid() == pid
        balancer.kill(pid)  # the next one answers before it has read the file

        def back() -> bool:
            try:
                return balancer.control_pid() != pid
            except OSError:
                return False

        wait_for(back, 10, "another control")
        successor = balancer.control_pid()
        balancer.told("origin=start", times=101, deadline=30)
        _by_rename(balancer.file, good + "stop_timeout: 9s\n")
        wait_for(lambda: balancer.status()["config"]["version"] == 2, 15, "the good file is in force")
        assert balancer.control_pid() == successor
        assert get(balancer) == 200


def test_a_plan_says_that_values_differ_which_nobody_is_shown(tmp_path: Path) -> None:
    def keyed(*keys: str) -> dict[str, Any]:
        answer = {"fixed_response": {"status": 204}}
        rules = [{"match": {"headers": {"x-api-key": key}}, "action": answer} for key in keys]
        return {"listeners": [configs.listener("web", rules)]}

    file = tmp_path / "other.yaml"
    with Balancer(keyed("first", "second")) as balancer:

        def plan(*keys: str) -> str:
            file.write_text(balancer.render(keyed(*keys)))
            argv = [
                sys.executable,
                "-m",
                "balancer",
                "plan",
                "--admin",
                "http://{}:{}".format(*balancer.admin),
                str(file),
            ]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
            return done.stdout

        assert "no change" in plan("first", "second")
        for keys in (("first", "third"), ("second", "first")):
            said = plan(*keys)
            assert "secret values of headers or query keys, which are not shown" in said
            assert not any(key in said for key in ("first", "second", "third"))
        assert "added rule" in plan("first", "second", "third")


def _in_place(file: Path, text: str) -> None:
    file.write_text(text)


def _by_rename(file: Path, text: str) -> None:
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(file)


def _by_symlink(file: Path, text: str) -> None:
    """Swap the folder that a symlink names, as config maps are."""
    folder = Path(os.path.realpath(file)).parent.parent / f"data-{len(text)}-{os.urandom(3).hex()}"
    folder.mkdir()
    (folder / "balancer.yaml").write_text(text)
    fresh = file.parent / "..fresh"
    fresh.symlink_to(folder / "balancer.yaml")
    fresh.replace(file)


@pytest.mark.parametrize("change", [_in_place, _by_rename, _by_symlink], ids=["in place", "by rename", "by symlink"])
def test_a_changed_file_is_taken_over_by_itself(change: Any) -> None:
    with Recorder() as recorder, Balancer(configs.simple(recorder.address)) as balancer:
        for weight in (7, 9):  # twice: many a watcher is deaf after the first
            config = configs.simple(recorder.address)
            config["target_groups"][0]["targets"][0]["weight"] = weight
            change(balancer.file, balancer.render(config))
            wait_for(lambda want=weight: balancer.target("up", "up1")["weight"] == want, 3, f"weight {weight}")  # type: ignore[misc]
        assert balancer.status()["config"]["version"] == 3


def test_a_configuration_that_becomes_a_link_to_itself_is_a_fault_and_control_lives_on() -> None:
    with Recorder() as recorder, Balancer(configs.simple(recorder.address)) as balancer:
        control, text = balancer.control_pid(), balancer.file.read_text()
        balancer.file.unlink()
        balancer.file.symlink_to(balancer.file.name)
        wait_for(lambda: not balancer.status()["config"]["last_reload"]["success"], 5, "the fault is noticed")
        [fault] = balancer.status()["config"]["last_reload"]["faults"]
        assert "too many levels of symbolic links (make the link lead to a file)" in fault["message"]
        balancer.file.unlink()
        balancer.file.write_text(text)
        wait_for(lambda: balancer.status()["config"]["last_reload"]["success"], 5, "it is a file again")
        assert balancer.control_pid() == control


def test_an_access_log_that_cannot_be_written_is_refused_and_the_present_one_goes_on(tmp_path: Path) -> None:
    with Recorder() as recorder, Balancer(config := configs.simple(recorder.address)) as balancer:
        after = balancer.reload({**config, "access_log": {"path": str(tmp_path)}}, applied=False)
        [fault] = after["last_reload"]["faults"]
        assert fault["path"] == "access_log.path"
        assert fault["message"] == f"{tmp_path} is a folder (write a file in it, such as {tmp_path}/access.log)"
        assert get(balancer) == 200
        wait_for(balancer.access_log, 3, "the line of the request is where lines were before")


def test_a_listener_that_cannot_be_bound_fails_the_whole_reload() -> None:
    with Recorder() as recorder, socket.create_server(("127.0.0.1", 0)) as taken:
        config = configs.simple(recorder.address)
        with Balancer(config) as balancer:
            more = configs.simple(recorder.address, policy="least_conn")
            address = "{}:{}".format(*taken.getsockname())
            more["listeners"].append(configs.listener("second", [configs.forward("up")], address=address))
            fault = balancer.reload(more, applied=False)["last_reload"]["faults"][0]
            assert fault["path"] == "listeners.second.address"
            assert "address already in use" in fault["message"]
            status = balancer.status()
            assert [one["name"] for one in status["listeners"]] == ["web"]
            assert status["target_groups"][0]["policy"] == "round_robin"


@pytest.mark.parametrize("key", ["workers", "admin.address"])
def test_what_only_a_restart_can_change_is_a_fault_that_says_so(plain: Balancer, key: str) -> None:
    config = yaml.safe_load(plain.render(plain.config))
    if key == "workers":
        config["workers"] = 1
    else:
        config["admin"]["address"] = "127.0.0.1:1"
    good = plain.config
    fault = plain.reload(yaml.safe_dump(config), applied=False)["last_reload"]["faults"][0]
    assert fault["path"] == key
    assert "restart" in fault["message"]
    plain.reload(good)


def test_a_reload_keeps_state_history_and_counters_of_what_did_not_change() -> None:
    with serving("a", "b") as (balancer, backends):
        assert [get(balancer, "/") for _ in range(10)] == [200] * 10
        before = balancer.target("demo", "a1")["since"]
        old, counted = len(_probes(balancer, "a1")), balancer.metrics().sum("requests_total", target="a1")
        with refusing() as address:
            targets = [(name, one.address, one.zone) for name, one in backends.items()]
            balancer.reload(checked(*targets, ("c1", address, "zone-c")))
            balancer.wait_for_state("demo", "c1", "unhealthy")
            assert balancer.target("demo", "a1")["since"] == before
            assert len(_probes(balancer, "a1")) >= min(old, 20)
            assert balancer.metrics().sum("requests_total", target="a1") >= counted


def test_a_target_that_is_taken_out_drains_and_is_then_gone_while_its_counters_stay() -> None:
    with serving("a", "b") as (balancer, backends):
        assert [get(balancer) for _ in range(10)] == [200] * 10
        balancer.reload(checked(("a1", backends["a1"].address, "zone-a")))
        assert balancer.target("demo", "b1")["state"] == "draining"
        wait_for(lambda: len(balancer.group("demo")["targets"]) == 1, 5, "b1 is gone")
        sums = balancer.metrics().by("target", "requests_total", target_group="demo", code="2xx")
        assert sums["a1"] + sums["b1"] == 10
        assert sums["b1"] == balancer.metrics().sum("requests_total", target="b1", zone="zone-b") > 0


def _probes(balancer: Balancer, target: str) -> list[dict[str, Any]]:
    _, body = balancer.get(f"/api/v1/target_groups/demo/targets/{target}")
    found: list[dict[str, Any]] = json.loads(body)["probes"]
    return found


# Its own death


def test_what_a_target_that_is_gone_has_counted_keeps_its_labels_when_control_dies() -> None:
    with serving("a", "b") as (balancer, _):
        assert [get(balancer) for _ in range(10)] == [200] * 10
        config = yaml.safe_load(balancer.render(balancer.config))
        del config["target_groups"][0]["targets"][1]
        balancer.reload(config)
        wait_for(lambda: len(balancer.group("demo")["targets"]) == 1, 10, "b1 is gone")
        before = balancer.metrics().select("requests_total", target="b1")
        assert [dict(labels)["zone"] for labels in before] == ["zone-b"]
        pid = balancer.control_pid()
        balancer.kill(pid)
        wait_for(lambda: "control started anew" in balancer.log_text(), 10, "another control")

        def told() -> bool:
            try:
                return balancer.metrics().select("requests_total", target="b1") == before
            except OSError:  # its admin server is not there yet
                return False

        wait_for(told, 10, "the same series under the same labels")


def test_control_killed_comes_back_with_states_counters_and_version() -> None:
    with serving("a", "b", "c") as (balancer, backends):
        backends["c1"].kill()
        balancer.wait_for_state("demo", "c1", "unhealthy")
        balancer.reload(yaml.safe_load(balancer.render(balancer.config)) | {"stop_timeout": "9s"})
        assert [get(balancer) for _ in range(20)] == [200] * 20
        before, pid, port = balancer.status(), balancer.control_pid(), balancer.port()
        checks = balancer.metrics().sum("health_checks_total", target="c1", result="refused")
        balancer.kill(pid)

        def back() -> dict[str, Any] | None:
            try:
                status = balancer.status()
            except OSError:
                return None
            return status if status["control"]["pid"] != pid else None

        after = wait_for(back, 10, "another control")
        assert (balancer.port(), get(balancer)) == (port, 200)
        kept = {one["name"]: (one["state"], one["since"][:19]) for one in before["target_groups"][0]["targets"]}
        seen = {one["name"]: (one["state"], one["since"][:19]) for one in after["target_groups"][0]["targets"]}
        assert {name: state for name, (state, _) in seen.items()} == {
            "a1": "healthy",
            "b1": "healthy",
            "c1": "unhealthy",
        }
        assert {name: _second(since) for name, (_, since) in seen.items()} == pytest.approx(
            {name: _second(since) for name, (_, since) in kept.items()}, abs=1
        )
        assert after["config"]["version"] == before["config"]["version"] == 2
        assert after["config"]["loaded_at"] == before["config"]["loaded_at"]
        assert balancer.metrics().sum("requests_total", target_group="demo") >= 21
        assert balancer.metrics().sum("health_checks_total", target="c1", result="refused") >= checks
        backends["c1"].restart()
        balancer.wait_for_state("demo", "c1", "healthy")
        assert "unhealthy group=demo target=a1" not in balancer.log_text()


def _second(since: str) -> int:
    hours, minutes, seconds = since[11:19].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def test_readyz_says_that_it_is_stopping() -> None:
    seen = threading.Event()

    def late(_request: object) -> Iterator[bytes]:
        assert seen.wait(10), "503 was not seen"
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    with Recorder(answer=late) as recorder, Balancer(configs.simple(recorder.address)) as balancer:
        client = socket.create_connection(balancer.address())
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: recorder.requests, 3, "the request is there")
        balancer.kill(balancer.pid, signal.SIGTERM)
        answer = wait_for(lambda: found if (found := balancer.get("/readyz"))[0] == 503 else None, 3, "503")
        assert json.loads(answer[1])["reasons"] == ["the balancer is stopping"]
        assert json.loads(balancer.get("/api/v1/reload", "POST")[1])["status"] == 503
        seen.set()
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.close()
        assert balancer.process is not None
        assert balancer.process.wait(10) == 0


# Starting badly


def run_and_fail(config: str, folder: Path) -> tuple[int, str]:
    """Run the program until it ends; return exit code and stderr."""
    file = folder / "balancer.yaml"
    file.write_text(config)
    done = subprocess.run(
        [sys.executable, "-m", "balancer", "run", str(file)], cwd=ROOT, capture_output=True, timeout=20, text=True
    )
    return done.returncode, done.stderr


def test_a_first_configuration_with_faults_ends_the_program_with_all_of_them(tmp_path: Path) -> None:
    code, said = run_and_fail("listeners: []\nworkers: many\nfoo: 1\n", tmp_path)
    assert code == 1
    assert "Traceback" not in said
    faults = [line for line in said.splitlines() if line.startswith(f"{tmp_path}/balancer.yaml:")]
    assert len(faults) >= 2, said


@pytest.mark.parametrize("what", ["listener", "admin"])
def test_an_address_in_use_ends_the_first_start_and_is_named(tmp_path: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used, free = "{}:{}".format(*taken.getsockname()), f"127.0.0.1:{free_port()}"
        config = configs.simple("127.0.0.1:1")
        config["admin"] = {"address": used if what == "admin" else free}
        config["listeners"][0]["address"] = used if what == "listener" else free
        code, said = run_and_fail(yaml.safe_dump(config), tmp_path)
        assert code == 1
        assert used in said
        assert "address already in use" in said
        assert "Traceback" not in said


def test_names_that_do_not_resolve_keep_nobody_from_starting() -> None:
    config = configs.simple()
    del config["target_groups"][0]["targets"]
    config["target_groups"][0]["discover"] = [{"dns": "no-such-name.invalid", "port": 8000, "zone": "zone-a"}]
    with Balancer(config) as balancer:
        assert get(balancer) == 503
        wait_for(lambda: "name does not resolve" in balancer.log_text(), 3, "a warning")
        assert balancer.group("up")["targets"] == []
        [name] = balancer.status()["discovery"]
        assert (name["target_group"], name["dns"], name["addresses"]) == ("up", "no-such-name.invalid", [])
        assert name["error"] and name["since"]
        assert "no-such-name.invalid</code> does not resolve" in balancer.get("/")[1].decode()
        failed = json.loads(balancer.get("/api/v1/requests?failed=1")[1])["requests"][0]["request_id"]
        said = json.loads(balancer.get(f"/api/v1/requests/{failed}")[1])["sentence"]
        assert "the target group is empty; its name no-such-name.invalid does not resolve (" in said


def test_a_name_that_resolves_becomes_targets_with_slot_names() -> None:
    with Recorder() as recorder:
        config = configs.simple()
        del config["target_groups"][0]["targets"]
        config["target_groups"][0]["discover"] = [{"dns": "localhost", "port": recorder.port, "zone": "zone-a"}]
        with Balancer(config) as balancer:
            assert balancer.target("up", "localhost#1")["address"] == recorder.address
            assert get(balancer) == 200


# The admin server


def test_the_openapi_document_is_valid_and_describes_every_route(plain: Balancer) -> None:
    document = json.loads(plain.get("/api/v1/openapi.json")[1])
    validate(document)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}


SENT = {"Weight": b'{"weight": 3}'}
OF_A_DRILL = {"begin_drill", "drill", "stop_drill"}  # they need two zones: tests of drills ask for them


@pytest.mark.parametrize("route", [one for one in ROUTES if one.name not in OF_A_DRILL], ids=lambda route: route.name)
def test_a_route_answers_as_it_is_described(plain: Balancer, route: Any) -> None:
    path = route.path.replace("{group}", "up").replace("{target}", "up1")
    if "{id}" in path:
        path = path.replace("{id}", str(raw.ask(plain.address(), raw.request()).get("x-request-id")))
    sent = SENT.get(route.body, b"")
    answer = ask(plain, route.method, path, sent, Content_Length=str(len(sent)))
    body = answer.read()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(route.media)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if route.schema:
        schemas = json.loads(plain.get("/api/v1/openapi.json")[1])["components"]["schemas"]
        assert set(schemas[route.schema]["required"]) == set(json.loads(body))


def test_faults_of_a_request_are_problem_details(plain: Balancer) -> None:
    for method, path, status in [
        ("GET", "/nothing", 404),
        ("DELETE", "/api/v1/status", 405),
        ("GET", "/api/v1/target_groups/up/targets/none", 404),
    ]:
        answer = ask(plain, method, path)
        problem = json.loads(answer.read())
        assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (status, "application/problem+json")
        assert {"type", "title", "status", "detail"} <= set(problem)
        if status == 405:
            assert "GET" in answer.headers["Allow"]


GUARD = [
    ("a page that points its own name here reads nothing", "GET", {"Host": "evil.example"}, 403),
    ("a page of another site writes nothing", "POST", {"Origin": "http://evil.example"}, 403),
    ("nor one that the browser says is of another site", "POST", {"Sec_Fetch_Site": "cross-site"}, 403),
    ("localhost leads here", "GET", {"Host": "localhost:9900"}, 200),
    ("the service's name in compose leads here", "GET", {"Host": "balancer:9900"}, 200),
    ("loopback leads here, version 6 too", "GET", {"Host": "[::1]:9900"}, 200),
]


@pytest.mark.parametrize(("method", "headers", "status"), [row[1:] for row in GUARD], ids=[row[0] for row in GUARD])
def test_the_admin_server_speaks_to_nobody_else(
    plain: Balancer, method: str, headers: dict[str, str], status: int
) -> None:
    path = "/api/v1/status" if method == "GET" else "/api/v1/reload"
    assert ask(plain, method, path, **headers).status == status


def test_a_token_is_asked_for_when_there_is_one_and_never_shown() -> None:
    with Recorder() as recorder, Balancer(configs.simple(recorder.address)) as balancer:
        good = balancer.file.read_text()
        guarded = yaml.safe_load(good)
        guarded["admin"]["token"] = "s3cret-s3cret-s3cret"
        balancer.write(yaml.safe_dump(guarded))
        wait_for(lambda: balancer.get("/api/v1/status")[0] == 401, 3, "the token is asked for")
        assert [balancer.get(path)[0] for path in ("/healthz", "/readyz", "/metrics", "/")] == [200, 200, 401, 401]
        answer = ask(balancer, "GET", "/api/v1/config", Authorization="Bearer s3cret-s3cret-s3cret")
        body = answer.read().decode()
        assert answer.status == 200
        assert "s3cret" not in body
        assert ask(balancer, "GET", "/api/v1/config", Authorization="Bearer s3cret").status == 401
        assert "s3cret" not in balancer.log_text()
        balancer.write(good)
        wait_for(lambda: balancer.get("/api/v1/status")[0] == 200, 3, "no token is asked for")


def test_the_configuration_that_runs_can_be_read_back(plain: Balancer) -> None:
    document = json.loads(plain.get("/api/v1/config")[1])
    assert {"snapshot", "version", "hash", "loaded_at"} == set(document)
    assert document["snapshot"]["snapshot"]["target_groups"][0]["name"] == "up"


def test_the_page_needs_no_script(plain: Balancer) -> None:
    body = plain.get("/")[1].decode()
    assert "<script" not in body
    assert "up1" in body


# The commands


def balancer_command(balancer: Balancer, *words: str) -> subprocess.CompletedProcess[str]:
    admin = "http://{}:{}".format(*balancer.admin)
    argv = [sys.executable, "-m", "balancer", *words]
    return subprocess.run(
        argv, cwd=ROOT, capture_output=True, timeout=20, text=True, env=os.environ | {"BALANCER_ADMIN": admin}
    )


def test_the_status_command_prints_a_plain_table_when_it_is_piped(plain: Balancer) -> None:
    done = balancer_command(plain, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(
        r"^up1 +127\.0\.0\.1:\d+ +zone-a +healthy +\d+\w ago +checks_off +0 +1$", done.stdout, re.MULTILINE
    )
    assert "\x1b" not in done.stdout
    assert json.loads(balancer_command(plain, "status", "--json").stdout)["version"]


def test_the_reload_command_prints_the_change_or_the_faults(plain: Balancer) -> None:
    good = plain.file.read_text()
    done = balancer_command(plain, "reload")
    assert (done.returncode, done.stdout.splitlines()[-1][:9]) == (0, "no change")
    plain.file.write_text("nonsense: 1\n" + good)
    done = balancer_command(plain, "reload")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{plain.file}:1:1: nonsense: ")
    plain.file.write_text(good)
    assert balancer_command(plain, "reload").returncode == 0


def test_a_command_without_a_balancer_says_what_to_do() -> None:
    env = os.environ | {"BALANCER_ADMIN": f"http://127.0.0.1:{free_port()}"}
    for word in ("status", "reload"):
        done = subprocess.run(
            [sys.executable, "-m", "balancer", word], cwd=ROOT, capture_output=True, timeout=20, text=True, env=env
        )
        assert done.returncode == 1
        assert "nothing answers at" in done.stderr
        assert "Traceback" not in done.stderr
