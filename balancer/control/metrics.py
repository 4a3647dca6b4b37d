"""metrics: every family of the product for Prometheus, read from the board and from what control knows."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from balancer.board import histogram, layout
from balancer.board.layout import HITS_BALANCER
from balancer.control.facts import Key
from balancer.control.picture import Picture
from balancer.control.stats import CODES, RESULTS, Histogram, Stats
from balancer.model.names import STATES, ProbeResult
from balancer.model.reason import Reason

PREFIX = "balancer_"
_SOURCES = ("upstream", "balancer")


_END = b"# EOF\n"  # of OpenMetrics


def render(picture: Picture, stats: Stats, accept: str) -> tuple[bytes, str]:
    """Return a scrape's body and content type, in the format that `Accept` prefers; 3 µs a series: use a thread."""
    encoder, content_type = choose_encoder(accept)
    parts: list[bytes] = []
    for family in _Families(picture, stats).collect():
        parts.append(encoder(_Alone(family)).removesuffix(_END))
        if isinstance(family, _Series):
            parts.append("".join(family.lines).encode())
    if "openmetrics" in content_type:
        parts.append(_END)
    return b"".join(parts), content_type


class _Alone(CollectorRegistry):
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        super().__init__(auto_describe=False)
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


class _Series(Metric):
    """A family with a series for each target or group: its lines are written here, where there may be 100,000.

    Labels are names, which hold nothing that would have to be escaped.
    """

    def __init__(self, name: str, about: str, kind: str) -> None:
        super().__init__(PREFIX + name, about, kind)
        self.lines: list[str] = []
        self._sample = PREFIX + name + ("_total" if kind == "counter" else "")

    def add(self, labels: str, value: float) -> None:
        """Add a series; `labels` as they stand in the braces."""
        self.lines.append(f"{self._sample}{{{labels}}} {value}\n")

    def add_histogram(self, labels: str, durations: Histogram) -> None:
        """Add the buckets, count and sum of a histogram."""
        total = 0
        for edge, count in zip(_EDGES, durations.counts):
            total += count
            self.lines.append(f'{self._sample}_bucket{{{labels},le="{edge}"}} {total}\n')
        self.lines.append(f"{self._sample}_count{{{labels}}} {total}\n")
        self.lines.append(f"{self._sample}_sum{{{labels}}} {durations.seconds}\n")


_EDGES = [*map(repr, histogram.EDGES), "+Inf"]


