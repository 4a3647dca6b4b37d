"""What is said about configurations that work, but hardly as they were meant."""

# ruff: noqa: E501 - a table is read by line

from __future__ import annotations

from pathlib import Path

import pytest

from balancer.config.load import load

WEB = "listeners: [{name: web, address: 127.0.0.1:8080, rules: [{action: {forward: demo}}]}]\n"
DEMO = 'target_groups: [{name: demo, targets: [{name: a1, address: "127.0.0.1:8001"}]}]\n'
THREE = """    targets:
      - {name: a1, zone: a, weight: 10, address: "127.0.0.1:8001"}
      - {name: b1, zone: b, weight: 7, address: "127.0.0.1:8002"}
      - {name: c1, zone: c, weight: 8, address: "127.0.0.1:8003"}
"""

# fmt: off
GROUP = [  # what is doubtful, what stands there, what is said
    ("nothing", "policy: least_conn"),
    ("no targets", "targets: []", "2:11: target_groups.demo.name: this group has no targets (write targets: or discover:)"),
    ("a probe that outlasts its interval", "health_check: {interval: 1s, timeout: 2s}", "3:43: target_groups.demo.health_check.timeout: 2s is longer than the interval of 1s (write 1s or less)"),
    ("a fast interval that is slower", "health_check: {interval: 1s, timeout: 1s, fast_interval: 2s}", "3:62: target_groups.demo.health_check.fast_interval: 2s is longer than the interval of 1s (write 1s or less)"),
    ("a path for a tcp check", "health_check: {path: /healthz}", "3:20: target_groups.demo.health_check.path: only an http check looks at this (write type: http, or remove it)"),
    ("no limit for connecting", "timeouts: {connect: 0s}", "3:25: target_groups.demo.timeouts.connect: without this limit a request can wait for ever (write a time such as 60s)"),
    ("no limit for the response head", "timeouts: {response_header: 0s}", "3:33: target_groups.demo.timeouts.response_header: without this limit a request can wait for ever (write a time such as 60s)"),
    ("a request shorter than its connect", "timeouts: {request: 1s}", "3:25: target_groups.demo.timeouts.request: the whole request may take 1s, connecting alone 2s (write more than 2s)"),
    ("a long idle time upstream", "timeouts: {upstream_idle: 5m}", "3:31: target_groups.demo.timeouts.upstream_idle: few servers keep an idle connection for 5m (write less than your targets' keep-alive time, such as 4s)"),
    ("one target under two names", 'targets: [{name: a1, address: "127.0.0.1:1"}, {name: a2, address: "127.0.0.1:1"}]', "3:71: target_groups.demo.targets.a2.address: 127.0.0.1:1 is a1 too (give one of them a greater weight)"),
    ("a target that is ourselves", 'targets: [{name: a1, address: "127.0.0.1:8080"}]', "3:35: target_groups.demo.targets.a1.address: 127.0.0.1:8080 is this balancer's own listener web (name the backend)"),
    ("a zone that mode does not look at", "zones: {local: default}", "3:13: target_groups.demo.zones.local: only mode: local_first looks at this (write mode: local_first, or remove it)"),
    ("zones with nowhere else to go", "zones: {mode: local_first, local: default}", "3:19: target_groups.demo.zones.mode: every target is in zone default: there is nowhere else to go (give the targets their zones)"),
]
ZONES = [
    ("backups that can take the load", "zones: {mode: active_backup, order: [b, a]}"),
    ("a backup that is too small", "zones: {mode: active_backup, order: [a, b]}", "3:19: target_groups.demo.zones.mode: b has 7 of the weight of a, which has 10: it cannot take the load (add targets to b)"),
    ("two zones together", "zones: {mode: local_first, local: a}"),
    ("a factor that is enough", "zones: {mode: active_backup, order: [a, b], overprovisioning_factor: 200}"),
]
LISTENER = [
    ("no rules", "rules: []", "3:11: listeners.web.name: without rules every request gets 404 (write rules: [{action: {forward: …}}])"),
    ("no rule for the rest", "rules: [{match: {paths: [/a]}, action: {forward: demo}}]", "5:5: listeners.web.rules: a request that matches no rule gets 404 (end with a rule without match)"),
    ("a rule for / is a rule for the rest", "rules: [{match: {paths: [/]}, action: {forward: demo}}]"),
    ("no limit for a request head", "timeouts: {request_header: 0s}\n    rules: [{action: {forward: demo}}]", "5:32: listeners.web.timeouts.request_header: without this limit a client can hold a connection for ever (write a time such as 10s)"),
    ("everybody trusted", "trusted_proxies: [0.0.0.0/0]\n    rules: [{action: {forward: demo}}]", "5:23: listeners.web.trusted_proxies[0]: every client could choose its own address (name the proxies in front of this balancer)"),
    ("a rule under one of higher priority", "rules: [{name: all, priority: 1, action: {forward: demo}}, {match: {paths: [/a]}, action: {forward: demo}}]", "5:64: listeners.web.rules[1]: can never match: all goes first and takes every request (remove it, or give it a higher priority)"),
    ("a rule after one that asks for any value", 'rules: [{match: {headers: {x: "*"}}, action: {forward: demo}}, {match: {headers: {X: "1"}}, action: {forward: demo}}, {action: {forward: demo}}]', "5:68: listeners.web.rules[1]: can never match: rules[0] goes first and takes every request (remove it, or give it a higher priority)"),
    ("HEAD after GET", "rules: [{match: {methods: [GET]}, action: {forward: demo}}, {match: {methods: [HEAD]}, action: {forward: demo}}, {action: {forward: demo}}]", "5:65: listeners.web.rules[1]: can never match: rules[0] goes first and takes every request (remove it, or give it a higher priority)"),
    ("a narrower path after a wider one", "rules: [{match: {paths: [/a]}, action: {forward: demo}}, {match: {paths: [/a/b]}, action: {forward: demo}}, {action: {forward: demo}}]"),
    ("a rule that only overlaps", "rules: [{priority: 1, match: {paths: [/a], methods: [GET]}, action: {forward: demo}}, {match: {paths: [/a/b]}, action: {forward: demo}}, {action: {forward: demo}}]"),
    ("a wildcard host under one of higher priority", 'rules: [{priority: 1, match: {hosts: ["*.a.b"]}, action: {forward: demo}}, {match: {hosts: [x.a.b, "*.y.a.b"]}, action: {forward: demo}}, {action: {forward: demo}}]', "5:80: listeners.web.rules[1]: can never match: rules[0] goes first and takes every request (remove it, or give it a higher priority)"),
]
# fmt: on

