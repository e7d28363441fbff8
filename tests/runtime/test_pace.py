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


def chosen(workers: int, one_ns: int, several_ns: int, epochs: int) -> list[bool]:
    """For each epoch whether several threads are used, where a row takes so long."""
    threads, made = Threads(workers), []
    for _ in range(epochs):
        several = threads.several(1_000)
        made.append(several)
        threads.took(several, 1_000, 1_000 * (several_ns if several else one_ns))
    return made


def test_both_ways_are_tried_and_the_better_one_is_kept() -> None:
    """law: several threads where they are faster by more than a little; to look again costs a fiftieth."""
    assert chosen(2, 100, 80, 9) == [False, *[True] * 7, False]
    assert chosen(2, 100, 95, 9) == [False, True, *[False] * 5, True, False]
    tries = chosen(2, 100, 40, 1_000)[2:].count(False)
    assert 0 < tries * (100 - 40) <= 1.2 * 1_000 * 40 / 50


def test_many_workers_do_not_wait_for_one_to_show_how_long_it_takes_alone() -> None:
    """law: from three on several begin, and one is tried when its epoch is a fiftieth of what there was."""
    made = chosen(16, 1_000, 100, 1_000)
    assert False not in made[:300]
    assert False in made
    assert chosen(3, 100, 90, 2)[0]


def test_what_has_become_better_is_found() -> None:
    """law: the last figure of each way counts."""
    threads = Threads(2)
    for several, ns in ((False, 100), (True, 200)):
        assert threads.several(1) is several
        threads.took(several, 1, ns)
    tried = 0
    while not threads.several(1):
        threads.took(False, 1, 100)
        tried += 1
    assert 50 < tried < 80
    threads.took(True, 1, 50)
    assert threads.several(1)
