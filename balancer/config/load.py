"""The one way in: a path and an environment → a Snapshot, or every fault at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balancer.config import processors, source
from balancer.config.check import check
from balancer.config.compile import compile_snapshot
from balancer.config.fault import Fault, Finding, Place, Severity, ordered
from balancer.config.sections.configuration import Configuration
from balancer.config.tree import Tree
from balancer.config.validate import validate
from balancer.config.writable import why_not
from balancer.model.snapshot import Snapshot
from balancer.model.uncollected import uncollected
from balancer.model.units import parse_duration

_FIXED = ("workers", "admin.address")
_COMPOSE = Finding(("services",), "this is a compose file", "name what it mounts instead, such as config", on_key=True)


@dataclass(frozen=True, slots=True)
class Loaded:
    """`snapshot` is None exactly if there are `faults`. `files`: everything that was read, to be watched.

    `places`: where `workers` and `admin.address` stand, which a reload cannot change (`plan.restart_faults`).
    """

    snapshot: Snapshot | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    files: tuple[Path, ...]
    places: Mapping[str, Place] = field(default_factory=dict)


def load(
    path: Path,
    environment: Mapping[str, str],
    *,
    cpus: Callable[[], int] = processors.cpus,
    nofile: int | None = None,
) -> Loaded:
    """Read, check and compile a file or a folder. Never raises on input.

    `environment` is what `${NAME}` sees, and where BALANCER_STOP_GRACE says how long a stop may take (a duration: the
    image sets it to docker's 10s, compose to its stop_grace_period; without it nothing is known of that); `nofile` the
    number of descriptors a process may have, None if unknown.
    """
    with uncollected():
        return _load(path, environment, cpus, nofile)


def _load(path: Path, environment: Mapping[str, str], cpus: Callable[[], int], nofile: int | None) -> Loaded:
    read = source.read(path, environment)
    told = list(read.faults)
    files = list(read.files)
    snapshot: Snapshot | None = None
    if read.tree is not None and _is_compose(read.tree):
        told = [read.tree.fault(_COMPOSE)]
    elif read.tree is not None:
        validated = validate(read.tree.data)
        findings = [*read.findings, *validated.findings, *check(read.tree, validated, nofile, _stop_grace(environment))]
        token = ""
        configuration = validated.configuration
        if configuration is not None:
            findings += _log_findings(configuration)
            token = configuration.admin.token
            if configuration.admin.token_file:
                secret = Path(configuration.admin.token_file)
                files.append(secret)
                try:
                    token = source.secret(secret)
                    findings += _token_findings("token_file", token) if not configuration.admin.token else []
                except (OSError, ValueError) as error:
                    findings.append(_unreadable(secret, error))
            elif "token" in configuration.admin.model_fields_set and validated.is_whole(("admin", "token")):
                findings += _token_findings("token", token)
        told += [read.tree.fault(finding) for finding in findings]
        if configuration is not None and not any(fault.severity is Severity.ERROR for fault in told):
            snapshot = compile_snapshot(configuration, token, cpus)
    faults = ordered(fault for fault in told if fault.severity is Severity.ERROR)
    warnings = ordered(fault for fault in told if fault.severity is Severity.WARNING)
    places = {} if read.tree is None else {key: read.tree.place(tuple(key.split("."))) for key in _FIXED}
    return Loaded(snapshot, faults, warnings, tuple(dict.fromkeys(files)), places)


def _is_compose(tree: Tree) -> bool:
    """Return whether it is a compose file, which would have a fault in every line."""
    return isinstance(tree.data.get("services"), dict) and not {"listeners", "target_groups"} & tree.data.keys()


def _stop_grace(environment: Mapping[str, str]) -> float | None:
    return parse_duration(environment.get("BALANCER_STOP_GRACE", ""))


def _log_findings(configuration: Configuration) -> list[Finding]:
    path = configuration.access_log.path if configuration.access_log is not None else "-"
    found = why_not(path) if path and path != "-" else None
    return [Finding(("access_log", "path"), *found)] if found is not None else []


def _token_findings(key: str, token: str) -> list[Finding]:
    """Return what keeps a token from protecting: nobody would be asked for it, or nobody could send it."""
    if not token:
        problem, remedy = "the token is empty: nobody would be asked for it", "write one, or remove the key"
    elif not token.isascii() or not token.isprintable() or " " in token:
        problem, remedy = "the token has characters that a header cannot carry", "use letters, digits and -._~+/="
    else:
        return []
    return [Finding(("admin", key), problem, remedy)]


def _unreadable(secret: Path, error: Exception) -> Finding:
    said = (error.strerror or "error").lower() if isinstance(error, OSError) else str(error)
    remedy = "mount the file, or write token"
    if isinstance(error, PermissionError):
        remedy = f"make it readable for user {os.geteuid()}"
    return Finding(("admin", "token_file"), f"{secret} cannot be read: {said}", remedy)
