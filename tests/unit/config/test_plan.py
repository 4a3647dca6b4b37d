"""Ten edits and more, each with what would change and what it costs."""

# ruff: noqa: E501 - a table is read by line

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balancer.config.fault import Place
from balancer.config.load import load
from balancer.config.plan import Kind, diff, restart_faults
from balancer.model.snapshot import Snapshot, Target

BEFORE = """
workers: 2
admin: {address: 127.0.0.1:9900, token: old}
listeners:
  - name: web
    address: 127.0.0.1:8080
    rules:
      - {name: api, match: {paths: [/v1/]}, action: {forward: api}}
      - {match: {paths: [/old/]}, action: {redirect: {to: "https://{host}/new{path}"}}}
      - {action: {forward: demo}}
  - name: spare
    address: 127.0.0.1:8081
    rules: [{action: {forward: demo}}]
target_groups:
  - name: demo
    drain_timeout: 20s
    health_check: {type: http, path: /healthz}
    targets:
      - {name: a1, address: "127.0.0.1:8001", zone: a}
      - {name: a2, address: "127.0.0.1:8002", zone: a}
    discover: [{dns: backend, port: 80}]
  - name: api
    targets: [{name: x1, address: "127.0.0.1:8003"}]
"""
# fmt: off
EDITS = [  # the edit, what is replaced, by what, what the plan says
    ("a policy", "    drain_timeout: 20s", "    drain_timeout: 20s\n    policy: least_conn",
     ["changed target group target_groups.demo: applied without closing connections", "policy: round_robin → least_conn"]),
    ("a target goes", '      - {name: a2, address: "127.0.0.1:8002", zone: a}\n', "",
     ["removed target target_groups.demo.targets.a2: drains a2 for up to 20s"]),
    ("a target comes", "    discover:", '      - {name: a3, address: "127.0.0.1:8009"}\n    discover:',
     ["added target target_groups.demo.targets.a3: gets requests after its first good check"]),
    ("a target moves", "127.0.0.1:8002", "127.0.0.1:8012",
     ["changed target target_groups.demo.targets.a2: drains 127.0.0.1:8002 for up to 20s; the new address is checked first", "address: 127.0.0.1:8002 → 127.0.0.1:8012"]),
    ("a weight and a zone", 'address: "127.0.0.1:8002", zone: a', 'address: "127.0.0.1:8002", zone: b, weight: 3',
     ["changed target target_groups.demo.targets.a2: applies to the next pick", "weight: 1 → 3", "zone: a → b"]),
    ("a check", "path: /healthz}", "path: /ready, interval: 2s, timeout: 1s}",
     ["changed target group target_groups.demo: states stay, every target is checked again at once", "health_check.path: /healthz → /ready", "health_check.interval: 5s → 2s", "health_check.timeout: 2s → 1s", "health_check.unhealthy_interval: 5s → 2s"]),
    ("no check", "health_check: {type: http, path: /healthz}", "health_check: off",
     ["changed target group target_groups.demo: states stay, every target is checked again at once", "health_check: on → off"]),
    ("a rule goes", "      - {name: api, match: {paths: [/v1/]}, action: {forward: api}}\n", "",
     ["removed rule listeners.web.rules.api: applies to the next request"]),
    ("a rule comes first", "      - {name: api,", "      - {match: {hosts: [a.b]}, action: {forward: api}}\n      - {name: api,",
     ["added rule listeners.web.rules[0]: applies to the next request"]),
    ("a rule's action", "forward: api}", "forward: {api: 9, demo: 1}}",
     ["changed rule listeners.web.rules.api: applies to the next request", "action: forward api → forward api: 9, demo: 1"]),
    ("the match of a rule without a name", "[/old/]", "[/older/]",
     ["changed rule listeners.web.rules[1]: applies to the next request", "match.paths: [/old/] → [/older/]"]),
    ("a listener moves", "127.0.0.1:8081", "127.0.0.1:8082",
     ["changed listener listeners.spare: binds 127.0.0.1:8082; connections on 127.0.0.1:8081 end after their current response", "address: 127.0.0.1:8081 → 127.0.0.1:8082"]),
    ("a listener's limits", "    address: 127.0.0.1:8080\n", "    address: 127.0.0.1:8080\n    limits: {body: 1MiB}\n    timeouts: {keep_alive: 1m}\n",
     ["changed listener listeners.web: applied without closing connections", "timeouts.keep_alive: 75s → 1m", "limits.body: 0 → 1MiB"]),
    ("a name to discover", "{dns: backend, port: 80}", "{dns: other, port: 80}",
     ["removed discovery target_groups.demo.discover.backend: drains what it found for up to 20s", "added discovery target_groups.demo.discover.other: looked up at once; its targets are checked first"]),
    ("a group goes", '  - name: api\n    targets: [{name: x1, address: "127.0.0.1:8003"}]\n', "",
     ["removed target group target_groups.api: drains its targets for up to 30s"]),
    ("workers", "workers: 2", "workers: 3",
     ["changed section workers: needs a restart: a reload cannot change it", "workers: 2 → 3"]),
    ("the admin address", "127.0.0.1:9900", "127.0.0.1:9901",
     ["changed section admin.address: needs a restart: a reload cannot change it", "address: 127.0.0.1:9900 → 127.0.0.1:9901"]),
    ("a token", "token: old", "token: new",
     ["changed section admin: applies to the next admin request", "token: *** → ***"]),
    ("the access log", "workers: 2", "workers: 2\naccess_log: off",
     ["changed section access_log: lines go there from now on; none is lost", "access_log: - → off"]),
    ("only a comment", "workers: 2", "# workers\nworkers: 2", []),
]
# fmt: on


