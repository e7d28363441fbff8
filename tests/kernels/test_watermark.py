"""Oracle tests: the watermark kernels against plain Python."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import watermark as oracle
from windrow.kernels import watermark

times = st.lists(st.integers(-1_000, 1_000), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1_000, 1_000), min_size=1, max_size=60), st.integers(0, 200), st.integers(1, 80))
def test_scan_counts_events_behind_those_before_them(values, delay, repeated):
    """Repeated, so that there are several blocks, and one that is not full."""
    bounds = np.zeros(2, np.int64)
    many = [value + 300 * n for n in range(repeated) for value in values]

    behind = watermark.watermark_scan(np.array(many, np.int64), delay, bounds)

    assert (behind, *bounds.tolist()) == oracle.watermark_scan(many, delay)


@settings(max_examples=60, deadline=None)
@given(times, st.integers(0, 200), st.integers(-1_000, 1_000))
def test_before_gives_the_watermark_that_each_event_met(values, delay, highest):
    marks = np.zeros(len(values), np.int64)

    newest = watermark.watermark_before(np.array(values, np.int64), delay, highest, marks)

    assert (marks.tolist(), newest) == oracle.watermark_before(values, delay, highest)
