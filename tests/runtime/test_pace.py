"""Law tests: how large epochs become, what is waited for, and when several threads are used."""

from __future__ import annotations

from windrow.config import Limits
from windrow.runtime.applying import Threads
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


def test_both_ways_are_tried_and_the_better_one_is_kept_for_a_while() -> None:
    """law: several threads where they are faster by more than a little, looked at again every 16 epochs."""

    def chosen(one_ns: int, several_ns: int, epochs: int) -> list[bool]:
        threads, made = Threads(), []
        for _ in range(epochs):
            several = threads.several()
            made.append(several)
            threads.took(several, 1_000, several_ns if several else one_ns)
        return made

    assert chosen(100, 80, 20) == [False, *[True] * 16, False, True, True]
    assert chosen(100, 95, 20) == [False, True, *[False] * 15, True, False, False]


def test_what_has_become_better_is_found() -> None:
    """law: the last figure of each way counts."""
    threads = Threads()
    for several, ns in ((False, 100), (True, 200)):
        assert threads.several() is several
        threads.took(several, 1, ns)
    ways = [threads.several() for _ in range(16)]
    assert ways == [*[False] * 15, True]
    threads.took(True, 1, 50)
    assert threads.several()