def made(folder: Path, text: str) -> Snapshot:
    file = folder / "c.yaml"
    file.write_text(text)
    snapshot = load(file, {}).snapshot
    if snapshot is None:  # an edit that leaves a rule without its group: the rule is not what is tested
        file.write_text(text.replace("forward: api", "forward: demo"))
        snapshot = load(file, {}).snapshot
    assert snapshot is not None
    return snapshot


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit[0])
def test_an_edit_is_planned(tmp_path: Path, edit: tuple[str, str, str, list[str]]) -> None:
    _, old, new, said = edit
    assert old in BEFORE
    before, after = made(tmp_path, BEFORE), made(tmp_path, BEFORE.replace(old, new, 1))
    lines = []
    for change in diff(before, after):
        lines.append(f"{change.kind} {change.object} {change.path}: {change.cost}")
        lines += [f"{field.name}: {field.old} → {field.new}" for field in change.fields]
    if edit[0] == "a group goes":
        lines = [line for line in lines if "forward" not in line and "rule" not in line]
    assert lines == said


def test_a_listener_and_a_group_come_and_go(tmp_path: Path) -> None:
    full = made(tmp_path, BEFORE)
    less = replace(full, listeners=full.listeners[:1], target_groups=full.target_groups[:1])
    assert [f"{change.kind} {change.path}: {change.cost}" for change in diff(less, full)] == [
        "added listeners.spare: binds 127.0.0.1:8081, or the reload fails as a whole",
        "added target_groups.api: its targets get requests at once, and their first checks",
    ]
    assert [f"{change.kind} {change.path}: {change.cost}" for change in diff(full, less)] == [
        "removed listeners.spare: gives up 127.0.0.1:8081; its connections end after their current response",
        "removed target_groups.api: drains its targets for up to 30s",
    ]


def test_another_order_of_rules_is_a_change(tmp_path: Path) -> None:
    before = made(tmp_path, BEFORE)
    web = before.listeners[0]
    after = replace(before, listeners=(replace(web, rules=web.rules[::-1]), *before.listeners[1:]))
    assert [(change.path, change.fields[0].name) for change in diff(before, after)] == [
        ("listeners.web.rules", "order")
    ]


def test_what_control_adds_is_no_change(tmp_path: Path) -> None:
    plain = made(tmp_path, BEFORE)
    group = plain.target_groups[0]
    found = Target("backend#1", "10.0.0.1:80", "10.0.0.1", 80)
    resolved = tuple(replace(target, ip="127.0.0.2") for target in group.targets)
    running = replace(plain, version=3, revision=9, slots={"x": 1})
    running = replace(running, target_groups=(replace(group, targets=(*resolved, found)), *plain.target_groups[1:]))
    assert diff(running, plain) == ()
    masked = replace(running, admin=replace(running.admin, token="***"))
    assert diff(masked, plain) == ()


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    check = "health_check: {type: http, path: /healthz, headers: {Authorization: VALUE}}"
    text = BEFORE.replace("health_check: {type: http, path: /healthz}", check).replace("token: old", "token: VALUE")
    one, other = made(tmp_path, text.replace("VALUE", "first")), made(tmp_path, text.replace("VALUE", "second"))
    changes = diff(one, other)
    assert [change.path for change in changes] == ["admin", "target_groups.demo"]
    assert "first" not in str(changes)
    assert "second" not in str(changes)
    masked = made(tmp_path, text.replace("VALUE", '"***"'))
    assert diff(masked, other) == ()


@pytest.mark.parametrize("name", ["", "name: keyed, "])
def test_secrets_of_rules_are_never_shown_and_a_masked_one_is_no_change(tmp_path: Path, name: str) -> None:
    text = f"""listeners:
  - name: web
    address: 127.0.0.1:8080
    rules:
      - {{match: {{paths: [/b]}}, action: {{fixed_response: {{status: 204}}}}}}
      - {{{name}match: {{headers: {{authorization: VALUE}}, query: {{token: VALUE}}}}, action: {{fixed_response: {{status: 204}}}}}}
"""
    one, other = made(tmp_path, text.replace("VALUE", "first")), made(tmp_path, text.replace("VALUE", "second"))
    changes = diff(one, other)
    assert [change.kind for change in changes] == [Kind.CHANGED]
    assert "first" not in str(changes)
    assert "second" not in str(changes)
    masked = made(tmp_path, text.replace("VALUE", '"***"'))
    assert diff(masked, other) == ()


def test_a_reload_refuses_what_needs_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    before = made(tmp_path, BEFORE)
    file.write_text(BEFORE.replace("workers: 2", "workers: 4").replace("127.0.0.1:9900", "127.0.0.1:9901"))
    loaded = load(file, {})
    assert loaded.snapshot is not None
    faults = restart_faults(diff(before, loaded.snapshot), loaded.places)
    assert [str(fault).replace(str(file), "c.yaml") for fault in faults] == [
        "c.yaml:2:10: workers: a reload cannot change 2 to 4 (restart the balancer, or write 2 again)",
        "c.yaml:3:18: admin.address: a reload cannot change 127.0.0.1:9900 to 127.0.0.1:9901"
        " (restart the balancer, or write 127.0.0.1:9900 again)",
    ]
    assert restart_faults(diff(before, before), {"": Place("c.yaml")}) == ()
