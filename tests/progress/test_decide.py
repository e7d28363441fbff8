"""Kind: law. Decisions about progress are pure functions with a closed set of outcomes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windrow.progress.decide import (
    Complete,
    Fresh,
    PartitionFacts,
    PartitionTime,
    Redo,
    Resume,
    combine_watermarks,
    decide_next,
    decide_start,
)
from windrow.progress.ledger import EpochInput
from windrow.units import BEFORE_TIME_US

AT = {"bids": {0: 5, 1: 9}}
PLANNED = EpochInput({"bids": {0: (5, 8), 1: (9, 9)}}, False, 7)


def test_where_a_job_starts() -> None:
    """A finished job stays finished, a range written ahead is redone, else it goes on or begins."""
    assert decide_start(0, {}, None, False) == Fresh()
    assert decide_start(3, AT, None, False) == Resume(3, AT)
    assert decide_start(3, AT, PLANNED, False) == Redo(3, AT, PLANNED)
    assert decide_start(0, {}, PLANNED, False) == Redo(0, {}, PLANNED)
    assert decide_start(0, {}, EpochInput({}), False) == Redo(0, {}, EpochInput({}))  # no input: an epoch too
    assert decide_start(3, AT, PLANNED, True) == Complete(3)


def facts(*partitions: tuple[int, int, int], bounded: bool = True) -> dict[tuple[str, int], PartitionFacts]:
    return {("bids", n): PartitionFacts(*offsets, bounded) for n, offsets in enumerate(partitions)}


def test_what_a_job_does_next() -> None:
    """run while there is something, last when bounded sources end here, even with nothing in it, else wait."""
    assert decide_next(facts((0, 5, 9), (0, 0, 0)), True) == "run"
    assert decide_next(facts((0, 9, 9), (0, 3, 3)), True) == "last"
    assert decide_next(facts((9, 9, 9), (3, 3, 3)), True) == "last"
    assert decide_next(facts((9, 9, 9), bounded=False), False) == "wait"
    assert decide_next(facts((8, 9, 9), bounded=False), False) == "run"
    assert decide_next({}, False) == "wait"


def test_partitions_that_cannot_go_on_do_not_end_a_job_quietly() -> None:
    """Law: others go on; a halted partition is no end, and when nothing else is left the job is stuck."""
    halted = PartitionFacts(4, 4, 9, True, stopped=True)
    others = {("bids", 0): PartitionFacts(0, 5, 9, True), ("bids", 1): halted}
    assert decide_next(others, True) == "run"
    assert decide_next({("bids", 0): PartitionFacts(9, 9, 9, True), ("bids", 1): halted}, True) == "stuck"
    assert decide_next({("bids", 0): PartitionFacts(9, 9, 9, False), ("bids", 1): halted}, False) == "wait"
    assert decide_next({("bids", 1): PartitionFacts(4, 4, 9, False, stopped=True)}, False) == "stuck"


offsets = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)).map(lambda t: tuple(sorted(t)))


@given(st.lists(offsets, max_size=4), st.booleans())
def test_only_a_job_with_an_end_can_be_at_its_last_epoch(parts: list[tuple[int, int, int]], bounded: bool) -> None:
    decision = decide_next(facts(*parts, bounded=bounded), bounded)
    everything = all(range_end == end for _, range_end, end in parts)
    assert (decision == "last") == (bounded and everything)
    if decision == "wait":
        assert all(start == range_end for start, range_end, _ in parts)


times = st.lists(st.builds(PartitionTime, st.integers(-50, 50), st.booleans()), max_size=5)


@given(times, st.integers(-50, 50))
def test_a_watermark_is_the_least_of_the_active_and_never_goes_back(parts: list[PartitionTime], before: int) -> None:
    combined = combine_watermarks(parts, before)
    active = [part.watermark_us for part in parts if not part.idle]
    assert combined >= before
    if active:
        assert combined == max(before, min(active))
    elif parts:
        assert combined == max([before, *(part.watermark_us for part in parts)])
    else:
        assert combined == before


def test_a_partition_that_has_never_spoken_holds_the_watermark_unless_it_is_idle() -> None:
    silent = PartitionTime(BEFORE_TIME_US, False)
    assert combine_watermarks([PartitionTime(70, False), silent], BEFORE_TIME_US) == BEFORE_TIME_US
    assert combine_watermarks([PartitionTime(70, False), PartitionTime(BEFORE_TIME_US, True)], BEFORE_TIME_US) == 70
