"""What a configuration means: the Snapshot that workers run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from balancer.config.load import load
from balancer.model import snapshot as model
from balancer.model.codec import decode, encode
from balancer.model.names import CheckType, PolicyName, ZoneMode

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "config").rglob("*.yaml"))
SMALL = """
listeners: [{name: web, address: 127.0.0.1:8080, rules: [{action: {forward: demo}}]}]
target_groups: [{name: demo, targets: [{name: a1, address: "127.0.0.1:8001"}]}]
"""
EVERYTHING = """
admin: {address: 127.0.0.1:9901, token: t, hosts: [lb.example.com]}
workers: 3
stop_timeout: 5s
buffer_limit: 64MiB
access_log: {path: /tmp/access.log}
listeners:
  - name: web
    protocol: http
    address: "[::1]:8080"
    timeouts: {first_byte: 1s, request_header: 2s, request_body_idle: 3s, keep_alive: 4s, write_idle: 5s,
               half_close: 6s, tunnel_idle: 7s, expect_continue: 8s}
    limits: {connections: 1, connections_per_client: 2, body: 1MiB, head: 8KiB, keep_alive_requests: 3,
             min_body_rate: 4KiB}
    rate_limit: {rate: 30/m, key: header:X-Api-Key}
    trusted_proxies: [10.0.0.0/8, 192.0.2.1, private]
    upgrade: []
    rules:
      - name: api
        priority: 5
        match:
          hosts: [API.Example.com., "*.shop.example"]
          paths: [/v1/, "=/exact", "~^/r[0-9]+"]
          methods: [GET]
          headers: {X-Beta: "1"}
          query: {a: "*"}
        rate_limit: {rate: 10/s, burst: 15}
        action: {forward: {shop: 9, canary: 1}}
      - match: {paths: [/old/]}
        action: {redirect: {to: "https://{host}/new{path}", status: 301}}
      - action: {fixed_response: {status: 404, body: "no\\n", content_type: text/plain}}
target_groups:
  - name: shop
    policy: least_conn
    health_check: {type: http, path: /h, method: POST, host: h, headers: {X-A: b}, interval: 500ms, timeout: 100ms,
                   unhealthy_threshold: 1, healthy_threshold: 4, expected_statuses: [200, 204-206], expect_body: ok,
                   port: 81}
    zones: {mode: active_backup, order: [a, b], overprovisioning_factor: 200, panic_threshold: 0,
            failback_delay: 0s, failback_ramp: 1s}
    timeouts: {connect: 1s, response_header: 2s, response_idle: 3s, request_write_idle: 4s, upstream_idle: 5s,
               request: 6s}
    retry: {max_retries: 1, on: [connect, 503, non_idempotent], budget_percent: 5, budget_min: 6, per_try: 7s,
            replay_buffer: 1KiB}
    passive: {consecutive_connect_failures: 1, consecutive_gateway_failures: 2, consecutive_5xx: 3, base_ejection: 4s,
              max_ejection: 5s, max_ejected_percent: 6}
    max_connections: 7
    queue: {size: 8, timeout: 9s}
    wait_for_target: 12s
    slow_start: 10s
    drain_timeout: 11s
    rescue: false
    targets:
      - {name: a1, address: "10.0.0.1:8000", zone: a, weight: 3}
      - {name: b1, address: "backend-b:8000", zone: b}
      - {name: c1, address: "[fd00::1]:8000", zone: c}
    discover: [{dns: backend-d, port: 9000, zone: d, weight: 2}]
  - name: canary
    health_check: off
    passive: off
    targets: [{name: x, address: "10.0.0.9:1"}]
