"""The files that containers are made of, read without starting any."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
import yaml

from balancer.model import units
from tests.compose.stack import docker
from tests.support.process import ROOT

LOCKS = ["requirements.lock", "requirements-run.lock", "requirements-build.lock", "backends/requirements.lock"]
_PIN = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(_PIN.findall((ROOT / lock).read_text()))


@pytest.fixture(scope="module")
def composed(engine: None) -> dict[str, Any]:
    plain = ["compose", "--env-file", os.devnull, "-f", "docker-compose.yml", "config", "--format", "json"]
    said: dict[str, Any] = json.loads(docker(*plain))
    return said


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_every_package_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    assert "://" not in text
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", ["requirements-run.lock", "backends/requirements.lock"])
def test_what_is_shipped_is_what_is_tested(lock: str) -> None:
    tested = pins("requirements.lock")
    assert {name: version for name, version in pins(lock).items() if tested.get(name) != version} == {}


def test_the_ci_script_names_no_place_of_one_machine() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    outside = re.sub(r"/dev/null|/usr/bin/env|\.ci/run", "", text)
    assert re.findall(r"(?<![\w.$}/])/\w[\w/.-]*", outside) == []


@pytest.mark.docker
def test_two_copies_can_run_side_by_side(composed: dict[str, Any]) -> None:
    assert "version" not in yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert [name for name, service in composed["services"].items() if "container_name" in service] == []
    assert [name for name, network in composed["networks"].items() if network.get("ipam")] == []


@pytest.mark.docker
def test_the_admin_port_is_published_on_loopback_only(composed: dict[str, Any]) -> None:
    ports = {port["target"]: port for port in composed["services"]["balancer"]["ports"]}
    assert set(ports) == {8080, 9900}
    assert (ports[8080]["published"], ports[9900]["published"]) == ("8080", "9900")
    assert ports[9900]["host_ip"] == "127.0.0.1"
    assert [name for name, one in composed["services"].items() if name != "balancer" and one.get("ports")] == []


@pytest.mark.docker
def test_the_configuration_is_mounted_as_a_read_only_folder(composed: dict[str, Any]) -> None:
    (mount,) = composed["services"]["balancer"]["volumes"]
    assert (mount["source"], mount["target"], mount["read_only"]) == (str(ROOT / "config"), "/etc/balancer", True)


@pytest.mark.docker
def test_no_container_may_more_than_it_must(composed: dict[str, Any]) -> None:
    for name, service in composed["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "cap_add" not in service, name
        assert not service.get("privileged"), name


@pytest.mark.docker
def test_there_are_three_zones_of_two_and_the_balancer_waits_for_none_to_be_healthy(composed: dict[str, Any]) -> None:
    services = composed["services"]
    assert set(services) == {"balancer", "backend-a", "backend-b", "backend-c"}
    for zone in "abc":
        backend = services[f"backend-{zone}"]
        assert backend["deploy"]["replicas"] == 2
        assert backend["environment"]["ZONE"] == f"zone-{zone}"
        assert set(backend["networks"]) == {f"zone-{zone}"}
    assert {one["condition"] for one in services["balancer"]["depends_on"].values()} == {"service_started"}


@pytest.mark.docker
def test_docker_waits_longer_for_the_stop_than_the_balancer_does(composed: dict[str, Any]) -> None:
    grace = composed["services"]["balancer"]["stop_grace_period"]
    text = (ROOT / "config" / "balancer.yaml").read_text()
    found = re.search(r"^stop_timeout:\s*(\S+)", text, re.MULTILINE)
    assert found is not None, "config/balancer.yaml sets no stop_timeout"
    wait, stop = units.parse_duration(grace), units.parse_duration(found[1])
    assert wait is not None
    assert stop is not None
    assert wait > stop
