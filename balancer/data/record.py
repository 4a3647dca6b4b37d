"""The end of every request: counters on the board and a line in the access log. Runs exactly once for each."""

from __future__ import annotations

import time
from bisect import bisect_left
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING

from balancer.board import histogram, layout
from balancer.board.histogram import EDGES
from balancer.data import access_log
from balancer.data.place import Place, log
from balancer.model.reason import Reason

if TYPE_CHECKING:
    from balancer.data.http.exchange import Exchange
    from balancer.data.listener import LiveListener

_THOUSANDTHS = tuple(f".{number:03d}" for number in range(1000))  # formatting a float takes 0.5 µs
_FIRST_BYTE_SUM = layout.FLOW_FIRST_BYTE + histogram.SUM


def whole(exchange: Exchange, duration: float, status: int, size: int) -> None:
    """Count and log a plain response that came in one piece. hot: what `close` does, without its questions."""
    place, listener, route = exchange.place, exchange.client.listener, exchange.route
    row = place.row
    flow = route.flow
    at = flow + layout.FLOW_WHOLE
    row[at + bisect_left(EDGES, duration)] += 1
    spent = int(duration * 1e6)
    row[at + histogram.SUM] += spent
    row[flow + layout.FLOW_BYTES_OUT] += size
    if exchange.bytes_in:
        row[flow + layout.FLOW_BYTES_IN] += exchange.bytes_in
    target = exchange.target
    row[(route.hits[target] if target in route.hits else route.hits_of(target)) + status // 100 - 1] += 1
    assert target is not None
    try:
        place.recent.whole(exchange, route, target, duration, status, size)
        access_log = place.access_log
        if access_log.enabled:
            line, client, block = exchange.line, exchange.client, exchange.block
            took = f"{spent // 1000}{_THOUSANDTHS[spent % 1000]}"
            if exchange.connect_time or exchange.bytes_in or exchange.retries:
                connect = f"{exchange.connect_time * 1000:.3f}" if exchange.connect_time else "0.000"
                way = (
                    f',"connect_ms":{connect},"first_byte_ms":{took},"bytes_in":{exchange.bytes_in},"bytes_out":{size},'
                )
                way += f'"retries":{exchange.retries},"upstream_status":'
            else:
                way = f',"connect_ms":0.000,"first_byte_ms":{took},"bytes_in":0,"bytes_out":{size},'
                way += '"retries":0,"upstream_status":'
            shown = client.shown_behind(block) if block.forwarded_for else client.shown
            id_line = exchange.id_line
            access_log.write(
                f'{{"time":"{place.clock.text(time.time())}","request_id":"{str(id_line[14:-4], "ascii")}",{shown}'
                f'"method":"{line.shown_method}","host":{block.shown_host},"path":{line.shown_path},"status":{status},'
                f'"source":"upstream","reason":"","target_group":{route.shown},{target.shown_pair}'
                f'"duration_ms":{took}{way}{status},"detail":""}}\n'
            )
    except Exception:  # it is counted, and its client has its answer
        log.exception("internal error request_id=%s", exchange.request_id)
    # Last: if the counting above fails, `close` is to count this request out, and nobody has yet.
    listener.active = active = listener.active - 1
    row[listener.active_cell] = active


def close(exchange: Exchange, now: float) -> None:
    """Count and log a finished request."""
    place, listener = exchange.place, exchange.client.listener
    row = place.row
    listener.active = max(0, listener.active - 1)
    row[listener.active_cell] = listener.active
    route = exchange.route
    duration = now - exchange.started
    flow = route.flow
    row[flow + bisect_left(EDGES, duration)] += 1
    row[flow + histogram.SUM] += int(duration * 1e6)
    first_byte = exchange.first_byte
    if first_byte >= 0.0:
        row[flow + layout.FLOW_FIRST_BYTE + bisect_left(EDGES, first_byte)] += 1
        row[flow + _FIRST_BYTE_SUM] += int(first_byte * 1e6)
    if exchange.bytes_in:
        row[flow + layout.FLOW_BYTES_IN] += exchange.bytes_in
    if exchange.bytes_out:
        row[flow + layout.FLOW_BYTES_OUT] += exchange.bytes_out
    target = exchange.target
    hits = route.hits[target] if target in route.hits else route.hits_of(target)
    status = exchange.status
    row[hits + status // 100 - 1 + (0 if exchange.from_upstream else layout.HITS_BALANCER)] += 1
    if exchange.reason is not None:
        route.count_failure(exchange.reason)
    place.recent.close(exchange, duration)
    if place.access_log.enabled:
        _log(exchange, place, duration)


def _log(exchange: Exchange, place: Place, duration: float) -> None:
    line, block, route = exchange.line, exchange.block, exchange.route
    reason, target = exchange.reason, exchange.target
    name, zone = (_EMPTY, _EMPTY) if target is None else (target.shown, target.shown_zone)
    first_byte = exchange.first_byte
    shown = exchange.client.shown_behind(block) if block.forwarded_for else exchange.client.shown
    place.access_log.write(
        f'{{"time":"{place.clock.text(time.time())}","request_id":"{exchange.request_id}",{shown}'
        f'"method":"{line.shown_method}","host":{block.shown_host},"path":{line.shown_path},"status":{exchange.status},'
        f'"source":"{"upstream" if exchange.from_upstream else "balancer"}","reason":"{reason.word if reason else ""}",'
        f'"target_group":{route.shown},"target":{name},"zone":{zone},"duration_ms":{duration * 1000:.3f},'
        f'"connect_ms":{exchange.connect_time * 1000:.3f},'
        f'"first_byte_ms":{first_byte * 1000 if first_byte >= 0.0 else 0.0:.3f},"bytes_in":{exchange.bytes_in},'
        f'"bytes_out":{exchange.bytes_out},"retries":{exchange.retries},"upstream_status":{exchange.upstream_status},'
        f'"detail":{quote(exchange.detail) if exchange.detail else _EMPTY}}}\n'
    )


_EMPTY = '""'


def refused(
    place: Place,
    listener: LiveListener,
    shown: str,
    *,
    request_id: str,
    status: int,
    reason: Reason,
    detail: str,
    duration: float,
    method: str = "-",
    host: str = "",
    path: str = "-",
) -> None:
    """Count and log a request that never became an exchange: its head could not be read."""
    route = listener.nowhere
    row = place.row
    row[route.flow + bisect_left(EDGES, duration)] += 1
    row[route.flow + histogram.SUM] += int(duration * 1e6)
    row[route.hits[None] + status // 100 - 1 + layout.HITS_BALANCER] += 1
    route.count_failure(reason)
    place.recent.refused(
        route.context,
        request_id=request_id,
        status=status,
        reason=reason,
        detail=detail,
        duration=duration,
        method=method,
        host=host,
        path=path,
    )
    if place.access_log.enabled:
        place.access_log.write(
            f'{{"time":"{place.clock.text(time.time())}","request_id":"{request_id}",{shown}"method":"{method}",'
            f'"host":{quote(host)},"path":{access_log.path_text(path)},"status":{status},"source":"balancer",'
            f'"reason":"{reason.word}","target_group":"","target":"","zone":"","duration_ms":{duration * 1000:.3f},'
            f'"connect_ms":0.000,"first_byte_ms":0.000,"bytes_in":0,"bytes_out":0,"retries":0,"upstream_status":0,'
            f'"detail":{quote(detail[:200])}}}\n'
        )