"""


def snapshot(folder: Path, text: str) -> model.Snapshot:
    file = folder / "c.yaml"
    file.write_text(text)
    loaded = load(file, {}, cpus=lambda: 7)
    assert loaded.snapshot is not None, [str(fault) for fault in loaded.faults]
    return loaded.snapshot


def test_every_setting_arrives_where_it_belongs(tmp_path: Path) -> None:
    made = snapshot(tmp_path, EVERYTHING)
    assert made.workers == 3
    assert made.stop_timeout == 5.0
    assert made.buffer_limit == 64 * 1024 * 1024
    assert made.admin == model.Admin("127.0.0.1:9901", False, "t", ("lb.example.com",))
    assert made.access_log == model.AccessLog("/tmp/access.log", "json")
    private = ("172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7")
    assert made.listeners == (
        model.Listener(
            name="web",
            address="[::1]:8080",
            timeouts=model.ClientTimeouts(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0),
            limits=model.Limits(1, 2, 1024 * 1024, 8192, 3, 4096),
            rate_limit=model.RateLimit(0.5, 1, "header:x-api-key"),
            trusted_proxies=("10.0.0.0/8", "192.0.2.1/32", *private),
            upgrade=(),
            rules=(
                model.Rule(
                    "api",
                    model.Match(
                        hosts=("api.example.com", "*.shop.example"),
                        paths=("/v1/", "=/exact", "~^/r[0-9]+"),
                        methods=("GET",),
                        headers=(("x-beta", "1"),),
                        query=(("a", "*"),),
                    ),
                    model.Forward((("shop", 9), ("canary", 1))),
                    priority=5,
                    rate_limit=model.RateLimit(10.0, 15),
                ),
                model.Rule("rules[1]", model.Match(paths=("/old/",)), model.Redirect("https://{host}/new{path}", 301)),
                model.Rule("rules[2]", model.Match(), model.FixedResponse(404, "no\n", "text/plain")),
            ),
        ),
    )
    shop, canary = made.target_groups
    assert shop == model.TargetGroup(
        name="shop",
        policy=PolicyName.LEAST_CONN,
        health_check=model.HealthCheck(
            type=CheckType.HTTP,
            path="/h",
            method="POST",
            host="h",
            headers=(("X-A", "b"),),
            interval=0.5,
            timeout=0.1,
            unhealthy_threshold=1,
            healthy_threshold=4,
            fast_interval=0.5,
            unhealthy_interval=0.5,
            expected_statuses=((200, 200), (204, 206)),
            expect_body="ok",
            port=81,
        ),
        zones=model.Zones(ZoneMode.ACTIVE_BACKUP, "", ("a", "b"), 200, 0, 0.0, 1.0),
        timeouts=model.UpstreamTimeouts(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        retry=model.Retry(1, ("connect", "503", "non_idempotent"), 5, 6, 7.0, 1024),
        passive=model.Passive(1, 2, 3, 4.0, 5.0, 6),
        max_connections=7,
        queue=model.Queue(8, 9.0),
        wait_for_target=12.0,
        slow_start=10.0,
        drain_timeout=11.0,
        rescue=False,
        targets=(
            model.Target("a1", "10.0.0.1:8000", "10.0.0.1", 8000, 3, "a"),
            model.Target("b1", "backend-b:8000", "", 8000, 1, "b"),
            model.Target("c1", "[fd00::1]:8000", "fd00::1", 8000, 1, "c"),
        ),
        discover=(model.Discover("backend-d", 9000, "d", 2),),
    )
    assert canary.health_check is None
    assert canary.passive is None


def test_what_is_left_out_has_the_defaults_of_the_model(tmp_path: Path) -> None:
    made = snapshot(tmp_path, SMALL)
    rule = model.Rule("rules[0]", model.Match(), model.Forward((("demo", 1),)))
    target = model.Target("a1", "127.0.0.1:8001", "127.0.0.1", 8001)
    assert made == model.Snapshot(
        workers=7,
        listeners=(model.Listener("web", "127.0.0.1:8080", rules=(rule,)),),
        target_groups=(model.TargetGroup("demo", targets=(target,)),),
    )


def test_sections_without_keys_are_as_if_left_out(tmp_path: Path) -> None:
    empty = "    timeouts: {}\n    retry: {}\n    passive: {}\n    zones: {}\n    queue: {}\n    health_check: {}\n"
    group = 'target_groups:\n  - name: demo\n    targets: [{name: a1, address: "127.0.0.1:8001"}]\n'
    assert snapshot(tmp_path, SMALL.splitlines()[1] + f"\nadmin: {{}}\n{group}{empty}") == snapshot(tmp_path, SMALL)


def test_an_access_log_that_is_off_has_no_path(tmp_path: Path) -> None:
    assert snapshot(tmp_path, f"access_log: off\n{SMALL}").access_log.path == ""


def test_a_snapshot_survives_its_writing(tmp_path: Path) -> None:
    made = snapshot(tmp_path, EVERYTHING)
    assert decode(encode(made)) == made
    assert json.loads(encode(made))["snapshot"]["target_groups"][0]["name"] == "shop"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_shipped_configuration_is_sound(file: Path) -> None:
    loaded = load(file, {})
    assert [str(fault) for fault in (*loaded.faults, *loaded.warnings)] == []
    first = file.read_text().splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / schema).resolve() == ROOT / "config" / "balancer.schema.json"


def test_the_folder_that_compose_mounts_is_the_default_alone() -> None:
    assert load(ROOT / "config", {}).files == (ROOT / "config" / "balancer.yaml",)


def test_addresses_of_the_examples_come_from_the_environment() -> None:
    ports = {"PORT": "1111", "ADMIN_PORT": "2222", "TARGET_1": "3331", "TARGET_2": "3332", "TARGET_3": "3333"}
    for file in SHIPPED:
        if file.parent.name != "examples":
            continue
        made = load(file, ports).snapshot
        assert made is not None
        assert made.admin.address == "127.0.0.1:2222"
        assert [listener.address for listener in made.listeners] == ["127.0.0.1:1111"]
        found = {target.address for group in made.target_groups for target in group.targets}
        assert found <= {"127.0.0.1:3331", "127.0.0.1:3332", "127.0.0.1:3333"}


def test_four_thousand_targets_in_a_folder_are_read(tmp_path: Path) -> None:
    row = '      - {{name: t{0}, address: "10.0.{1}.{2}:8000", zone: z{3}, weight: 1}}\n'
    for part in range(2):
        numbers = range(part * 2000, part * 2000 + 2000)
        rows = "".join(row.format(number, number // 250, number % 250, number % 3) for number in numbers)
        (tmp_path / f"g{part}.yaml").write_text(f"target_groups:\n  - name: g{part}\n    targets:\n{rows}")
    (tmp_path / "web.yaml").write_text(
        "listeners: [{name: web, address: 127.0.0.1:80, rules: [{action: {forward: {g0: 1, g1: 1}}}]}]"
    )
    made = load(tmp_path, {}).snapshot
    assert made is not None
    assert [len(group.targets) for group in made.target_groups] == [2000, 2000]