Row = tuple[str, ...]


def warnings(folder: Path, text: str, nofile: int | None = None, grace: str = "10s") -> list[str]:
    """Return the warnings of a configuration without faults, in a container that has `grace` to stop."""
    file = folder / "c.yaml"
    file.write_text(text)
    loaded = load(file, {"BALANCER_STOP_GRACE": grace} if grace else {}, nofile=nofile)
    assert [str(fault) for fault in loaded.faults] == []
    assert loaded.snapshot is not None
    return [str(fault).removeprefix(f"{file}:") for fault in loaded.warnings]


@pytest.mark.parametrize("row", GROUP, ids=lambda row: row[0])
def test_a_doubtful_group_is_told(tmp_path: Path, row: Row) -> None:
    _, line, *said = row
    targets = "" if line.startswith("targets") else '    targets: [{name: a1, address: "127.0.0.1:8001"}]\n'
    assert warnings(tmp_path, f"target_groups:\n  - name: demo\n    {line}\n{targets}{WEB}") == said


@pytest.mark.parametrize("row", ZONES, ids=lambda row: row[0])
def test_a_backup_that_cannot_take_the_load_is_told(tmp_path: Path, row: Row) -> None:
    _, line, *said = row
    assert warnings(tmp_path, f"target_groups:\n  - name: demo\n    {line}\n{THREE}{WEB}") == said


@pytest.mark.parametrize("row", LISTENER, ids=lambda row: row[0])
def test_a_doubtful_listener_is_told(tmp_path: Path, row: Row) -> None:
    _, lines, *said = row
    text = f"{DEMO}listeners:\n  - name: web\n    address: 127.0.0.1:8080\n    {lines}\n"
    assert [line for line in warnings(tmp_path, text) if "no rule forwards" not in line] == said


def test_a_group_that_nobody_forwards_to_is_told(tmp_path: Path) -> None:
    assert warnings(tmp_path, f"{WEB}{DEMO.strip()[:-1]}, {{name: spare, discover: [{{dns: a, port: 1}}]}}]\n") == [
        "2:88: target_groups.spare.name: no rule forwards here (write a rule, or remove the group)"
    ]


def test_a_stop_longer_than_docker_waits_is_told(tmp_path: Path) -> None:
    assert warnings(tmp_path, f"{WEB}{DEMO}stop_timeout: 30s\n") == [
        "3:15: stop_timeout: docker kills after 10s unless it is told to wait longer than 30s"
        " (set stop_grace_period in compose above 30s, and BALANCER_STOP_GRACE to the same, which tells it here)"
    ]
    assert warnings(tmp_path, f"{WEB}{DEMO}stop_timeout: 9s\n") == []
    assert warnings(tmp_path, f"{WEB}{DEMO}stop_timeout: 30s\n", grace="40s") == []


def test_where_nobody_says_how_long_a_stop_may_take_nothing_is_told_of_it(tmp_path: Path) -> None:
    """Outside of a container docker kills nothing, and `check` on the host cannot see the compose file."""
    assert warnings(tmp_path, f"{WEB}{DEMO}stop_timeout: 30s\n", grace="") == []


def test_a_low_descriptor_limit_is_told(tmp_path: Path) -> None:
    assert warnings(tmp_path, WEB + DEMO, nofile=1024) == [
        "1:1: a process may open 1024 files here, enough for 460 clients"
        " (raise it: ulimit -n 65536, or ulimits: {nofile: 65536} in compose)"
    ]
    assert warnings(tmp_path, WEB + DEMO, nofile=65536) == []


def test_an_open_admin_server_is_accepted_when_it_is_said_so(tmp_path: Path) -> None:
    assert warnings(tmp_path, f"admin: {{address: 0.0.0.0:9900, insecure: true}}\n{WEB}{DEMO}") == []
    assert warnings(tmp_path, f"admin: {{address: 0.0.0.0:9900, token: secret}}\n{WEB}{DEMO}") == []
