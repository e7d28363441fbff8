"""Law tests: how large epochs become, and what is waited for."""

from __future__ import annotations

from windrow.config import Limits
from windrow.runtime.pace import Pace


def fast(limits: Limits, workers: int = 1) -> Pace:
    """A pace that has seen an epoch of 100 M events a second."""
    pace = Pace(limits, workers)
    pace.begin()
    pace.took(2_000_000, 0.02)
    return pace


def test_epochs_grow_when_the_job_is_fast_and_shrink_when_it_is_slow() -> None:
    """law: the first has 2 M rows at most, the next as many as the limits allow; with slow ones, what fits."""
    limits = Limits()
    assert Pace(limits).share(4) == (500_000, limits.epoch_bytes // 4)
    pace = fast(limits)
    assert pace.share(1)[0] == fast(limits, 2).share(1)[0] == 8_000_000
    assert (Pace(limits, 16).share(1)[0], fast(limits, 8).share(1)[0]) == (16_000_000, 32_000_000)
    for _ in range(20):
        pace.took(1_000_000, 10.0)
    assert 100_000 <= pace.share(1)[0] < 110_000
    assert Pace(Limits(epoch_rows=7)).share(1)[0] == 7


def test_a_source_that_holds_little_ahead_is_not_made_to_wait() -> None:
    """law: however large epochs may be, 200,000 rows are enough to begin one within the interval; a few are not."""
    pace = fast(Limits(interval_ms=60_000))
    assert not pace.hold(200_000)
    assert pace.hold(199_999)
    assert not fast(Limits(interval_ms=0)).hold(1)