class _Families:
    def __init__(self, picture: Picture, stats: Stats) -> None:
        self._picture = picture
        self._stats = stats
        # Which series are there although nothing was counted: those of what is configured now.
        self._groups = {group.name for group in picture.snapshot.target_groups}
        self._targets: dict[Key, str] = {
            (group.name, target.name): target.zone
            for group in picture.snapshot.target_groups
            for target in group.targets
        }
        self._listeners = {listener.name for listener in picture.snapshot.listeners}

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._latencies()
        yield from self._actives()
        yield from self._states()
        yield from self._failures()
        yield from self._checks()
        yield from self._program()

    def _zone(self, key: Key) -> str:
        return self._targets.get(key) or self._picture.zones.get(key, "")

    def _requests(self) -> Iterator[Metric]:
        family = _Series("requests", "Finished requests, each once, by who made the status.", "counter")
        usual = CODES.index("2xx")
        for listener, group, target, cells in self._stats.hits():
            present = listener in self._listeners and (group, target) in self._targets
            if not present and not any(cells):
                continue
            zone = self._zone((group, target)) if target else ""
            labels = f'listener="{listener}",target_group="{group}",target="{target}",zone="{zone}"'
            for index, count in enumerate(cells):
                if count or (present and index == usual):
                    code, source = CODES[index % HITS_BALANCER], _SOURCES[index // HITS_BALANCER]
                    family.add(f'{labels},code="{code}",source="{source}"', count)
        yield family

    def _latencies(self) -> Iterator[Metric]:
        durations = _Series(
            "request_duration_seconds", "From the request's head to the end of its answer.", "histogram"
        )
        first_bytes = _Series(
            "upstream_first_byte_seconds", "From the request's start to the upstream's first byte.", "histogram"
        )
        received = _Series("request_bytes", "Bytes of request bodies.", "counter")
        sent = _Series("response_bytes", "Bytes of response bodies.", "counter")
        for listener, group, duration, first_byte, bytes_in, bytes_out in self._stats.flows():
            present = listener in self._listeners and group in self._groups
            labels = f'listener="{listener}",target_group="{group}"'
            if duration.total or present:
                durations.add_histogram(labels, duration)
            if first_byte.total or present:
                first_bytes.add_histogram(labels, first_byte)
            if bytes_in or present:
                received.add(labels, bytes_in)
            if bytes_out or present:
                sent.add(labels, bytes_out)
        yield from (durations, first_bytes, received, sent)

    def _actives(self) -> Iterator[Metric]:
        # Two sides in one family: a listener's, and (with the other labels) that of a target.
        requests = _Series("active_requests", "Requests inside, by listener; and at each target.", "gauge")
        connections = _Series("active_connections", "Connections of clients; and to each target.", "gauge")
        accepted = _counter("connections", "Connections accepted.", ("listener",))
        for listener, inside, connected, ever in self._stats.listeners():
            if listener in self._listeners or connected or ever:
                requests.add(f'listener="{listener}"', inside)
                connections.add(f'listener="{listener}"', connected)
                accepted.add_metric((listener,), ever)
        for group, target, inside, connected, _ in self._stats.targets():
            if (group, target) in self._targets or connected or inside:
                labels = f'target_group="{group}",target="{target}"'
                requests.add(labels, inside)
                connections.add(labels, connected)
        queued = _gauge("queued_requests", "Requests that wait in a group's queue.", "target_group")
        for group, waiting in self._stats.queued():
            if group in self._groups:
                queued.add_metric((group,), waiting)
        yield from (requests, connections, accepted, queued)

    def _states(self) -> Iterator[Metric]:
        states = _Series("target_state", "1 for the present state, 0 for the others.", "gauge")
        ratios = _gauge("zone_healthy_ratio", "The available part of a zone's weight.", "target_group zone")
        shares = _gauge("zone_share_ratio", "A zone's part of its group's traffic.", "target_group zone")
        panic = _gauge("panic", "1 while unhealthy targets serve for want of healthy ones.", "target_group")
        failovers = _counter("failovers", "Times a tier of zones lost its traffic.", ("target_group",))
        for group in self._picture.groups:
            for target in group.targets:
                labels = f'target_group="{group.name}",target="{target.name}",zone="{target.zone}"'
                for state in STATES:
                    states.add(f'{labels},state="{state.value}"', int(target.state is state))
            for zone in group.zones:
                ratios.add_metric((group.name, zone.name), zone.ratio)
                shares.add_metric((group.name, zone.name), zone.share / 100)
            panic.add_metric((group.name,), float(group.panic))
        for name, count in self._stats.failovers():
            if name in self._groups or count:
                failovers.add_metric((name,), count)
        drills = _gauge("drill_active", "1 while a zone is failed on purpose.", "zone")
        drill = self._picture.drill
        failed = drill["zone"] if drill is not None and drill["stage"] == "running" else None
        for name in sorted(set(self._targets.values())):
            drills.add_metric((name,), float(name == failed))
        yield from (states, ratios, shares, panic, failovers, drills)

    def _failures(self) -> Iterator[Metric]:
        labels = ("target_group", "reason")
        failures = _counter("failures", "Requests that failed, by reason.", labels)
        retries = _counter("retries", "Tries beyond the first, by the reason for it.", labels)
        for group, reason, failed, retried in self._stats.reasons():
            present = group in self._groups
            if failed or (present and reason == Reason.NO_HEALTHY_TARGET.word):
                failures.add_metric((group, reason), failed)
            if retried or (present and reason == Reason.CONNECT_REFUSED.word):
                retries.add_metric((group, reason), retried)
        yield from (failures, retries)

    def _checks(self) -> Iterator[Metric]:
        family = _Series("health_checks", "Probes of targets, by what they found.", "counter")
        for group, target, counts in self._stats.checks():
            present = (group, target) in self._targets
            for result, count in zip(RESULTS, counts):
                if count or (present and result is ProbeResult.OK):
                    family.add(f'target_group="{group}",target="{target}",result="{result.value}"', count)
        yield family

    def _program(self) -> Iterator[Metric]:
        picture = self._picture
        last = picture.last_reload
        yield _plain("config_version", "Accepted configurations since the start.", picture.snapshot.version)
        yield _plain("config_last_reload_success", "1 if the last configuration was taken over.", float(last.success))
        yield _plain("config_last_reload_timestamp_seconds", "When a configuration was last looked at.", last.at_wall)
        restarts = _counter("worker_restarts", "Workers that had to be replaced.", ())
        restarts.add_metric((), sum(worker.restarts for worker in picture.workers))
        yield restarts
        yield _plain("workers", "Workers that live.", sum(worker.pid != 0 for worker in picture.workers))
        dropped = _counter("access_log_dropped", "Access log lines that could not be written.", ())
        dropped.add_metric((), self._stats.head(layout.ROW_LOG_DROPPED))
        yield dropped
        full = _counter("explain_table_full", "Looks at which a request under way found no room to be noted.", ())
        full.add_metric((), self._stats.head(layout.ROW_OPEN_FULL))
        forgotten = _counter("client_keys_forgotten", "Clients forgotten for want of room, by table.", ("table",))
        tables = ((layout.RATES, "rates"), (layout.HEADER_RATES, "header_rates"), (layout.CLIENTS, "connections"))
        for kind, name in tables:
            forgotten.add_metric((name,), self._stats.head(layout.ROW_FORGOTTEN + kind))
        yield from (full, forgotten)
        buffered = _gauge("buffered_bytes", "Bytes that wait in a worker for slow clients and targets.", "worker")
        lags = _gauge("loop_lag_seconds", "How late a worker's loop runs, median of a second.", "worker")
        shed = _gauge("shed_ratio", "The part of the requests that a worker turns away.", "worker")
        for place in range(picture.snapshot.workers):
            buffered.add_metric((str(place),), self._stats.of_worker(place, layout.ROW_BUFFERED))
            lags.add_metric((str(place),), self._stats.of_worker(place, layout.ROW_LAG) / 1e6)
            shed.add_metric((str(place),), self._stats.of_worker(place, layout.ROW_SHED) / 100)
        yield from (buffered, lags, shed)
        build = InfoMetricFamily(f"{PREFIX}build", "The program.")
        build.add_metric((), {"version": picture.version, "compiled": str(picture.compiled).lower()})
        yield build


def _counter(name: str, about: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, about, labels=labels)


def _gauge(name: str, about: str, labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, about, labels=labels.split())


def _plain(name: str, about: str, value: float) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, about)
    family.add_metric((), value)
    return family
