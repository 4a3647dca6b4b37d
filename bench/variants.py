"""The configurations of `peers/` as a case wants them: more targets or rules, an access log, a second worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cases import TARGETS, Variant
from heads import path_of

PORTS = range(18191, 18191 + TARGETS)
ADDRESSES = 100  # 127.0.1.1 …, beside 127.0.0.1: the origin listens on each with every port


class Misfit(Exception):
    """A configuration in which what is to be replaced is not found."""


def targets(count: int) -> list[str]:
    """Return host:port of so many targets."""
    few = [f"127.0.0.1:{port}" for port in PORTS]
    return few if count == TARGETS else [f"127.0.1.{1 + n // TARGETS}:{PORTS[n % TARGETS]}" for n in range(count)]


def write(name: str, text: str, variant: Variant, here: Path) -> str:
    """Return a peer's configuration for a variant; `text` is the one in `peers/`, `here` a scratch folder."""
    own, numbers = targets(variant.targets), range(1, variant.rules)
    text = _each_target(text, own)
    if name == "aiohttp":
        return "\n".join(own) + "\n"
    rules, logged, work = _WRITERS[name]
    if variant.rules > 1:
        text = _replaced(text, "# further rules\n", rules([path_of(n) for n in numbers], here))
    if variant.log:
        for old, new in logged(here).items():
            text = _replaced(text, old, new)
    if variant.workers > 1 and work:
        text = _replaced(text, f"{work[0]}1{work[1]}", f"{work[0]}{variant.workers}{work[1]}")
    return text


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise Misfit(f"{old!r} is not in it")
    return text.replace(old, new, 1)


def _each_target(text: str, addresses: list[str]) -> str:
    """Return the text with the line of the first target once for each, and no other line of a target."""
    pattern = re.compile(r"^.*127\.0\.0\.1:1819\d.*\n", re.MULTILINE)
    found = pattern.search(text)
    if found is None:
        return text
    lines = [
        found[0].replace("127.0.0.1:18191", address).replace("origin-1", f"origin-{number}")
        for number, address in enumerate(addresses, 1)
    ]
    return text[: found.start()] + "".join(lines) + pattern.sub("", text[found.start() :])


# Rules: one for each path of the shop, to the same group; each peer in the way that its manual advises for many.


def _nginx_rules(paths: list[str], _here: Path) -> str:
    return "\n".join(f"location {path} {{ proxy_pass http://bench; }}" for path in paths) + "\n"


def _haproxy_rules(paths: list[str], here: Path) -> str:
    (here / "haproxy.map").write_text("".join(f"{path} bench\n" for path in paths))
    return f"use_backend %[path,map_beg({here}/haproxy.map,bench)]\n"


def _caddy_rules(paths: list[str], _here: Path) -> str:
    # A matcher is asked before the proxy acts; each rule leads to the same one.
    lines = [f"@rule{n} path {path} {path}/*\n\tvars @rule{n} rule {n}" for n, path in enumerate(paths)]
    return "\n\t".join(lines) + "\n"


def _our_rules(paths: list[str], _here: Path) -> str:
    lines = [f'- {{match: {{paths: ["{path}"]}}, action: {{forward: bench}}}}' for path in paths]
    return "\n      ".join(lines) + "\n"


# Access logs


def _nginx_log(here: Path) -> dict[str, str]:
    return {"access_log off;": f"access_log {here}/nginx.log json buffer=64k flush=1s;"}


def _haproxy_log(_here: Path) -> dict[str, str]:
    line = (
        '{"time":"%tr","request_id":"%ID","listener":"web","client":"%ci","method":"%HM","host":"%[capture.req.hdr(0)]",'
        '"path":"%HPO","status":%ST,"source":"upstream","reason":"%tsc","target_group":"%b","target":"%s",'
        '"zone":"default","duration_ms":%Ta,"connect_ms":%Tc,"first_byte_ms":%Tr,"bytes_in":%U,"bytes_out":%B,'
        '"retries":"%rc","upstream_status":%ST,"detail":""}'
    )
    return {
        "    nbthread": "    log stdout format raw local0\n    nbthread",
        "# access log": f"log global\n    capture request header Host len 64\n    log-format '{line}'",
    }


def _caddy_log(here: Path) -> dict[str, str]:
    output = f"output file {here}/caddy.log {{\n\t\t\troll_disabled\n\t\t}}"
    return {"# access log": f"log {{\n\t\t{output}\n\t\tformat json\n\t}}"}


def _our_log(here: Path) -> dict[str, str]:
    return {"access_log: off": f"access_log: {{path: {here}/balancer.log}}"}


_Writer = tuple[Callable[[list[str], Path], str], Callable[[Path], dict[str, str]], tuple[str, str] | None]
_WRITERS: dict[str, _Writer] = {
    "nginx": (_nginx_rules, _nginx_log, ("worker_processes ", ";")),
    "haproxy": (_haproxy_rules, _haproxy_log, ("nbthread ", "\n")),
    "caddy": (_caddy_rules, _caddy_log, None),  # GOMAXPROCS
    "balancer": (_our_rules, _our_log, ("workers: ", "\n")),
}
