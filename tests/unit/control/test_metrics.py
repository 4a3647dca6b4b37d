"""What is counted on the board comes out by name."""

from __future__ import annotations

from dataclasses import replace

from balancer.board import histogram, layout, slots
from balancer.board.board import Board
from balancer.control import metrics
from balancer.control.facts import Instant
from balancer.control.picture import LastReload, Picture
from balancer.control.stats import Stats
from balancer.model.reason import REASON_CODES, Reason
from balancer.model.snapshot import Forward, Listener, Match, Rule, Snapshot
from tests.support.metrics import Metrics
from tests.unit.control.scene import board, group, target

RULES = (Rule("rules[0]", Match(), Forward((("demo", 1),))),)
BASE = Snapshot(
    version=3,
    workers=2,
    listeners=(Listener("web", "127.0.0.1:80", rules=RULES),),
    target_groups=(group(target("a", "zone-a"), target("b", "zone-b")),),
)
SNAPSHOT = replace(BASE, slots=slots.assign(slots.keys(BASE), {}))


def scrape(made: Board, snapshot: Snapshot = SNAPSHOT, zones: dict[tuple[str, str], str] | None = None) -> Metrics:
    at = Instant(1.0, 2.0)
    picture = Picture(at, "1.0", snapshot, "", 2.0, LastReload(), 1, 2.0, zones=zones or {})
    body, content_type = metrics.render(picture, Stats(made, snapshot.slots, snapshot.workers), "")
    assert content_type.startswith("text/plain")
    return Metrics.parse(body.decode())


def test_rows_of_all_workers_are_added_up_and_no_others() -> None:
    with board() as made:
        hits = SNAPSHOT.slots["hits|web|demo|a"]
        for place, count in ((0, 3), (1, 4), (2, 100)):
            made.row(place)[hits + 1] = count
        made.row(0)[hits + layout.HITS_BALANCER + 4] = 2
        seen = scrape(made)
        labels = {"listener": "web", "target_group": "demo", "target": "a", "zone": "zone-a"}
        assert seen.sum("requests_total", code="2xx", source="upstream", **labels) == 7
        assert seen.sum("requests_total", code="5xx", source="balancer", **labels) == 2
        assert seen.select("requests_total", target="b") == {
            frozenset({**labels, "target": "b", "zone": "zone-b", "code": "2xx", "source": "upstream"}.items()): 0.0
        }


def test_a_request_without_target_has_empty_labels() -> None:
    with board() as made:
        made.row(0)[SNAPSHOT.slots["hits|web||"] + layout.HITS_BALANCER + 3] = 5
        labels = {"target_group": "", "target": "", "zone": "", "code": "4xx", "source": "balancer"}
        assert scrape(made).sum("requests_total", **labels) == 5


def test_durations_are_cumulative_and_sum_up() -> None:
    with board() as made:
        flow = SNAPSHOT.slots["flow|web|demo"] + layout.FLOW_DURATION
        for seconds in (0.0004, 0.0005, 0.003, 100.0):
            made.row(1)[flow + histogram.bucket(seconds)] += 1
            made.row(1)[flow + histogram.SUM] += round(seconds * 1e6)
        seen = scrape(made).by("le", "request_duration_seconds_bucket", target_group="demo")
        assert [seen[edge] for edge in ("0.0005", "0.001", "0.005", "60.0", "+Inf")] == [2, 2, 3, 3, 4]
        assert scrape(made).sum("request_duration_seconds_count", target_group="demo") == 4
        assert scrape(made).sum("request_duration_seconds_sum", target_group="demo") == 100.0039


def test_failures_and_retries_have_their_reason_and_a_usual_one_is_there_with_zero() -> None:
    with board() as made:
        at = SNAPSHOT.slots["reasons|demo"]
        made.row(0)[at + REASON_CODES[Reason.CONNECT_TIMEOUT]] = 2
        made.row(0)[at + layout.REASONS_RETRIES + REASON_CODES[Reason.RESCUE]] = 3
        seen = scrape(made)
        assert seen.by("reason", "failures_total") == {"connect_timeout": 2, "no_healthy_target": 0}
        assert seen.by("reason", "retries_total") == {"rescue": 3, "connect_refused": 0}


def test_each_bound_says_when_it_is_reached() -> None:
    with board() as made:
        for place, waiting in ((0, 3), (1, 4)):
            made.row(place)[SNAPSHOT.slots["reasons|demo"] + layout.REASONS_QUEUED] = waiting
            made.row_head(place)[layout.ROW_OPEN_FULL] = 1
        made.row_head(1)[layout.ROW_FORGOTTEN + layout.CLIENTS] = 5
        seen = scrape(made)
        assert seen.by("target_group", "queued_requests") == {"demo": 7}
        assert seen.sum("explain_table_full_total") == 2
        assert seen.by("table", "client_keys_forgotten_total") == {"rates": 0, "header_rates": 0, "connections": 5}


def test_what_was_counted_for_a_target_that_is_gone_stays_with_its_zone() -> None:
    with board() as made:
        made.row(0)[SNAPSHOT.slots["hits|web|demo|b"] + 1] = 9
        left = replace(BASE, target_groups=(group(target("a", "zone-a")),), slots=SNAPSHOT.slots)
        seen = scrape(made, left, {("demo", "b"): "zone-b"})
        assert seen.sum("requests_total", target="b", zone="zone-b") == 9
        assert seen.select("active_requests", target="b") == {}


def test_probes_are_counted_in_controls_own_row() -> None:
    with board() as made:
        made.row(layout.CONTROL_PLACE)[SNAPSHOT.slots["checks|demo|a"] + 1] = 4
        seen = scrape(made).by("result", "health_checks_total", target="a")
        assert seen == {"ok": 0, "refused": 4}


def test_the_listener_side_and_the_target_side_are_told_apart() -> None:
    with board() as made:
        made.row(0)[SNAPSHOT.slots["listener|web"] + layout.LISTENER_ACTIVE] = 2
        made.row(1)[SNAPSHOT.slots["target|demo|a"] + layout.TARGET_ACTIVE] = 1
        seen = scrape(made)
        assert seen.select("active_requests", listener="web") == {frozenset({("listener", "web")}): 2}
        assert seen.sum("active_requests", target_group="demo") == 1


def test_a_gauge_that_fell_below_zero_shows_nothing_and_hides_no_other_worker() -> None:
    with board() as made:
        target, listener = SNAPSHOT.slots["target|demo|a"], SNAPSHOT.slots["listener|web"]
        for cell in (target + layout.TARGET_ACTIVE, listener + layout.LISTENER_ACTIVE):
            made.row(0)[cell] = 2**64 - 1
        seen = scrape(made)
        assert seen.sum("active_requests") == 0
        made.row(1)[target + layout.TARGET_ACTIVE] = 3
        assert scrape(made).sum("active_requests", target="a") == 2
        assert Stats(made, SNAPSHOT.slots, 2).active("demo", "a") == 2
