"""Explain as its users meet it: a request goes well or wrong, and `balancer explain ID` says why."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from balancer.control.admin.schemas import SCHEMAS
from tests.support import configs
from tests.support.balancer import Balancer
from tests.support.faults import refusing
from tests.support.process import ROOT
from tests.support.raw import Cut, RawClient, ask, request
from tests.support.recorder import Recorder, Seen, respond
from tests.support.waiting import wait_for

RULES = [
    {"name": "beta", "match": {"paths": ["/x/"], "headers": {"x-beta": "1"}}, "action": {"forward": "dead"}},
    {"name": "dead", "match": {"paths": ["/dead"]}, "action": {"forward": "dead"}},
    {"name": "half", "match": {"paths": ["/half"]}, "action": {"forward": "half"}},
    {"name": "narrow", "match": {"paths": ["/narrow"]}, "action": {"forward": "narrow"}},
    {"name": "plain", "match": {"paths": ["/x/"]}, "action": {"forward": "up"}},
]


class Held:
    """A target that answers `/x/hold` and `/narrow` only once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.recorder = Recorder("held", answer=self._answer)

    def _answer(self, seen: Seen) -> bytes:
        if seen.target in ("/x/hold", "/narrow"):
            self.may.wait(30)
        return respond(200, b"well")

    def ids(self, target: str) -> list[str]:
        """Return the ids of the requests for a target that are here."""
        found = [one.get("x-request-id") for one in list(self.recorder.requests) if one.target == target]
        return [one for one in found if one]


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    made = Held()
    with made.recorder:
        yield made
        made.may.set()


@pytest.fixture
def balancer(held: Held) -> Iterator[Balancer]:
    with ExitStack() as stack:
        dead = stack.enter_context(refusing())
        address = held.recorder.address
        config = {
            "listeners": [configs.listener("web", RULES)],
            "target_groups": [
                configs.group("up", address),
                configs.group("dead", dead, retry={"max_retries": 0}),
                configs.group("half", dead, address),
                configs.group("narrow", address, max_connections=1, queue={"size": 2, "timeout": "300ms"}),
            ],
        }
        yield stack.enter_context(Balancer(config))
        held.may.set()


def explained(balancer: Balancer, request_id: str) -> dict[str, Any]:
    """Return what the admin API says of a request, held to its schema."""
    code, body = balancer.get(f"/api/v1/requests/{request_id}")
    document: dict[str, Any] = json.loads(body)
    assert code == 200, document
    schema = {"$ref": "#/components/schemas/Request", "components": {"schemas": SCHEMAS}}
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def command(balancer: Balancer, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "balancer", "explain", *words, "--admin", "http://{}:{}".format(*balancer.admin)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)


def send(balancer: Balancer, path: str, *headers: str) -> str:
    """Send a request and return the id of its answer."""
    answer = ask(balancer.address(), request("GET", path, *headers))
    found = answer.get("x-request-id")
    assert found
    return found


def test_what_went_well_and_what_went_wrong_is_explained_to_the_letter(balancer: Balancer) -> None:
    ok, beta = send(balancer, "/x/1?secret=1"), send(balancer, "/x/1", "X-Beta: 1")
    dead, nowhere = send(balancer, "/dead"), send(balancer, "/nowhere")
    halves = [send(balancer, "/half") for _ in range(2)]
    bad = ask(balancer.address(), b"GET /x/1 HTTP/1.1\r\n\r\n").get("x-request-id")
    assert bad

    told = explained(balancer, ok)
    assert told["sentence"].startswith("Answered 200 by up1 (zone-a) in ") and told["path"] == "/x/1"
    assert (told["rule"]["name"], told["nearest"]["name"]) == ("plain", "beta")
    assert told["nearest"]["why"] == "its header x-beta was not '1'"
    assert explained(balancer, beta)["rule"]["name"] == "beta"

    told = explained(balancer, dead)
    assert "connect_refused" in told["sentence"] and "the target refused the connection" in told["sentence"]
    assert [one["reason"] for one in told["tries"]] == ["connect_refused"]

    told = explained(balancer, nowhere)
    assert told["sentence"].startswith("Answered 404 no_rule") and "nearest is beta, but its path" in told["sentence"]
    assert told["detail"].startswith("nearest is rule beta")

    retried = [one for one in (explained(balancer, half) for half in halves) if one["retries"]]
    assert len(retried) == 1, "round robin: one of two begins at the dead target"
    assert retried[0]["sentence"].endswith(" on try 2, after connect_refused at half1.")
    assert [one["target"] for one in retried[0]["tries"]] == ["half1", "half2"]

    told = explained(balancer, bad)
    assert told["sentence"].startswith("Answered 400 bad_host") and told["rule"] is None

    for request_id in (ok, beta, dead, nowhere, *halves, bad):
        line, told = balancer.logged(request_id), explained(balancer, request_id)
        same = ("listener", "method", "path", "status", "source", "reason", "target_group", "target", "zone", "retries")
        assert {name: told[name] for name in same} == {name: line[name] for name in same}
        assert told["upstream_status"] == line["upstream_status"] and told["bytes_out"] in (line["bytes_out"], 0)


