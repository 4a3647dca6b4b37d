"""The admin server's pure parts: who may speak, what is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from openapi_spec_validator import validate

from balancer.config.fault import Fault
from balancer.control.admin import guard, openapi, page, views
from balancer.control.admin.drills import Drills
from balancer.control.admin.routes import ROUTES
from balancer.control.admin.server import AdminServer
from balancer.control.admin.steering import Steering
from balancer.control.facts import Instant, Probe
from balancer.control.picture import GroupPicture, LastReload, Picture, TargetPicture, WorkerPicture, ZonePicture
from balancer.model.names import Evidence, ProbeResult, State
from balancer.model.snapshot import Admin, FixedResponse, HealthCheck, Listener, Match, Rule, Snapshot
from tests.unit.control.scene import group, target

AT = Instant(1000.0, 1_700_000_000.5)
PROBE = Probe(AT, ProbeResult.BAD_STATUS, "status 503", 0.0125, "down")
PICTURE = Picture(
    now=AT,
    version="1.2.3",
    snapshot=Snapshot(
        version=7,
        revision=9,
        admin=Admin(token="s3cret"),
        target_groups=(
            group(target("a"), check=HealthCheck(headers=(("Authorization", "Basic s3cret"), ("X-Probe", "1")))),
        ),
    ),
    config_hash="ab" * 32,
    loaded_at_wall=AT.wall,
    last_reload=LastReload(False, AT.wall, (Fault("b.yaml", 3, 5, "listeners", "it is <wrong>", "mend it"),)),
    pid=42,
    started_wall=AT.wall,
    groups=(
        GroupPicture(
            "demo",
            "round_robin",
            True,
            (ZonePicture("zone-a", 0, 1, 0.0, 100.0),),
            ((("zone-a",), 100),),
            (
                TargetPicture(
                    "demo", "a", "10.0.0.1:8000", "10.0.0.1", "zone-a", 5, State.UNHEALTHY, Evidence.SOFT, AT,
                    "bad_status", "status 503", 0.5, (replace(PROBE, result=ProbeResult.OK), PROBE),
                ),
            ),
        ),
    ),
    workers=(WorkerPicture(0, 43, AT.wall, 2, 9, 1, 3),),
)  # fmt: skip

HOSTS = [
    ("localhost", True),
    ("LOCALHOST:9900", True),
    ("127.0.0.1:9900", True),
    ("127.8.9.1", True),
    ("[::1]:9900", True),
    ("balancer:9900", True),
    ("1f2e3d", True),
    ("192.168.1.7:9900", True),
    ("lb.example.", True),
    ("10.9.9.9", True),
    ("10.9.9.8", False),
    ("evil.example", False),
    ("localhost.evil.example", False),
    ("", False),
    ("[127.0.0.1].evil.example", False),
    ("[127.0.0.1]evil", False),
    ("[::1%25evil]", False),
    ("localhost:evil.example", False),
    ("localhost@evil.example", False),
    ("127.0.0.1:9900:1", False),
    ("127.1", False),
    ("2130706433", False),
    ("0.0.0.0", False),
    ("loc alhost", False),
    ("\udcff\udcfe", False),
]


@pytest.mark.parametrize(("host", "leads_here"), HOSTS)
def test_a_host_leads_here_or_not(host: str, leads_here: bool) -> None:
    allowed = guard.allowed_hosts(Admin(address="192.168.1.7:9900", hosts=("lb.example",)), "1f2e3d")
    assert guard.host_refused(host, allowed, "10.9.9.9") is not leads_here


@pytest.mark.parametrize("address", ["0.0.0.0:9900", "[::]:9900"])
def test_all_addresses_are_no_address_that_leads_here(address: str) -> None:
    host = address.rpartition(":")[0]
    assert guard.host_refused(host, guard.allowed_hosts(Admin(address=address), "x"), "172.17.0.2")


def test_a_request_without_host_leads_nowhere() -> None:
    assert guard.host_refused(None, guard.allowed_hosts(Admin(), "x"), "127.0.0.1")


ORIGINS = [
    ("a command sends none", "POST", {}, False),
    ("our own page", "POST", {"Origin": "http://localhost:9900"}, False),
    ("another site", "POST", {"Origin": "http://evil.example"}, True),
    ("another port of this machine", "POST", {"Origin": "http://localhost:3000"}, True),
    ("a page without an origin", "POST", {"Origin": "null"}, True),
    ("an address that is not closed", "POST", {"Origin": "http://[::1"}, True),
    ("brackets anywhere", "POST", {"Origin": "http://a]b["}, True),
    ("a letter that looks like others", "POST", {"Origin": "http://a\u2100b"}, True),
    ("another protocol", "POST", {"Origin": "ftp://localhost:9900"}, True),
    ("a page of the same site", "POST", {"Sec-Fetch-Site": "same-site"}, True),
    ("a read may come from anywhere, it cannot be read there", "GET", {"Origin": "http://evil.example"}, False),
]


@pytest.mark.parametrize(("method", "headers", "refused"), [r[1:] for r in ORIGINS], ids=[r[0] for r in ORIGINS])
def test_a_write_comes_from_here_or_from_no_page(method: str, headers: dict[str, str], refused: bool) -> None:
    allowed = guard.allowed_hosts(Admin(), "x")
    assert guard.origin_refused(method, {"Host": "localhost:9900", **headers}, allowed, "127.0.0.1") is refused


def test_what_decides_stands_there_once() -> None:
    came = {"Host": ["a"], "Accept": ["x", "y"], "Origin": ["o"]}
    assert not guard.twice(lambda name: came.get(name, ()))
    came["Origin"].append("o")
    assert guard.twice(lambda name: came.get(name, ()))


TOKENS = [
    ("", "GET", "/metrics", None, False),
    ("s", "GET", "/metrics", None, True),
    ("s", "GET", "/metrics", "Bearer s", False),
    ("s", "GET", "/metrics", "bearer s", False),
    ("s", "GET", "/metrics", "Basic s", True),
    ("s", "GET", "/metrics", "Bearer t", True),
    ("s", "GET", "/healthz", None, False),
    ("s", "HEAD", "/readyz", None, False),
    ("s", "POST", "/healthz", None, True),
    ("s", "PUT", "/readyz", None, True),
]


@pytest.mark.parametrize(("token", "method", "path", "authorization", "refused"), TOKENS)
def test_a_token_opens(token: str, method: str, path: str, authorization: str | None, refused: bool) -> None:
    assert guard.token_refused(Admin(token=token), method, path, authorization) is refused


def test_the_status_tells_times_as_rfc_3339_and_faults_with_their_place() -> None:
    status = views.status(PICTURE, None)
    assert status["config"]["last_reload"] == {
        "success": False,
        "at": "2023-11-14T22:13:20.500Z",
        "faults": [
            {"file": "b.yaml", "line": 3, "column": 5, "path": "listeners", "message": "it is <wrong> (mend it)"}
        ],
    }
    one = status["target_groups"][0]["targets"][0]
    assert (one["state"], one["reason"], one["effective_weight"], one["since"]) == (
        "unhealthy", "bad_status", 2.5, "2023-11-14T22:13:20.500Z",
    )  # fmt: skip


def test_a_target_shows_its_probes_newest_first() -> None:
    shown = views.target(PICTURE, None, "demo", "a")
    assert shown is not None
    assert [probe["result"] for probe in shown["probes"]] == ["bad_status", "ok"]
    assert shown["probes"][0] == {
        "at": "2023-11-14T22:13:20.500Z",
        "result": "bad_status",
        "detail": "status 503",
        "duration_ms": 12.5,
        "body": "down",
    }
    assert views.target(PICTURE, None, "demo", "b") is None


def test_secrets_are_masked() -> None:
    document = views.config(PICTURE)
    assert "s3cret" not in str(document)
    shown = document["snapshot"]["snapshot"]
    assert shown["admin"]["token"] == "***"
    assert shown["target_groups"][0]["health_check"]["headers"] == [["Authorization", "***"], ["X-Probe", "1"]]


def test_secrets_of_rules_are_masked() -> None:
    match = Match(headers=(("authorization", "Bearer s3cret"), ("x-beta", "1")), query=(("token", "s3cret"),))
    listener = Listener("web", "127.0.0.1:80", rules=(Rule("r", match, FixedResponse(204)),))
    document = views.config(replace(PICTURE, snapshot=replace(PICTURE.snapshot, listeners=(listener,))))
    assert "s3cret" not in str(document)
    shown = document["snapshot"]["snapshot"]["listeners"][0]["rules"][0]["match"]
    assert shown["headers"] == [["authorization", "***"], ["x-beta", "1"]]
    assert shown["query"] == [["token", "***"]]


def test_the_page_escapes_what_it_shows() -> None:
    made = page.page(views.status(PICTURE, None))
    assert "it is &lt;wrong&gt;" in made
    assert "<wrong>" not in made
    assert "panic" in made
    assert '<td class="unhealthy">unhealthy</td>' in made


def test_every_route_is_served_and_the_document_is_valid() -> None:
    validate(openapi.document(ROUTES, "1.2.3"))
    rooms = (AdminServer, Steering, Drills)
    assert [
        route.name for route in ROUTES if not any(callable(getattr(room, route.name, None)) for room in rooms)
    ] == []
