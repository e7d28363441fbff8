"""Sessions against recomputation from scratch, over any cut, and across restarts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operators.driver import Cut, run, with_watermarks
from tests.operators.events import SETS, aggregation, check_group, cuts, partition, us
from tests.operators.recompute import by_time, rows_of, sessions
from windrow.batch import ORIGIN, TIME, WATERMARK, WEIGHT
from windrow.plan.window import Window


@given(
    seed=st.integers(0, 10**6),
    gap=st.sampled_from([1, 20, 60, 5000]),
    keys=st.sampled_from(["k", "ks", ""]),
    delay=st.sampled_from([0, 40, 1000]),
    parts=st.integers(1, 3),
    aggregates=st.sampled_from(sorted(SETS)),
    emit=st.sampled_from(["final", "current", "changes"]),
    cut=cuts(),
)
@settings(max_examples=60, deadline=None)
def test_sessions_are_what_a_recomputation_gives(
    seed: int, gap: int, keys: str, delay: int, parts: int, aggregates: str, emit: str, cut: Cut
) -> None:
    """Law: whatever the cut and wherever it restarts, sessions are what the open intervals of rows connect."""
    partitions = [partition(seed, 100, number, span=3000, keys=3) for number in range(parts)]
    cut.retract = emit == "changes"
    way = "final" if emit == "final" else "current"
    wanted = aggregation(Window("session", gap_us=gap), SETS[aggregates if keys else "numbers"], way, keys)
    result = run(wanted, partitions, delay, cut)
    expected = sessions(rows_of([with_watermarks(part, delay) for part in partitions]), wanted.keys, gap)
    found = {}
    for row in result.rows():
        group = (*(row[key] for key in wanted.keys), us(row["window_start"]), us(row["window_end"]))
        if emit == "final":
            assert group not in found
        elif row.pop(WEIGHT) < 0:  # a session that has grown, or (with changes) has other aggregates: as it was sent
            assert found.pop(group) == row
            continue
        assert emit != "changes" or group not in found
        found[group] = row
    assert set(expected) == set(found)
    for group, rows in expected.items():
        check_group(wanted, found[group], rows, by_time)


@given(seed=st.integers(0, 10**6), cut=cuts(restart=False), every=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_a_restart_changes_no_output(seed: int, cut: Cut, every: int) -> None:
    """Law: epoch by epoch, outputs with restarts are those without, rows in the same order."""
    partitions = [partition(seed, 80, number) for number in range(2)]
    wanted = aggregation(Window("session", gap_us=30))
    plain = run(wanted, partitions, 60, cut)
    cut.restart_every = every
    restarted = run(wanted, partitions, 60, cut)
    assert [[row for batch in epoch for row in batch.to_pylist()] for epoch in plain.epochs] == [
        [row for batch in epoch for row in batch.to_pylist()] for epoch in restarted.epochs
    ]


def test_late_rows_are_those_whose_own_session_has_ended() -> None:
    """Law: a row is late when its time and the gap are not after its watermark."""
    part = partition(5, 300)
    expected = [row[ORIGIN] for row in with_watermarks(part, 10).to_pylist() if row[TIME] + 40 <= row[WATERMARK]]
    assert expected
    for rows in (7, 300):
        cut = Cut(epoch_rows=rows, batch_rows=rows)
        late = run(aggregation(Window("session", gap_us=40)), [part], 10, cut).late_rows()
        assert [row[ORIGIN] for row in late] == expected