def test_the_command_tells_it_to_people_and_to_programs(balancer: Balancer) -> None:
    request_id = send(balancer, "/dead")
    told = explained(balancer, request_id)
    ran = command(balancer, request_id)
    assert ran.returncode == 0 and told["sentence"] in ran.stdout and "rule: dead matched" in ran.stdout, ran
    assert json.loads(command(balancer, request_id, "--json").stdout) == told
    ran = command(balancer, "nobody-has-this")
    assert ran.returncode == 1 and not ran.stdout
    assert "'nobody-has-this' is not among the last 1 requests and the last 1 failed ones" in ran.stderr
    assert "the oldest kept is from 20" in ran.stderr
    listed = command(balancer, "--failed").stdout.splitlines()
    assert len(listed) == 2 and request_id in listed[1] and "connect_refused" in listed[1], listed
    assert json.loads(command(balancer, "--limit", "5", "--json").stdout)["requests"][0]["request_id"] == request_id
    assert command(balancer, "--limit", "0").returncode == 2


def test_the_latest_requests_are_listed(balancer: Balancer) -> None:
    assert listed(balancer) == []
    ids = [send(balancer, path) for path in ("/x/1", "/dead", "/x/2", "/nowhere")]
    wait_for(lambda: ids[3] in listed(balancer), 2, "an answer leaves a moment before its record is written")
    document = json.loads(balancer.get("/api/v1/requests?limit=3")[1])
    schema = {"$ref": "#/components/schemas/Requests", "components": {"schemas": SCHEMAS}}
    jsonschema.Draft202012Validator(schema).validate(document)
    assert [one["request_id"] for one in document["requests"]] == ids[:0:-1]
    failed = json.loads(balancer.get("/api/v1/requests?failed=1")[1])
    assert [one["request_id"] for one in failed["requests"]] == [ids[3], ids[1]]
    assert (failed["kept"]["recent"], failed["kept"]["failed"]) == (4, 2)
    for limit in ("0", "1001", "x", "-1", ""):
        assert balancer.get(f"/api/v1/requests?limit={limit}")[0] == 400, limit


def listed(balancer: Balancer) -> list[str]:
    return [one["request_id"] for one in json.loads(balancer.get("/api/v1/requests")[1])["requests"]]


def test_a_request_that_waited_for_a_place_in_vain(balancer: Balancer, held: Held) -> None:
    held.may.clear()
    with RawClient(balancer.address()) as first:
        first.send(request("GET", "/narrow"))
        wait_for(lambda: held.ids("/narrow"), 5, "the first is at the target")
        told = explained(balancer, send(balancer, "/narrow"))
        assert told["reason"] == "queue_timeout" and told["queue_ms"] >= 300
        assert told["sentence"].startswith("Answered 503 queue_timeout") and " in the queue)" in told["sentence"]
        assert told["targets"][0]["why"] == "in rotation, but at max_connections"
        held.may.set()
        assert first.recv_response().status == 200


def test_requests_inside_a_killed_worker_and_those_before_it_are_explained(balancer: Balancer, held: Held) -> None:
    held.may.clear()
    before = send(balancer, "/dead")
    with RawClient(balancer.address()) as doomed:
        doomed.send(request("GET", "/x/hold"))
        inside = wait_for(lambda: held.ids("/x/hold"), 5, "it is at the target")[-1]
        told = wait_for(lambda: open_one(balancer, inside), 5, "it is told as under way")
        assert told["sentence"].startswith("Under way for ") and told["target"] == "up1"
        balancer.kill(balancer.worker_pids()[0])
        with pytest.raises(Cut):
            doomed.recv_response()
    told = wait_for(lambda: lost_one(balancer, inside), 10, "its loss is told")
    assert told["status"] == 0 and told["target"] == "up1" and told["rule"]["name"] == "plain"
    assert told["sentence"].startswith("Lost, worker_lost: ")
    assert balancer.metrics().sum("failures_total", reason="worker_lost") == 1
    held.may.set()
    assert "connect_refused" in explained(balancer, before)["sentence"]
    assert explained(balancer, send(balancer, "/x/after"))["status"] == 200


def open_one(balancer: Balancer, request_id: str) -> dict[str, Any] | None:
    return explained(balancer, request_id) if balancer.get(f"/api/v1/requests/{request_id}")[0] == 200 else None


def lost_one(balancer: Balancer, request_id: str) -> dict[str, Any] | None:
    told = open_one(balancer, request_id)
    return told if told is not None and told["reason"] == "worker_lost" else None


def test_control_that_was_killed_explains_what_was_before_it_and_what_came_meanwhile(balancer: Balancer) -> None:
    before = send(balancer, "/dead")
    told = explained(balancer, before)
    address, old = balancer.address(), balancer.control_pid()
    balancer.kill(old)
    meanwhile = ask(address, request("GET", "/x/1")).get("x-request-id")
    assert meanwhile
    wait_for(lambda: another_control(balancer, old), 10, "control is back")
    assert explained(balancer, before)["sentence"] == told["sentence"]
    assert explained(balancer, meanwhile)["rule"]["name"] == "plain"


def another_control(balancer: Balancer, old: int) -> bool:
    try:
        return balancer.control_pid() != old
    except OSError:
        return False


def test_a_request_is_explained_by_the_rules_it_met_not_by_those_of_today(balancer: Balancer) -> None:
    request_id = send(balancer, "/x/1")
    config = dict(balancer.config) if not isinstance(balancer.config, str) else {}
    changed = [{**RULES[-1], "name": "renamed"}]
    balancer.reload({**config, "listeners": [configs.listener("web", changed)]})
    told = explained(balancer, request_id)
    assert (told["rule"]["name"], told["nearest"]["name"], told["config"]["version"]) == ("plain", "beta", 1)
    assert explained(balancer, send(balancer, "/x/1"))["rule"]["name"] == "renamed"
