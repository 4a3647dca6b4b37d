"""The layout: every number has a cell of its own, and reasons and states fit where they are counted."""

from __future__ import annotations

from itertools import pairwise

import pytest

from balancer.board import histogram, layout
from balancer.model.names import STATES, ProbeResult
from balancer.model.reason import REASONS


@pytest.mark.parametrize(
    ("seconds", "edge"),
    [
        (0.0, 0.0005),
        (0.0005, 0.0005),
        (0.00050001, 0.001),
        (0.001, 0.001),
        (0.0499, 0.05),
        (1.0, 1.0),
        (1.0001, 2.5),
        (59.99, 60.0),
        (60.0, 60.0),
    ],
)
def test_a_duration_falls_in_the_first_bucket_whose_edge_is_not_below_it(seconds: float, edge: float) -> None:
    assert histogram.EDGES[histogram.bucket(seconds)] == edge


def test_what_is_longer_than_every_edge_has_a_cell_before_the_sum() -> None:
    assert histogram.bucket(60.1) == histogram.bucket(1e9) == len(histogram.EDGES)
    assert histogram.SUM == len(histogram.EDGES) + 1 == histogram.CELLS - 1


def test_edges_reach_from_half_a_millisecond_to_a_minute_in_order() -> None:
    assert histogram.EDGES[0] == 0.0005 and histogram.EDGES[-1] == 60.0
    assert list(histogram.EDGES) == sorted(set(histogram.EDGES))


def test_every_reason_can_be_counted_as_a_failure_and_as_a_retry() -> None:
    assert len(REASONS) <= layout.REASONS_RETRIES
    assert layout.REASONS_RETRIES + len(REASONS) <= min(layout.REASONS_GAUGES)


def test_every_result_of_a_probe_and_every_state_has_a_cell() -> None:
    assert len(ProbeResult) <= layout.CHECKS_BLOCK and len(STATES) <= 2**8


def test_the_parts_of_a_flow_do_not_overlap() -> None:
    starts = [layout.FLOW_DURATION, layout.FLOW_FIRST_BYTE, layout.FLOW_WHOLE, layout.FLOW_BYTES_IN]
    assert all(next_ - start >= histogram.CELLS for start, next_ in pairwise(starts))
    assert layout.FLOW_BYTES_OUT < layout.FLOW_BLOCK


def test_every_kind_of_block_says_its_size_and_its_gauges() -> None:
    assert set(layout.BLOCKS) == set(layout.GAUGES)
    for kind, gauges in layout.GAUGES.items():
        assert all(gauge < layout.BLOCKS[kind] for gauge in gauges)
