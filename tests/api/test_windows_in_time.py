"""Early and late firing and allowed lateness through the public API, by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import windrow as wr
from tests.api.test_tables import bag, replayed
from windrow.testing import Driver, Feed, ManualClock

SECOND = 1_000_000


def feed() -> Feed:
    return Feed(wr.schema(k="string", time=wr.field("timestamp", format="s")))


def counted(source: Feed, window: Any, lateness: str = "0s", delay: str = "0s") -> Any:
    timed = source.stream().watermark("time", delay=delay)
    return timed.group_by("k").window(window, allowed_lateness=lateness).agg(n=wr.count())


def give(source: Feed, *seconds: int, k: str = "a") -> None:
    source.append({"k": [k] * len(seconds), "time": [second * SECOND for second in seconds]})


def shown(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(int(row["window_start"].timestamp()), row["n"]) for row in rows]


def test_a_window_is_final_when_it_takes_no_more_rows() -> None:
    """Oracle: it comes once, after the allowed lateness, with the late rows; later ones are in `late`."""
    source = feed()
    windows = counted(source, wr.tumbling("10s"), "30s")
    steps = ((1, []), (12, []), (5, []), (39, []), (9, []), (40, [(0, 3)]), (8, []), (50, [(10, 1)]))
    with Driver(windows) as driver:
        for second, expected in steps:
            give(source, second)
            assert shown(driver.step()) == expected, second
        assert driver.job.progress.late_rows == 1


def test_late_rows_change_what_was_sent_at_the_end() -> None:
    """Oracle: nothing early; a window is sent at its end, then with every row that is not later than allowed."""
    source = feed()
    windows = counted(source, wr.tumbling("10s"), "30s")
    steps = ((1, []), (3, []), (12, [(0, 2)]), (5, [(0, 3)]), (39, [(10, 1)]), (9, [(0, 4)]), (40, [(30, 1)]), (8, []))
    with Driver(windows.current(every="close")) as driver:
        for second, expected in steps:
            give(source, second)
            assert shown(driver.step()) == expected, second
    late = feed()
    with Driver(counted(late, wr.tumbling("10s"), "30s").late) as driver:
        rows = []
        for second, _ in steps:
            give(late, second)
            rows += driver.step()
    assert [row["time"] for row in rows] == [datetime(1970, 1, 1, 0, 0, 8, tzinfo=UTC)]


def test_windows_are_sent_early_by_event_time() -> None:
    """Oracle: when the watermark passes a multiple of the interval, and at their end."""
    source = feed()
    with Driver(counted(source, wr.tumbling("60s")).current(every="20s")) as driver:
        end = ((50, []), (61, [(0, 6), (60, 1)]), (70, []))
        steps = ((1, []), (5, []), (21, [(0, 3)]), (30, []), (45, [(0, 5)]), *end)
        for second, expected in steps:
            give(source, second)
            assert shown(driver.step()) == expected, second


def test_windows_are_sent_early_by_the_clock_and_without_any_event(tmp_path: Path) -> None:
    """Crash: each minute of the clock what has changed, across a restart, and nothing when nothing has."""
    source, clock, ledger = feed(), ManualClock(5 * SECOND), str(tmp_path / "ledger")
    windows = counted(source, wr.tumbling("1h")).current(every="1m", time="processing")
    with Driver(windows, clock=clock, ledger=ledger) as driver:
        give(source, 1, 2)
        assert driver.step() == []
        clock.advance(60 * SECOND)
        assert shown(driver.step()) == [(0, 2)]
        clock.advance(60 * SECOND)
        assert driver.job.step() is None  # nothing has changed: no epoch
        give(source, 3)
        assert shown(driver.step()) == [(0, 3)]
        give(source, 4)
        assert driver.step() == []
    with Driver(windows, clock=clock, ledger=ledger) as driver:
        assert driver.step() == []
        clock.advance(60 * SECOND)
        assert shown(driver.step()) == [(0, 4)]


def test_sessions_are_sent_early_and_what_was_sent_goes_when_they_are_put_together() -> None:
    """Oracle: at multiples of event time; at their end; the rows of two that have become one go when that one comes."""
    source = feed()
    sent: dict[tuple[int, int], int] = {}
    with Driver(counted(source, wr.session("10s"), delay="15s").current(every="20s")) as driver:
        for seconds, expected in (
            ((1, 30), {(1, 11): 1}),  # watermark 15: the first has ended
            ((37,), {(1, 11): 1, (30, 47): 2}),  # 22: a multiple of 20 is passed
            ((20,), {(1, 11): 1, (30, 47): 2}),  # joined to nothing yet
            ((22, 25), {(1, 11): 1, (30, 47): 2}),  # now one session from 20 to 47; it has not ended
            ((56,), {(1, 11): 1, (20, 47): 5, (56, 66): 1}),  # 41: passed
            ((64,), {(1, 11): 1, (20, 47): 5, (56, 66): 1}),  # 49: ended, but as it was sent
            ((90,), {(1, 11): 1, (20, 47): 5, (56, 74): 2, (90, 100): 1}),  # 75: passed
        ):
            give(source, *seconds)
            for row in driver.step():
                span = (int(row["window_start"].timestamp()), int(row["window_end"].timestamp()))
                if row["op"] == "d":
                    assert sent.pop(span) == row["n"]
                else:
                    sent[span] = row["n"]
            assert sent == expected, seconds


def test_sessions_are_sent_from_their_end_on() -> None:
    """Oracle: nothing early; then with every late row; one that ends once more is another row."""
    source = feed()
    windows = counted(source, wr.session("10s"), "30s").current(every="close")
    steps = ((1, []), (5, []), (12, []), (21, []), (40, [(1, 4)]), (3, [(1, 5)]), (30, [(1, 6)]), (60, [(40, 1)]))
    with Driver(windows) as driver:
        for second, expected in steps:
            give(source, second)
            assert shown([row for row in driver.step() if row["op"] == "c"]) == expected, second


def test_count_windows_that_are_followed_from_their_end_on_are_the_final_ones() -> None:
    """Law: the same rows, as a Table."""
    source = feed()
    windows = source.stream().group_by("k").window(wr.count_window(3)).agg(n=wr.count(), last=wr.max("time"))
    with Driver(windows.current(every="close")) as closed, Driver(windows.final()) as final:
        for seconds in ((1, 2), (3, 4, 5), (6, 7, 8, 9)):
            give(source, *seconds)
            assert bag(closed.step()) == bag(final.step())


@pytest.mark.parametrize("every", ["epoch", "close", "20s"])
def test_a_grouping_follows_what_is_sent(every: str) -> None:
    """Law: the rows of a second grouping are those of what the first one has sent so far."""
    source = feed()
    windows = counted(source, wr.hopping("20s", "10s"), "1m").current(every=every)
    with Driver(windows) as sent, Driver(windows.group_by("k").agg(windows=wr.count(), n=wr.sum("n"))) as driver:
        rows: list[list[dict[str, Any]]] = []
        last: dict[Any, int] = {}
        for second in (1, 15, 3, 44, 20, 61, 2, 100, 41, 0):
            give(source, second)
            for row in sent.step():
                last[row["window_start"]] = row["n"]
            rows.append(driver.step())
    assert last and replayed(rows) == bag([{"k": "a", "windows": len(last), "n": sum(last.values())}])


def test_windows_of_windows_wait_for_the_lateness() -> None:
    """Law: a second window takes the rows of the first, which come later by the lateness; none of them is late."""
    source = feed()
    first = counted(source, wr.tumbling("10s"), "30s")
    second = first.group_by("k").window(wr.tumbling("20s")).agg(rows=wr.sum("n"), windows=wr.count())
    with Driver(second) as driver:
        rows = []
        for at in (1, 12, 25, 39, 8, 52, 21, 47, 90):
            give(source, at)
            rows += driver.step()
        assert [(row["rows"], row["windows"]) for row in rows] == [(3, 2), (3, 2), (2, 2)]
        assert driver.job.progress.late_rows == 0


def test_the_plan_says_when_windows_are_sent_and_kept() -> None:
    """Golden: lines of explain()."""
    windows = counted(feed(), wr.tumbling("10s"), "1m")
    tail = "n = count() (state bounded by the watermark - 1m)"
    lines = {
        windows: "group by [k] tumbling(10s) final, late by up to 1m: ",
        windows.current(): "group by [k] tumbling(10s) current, late by up to 1m: ",
        windows.current(every="close"): "group by [k] tumbling(10s) current from their end on, late by up to 1m: ",
        windows.current(every="5s", time="processing"): (
            "group by [k] tumbling(10s) current every 5s of processing time, late by up to 1m: "
        ),
    }
    for stream, line in lines.items():
        assert line + tail in stream.explain()


def test_what_cannot_fire_is_refused_when_it_is_built() -> None:
    """Golden: messages."""
    stream = wr.from_arrow(pa.table({"k": ["a"], "time": pa.array([0], pa.timestamp("us", "UTC"))})).watermark("time")
    group = stream.group_by("k")
    with pytest.raises(wr.PlanError, match="nothing is ever late"):
        group.window(wr.count_window(3), allowed_lateness="1s")
    with pytest.raises(wr.PlanError, match="no event is late"):
        group.window(wr.tumbling("1s", time="processing"), allowed_lateness="1s")
    with pytest.raises(wr.PlanError, match="goes by arrival"):
        group.window(wr.count_window(3)).agg(n=wr.count()).current(every="1s")  # type: ignore[union-attr]
    with pytest.raises(wr.PlanError, match="longer than zero"):
        group.window(wr.tumbling("1s")).agg(n=wr.count()).current(every="0s")  # type: ignore[union-attr]
    with pytest.raises(wr.PlanError, match="time must be"):
        group.window(wr.tumbling("1s")).agg(n=wr.count()).current(every="1s", time="wall")  # type: ignore
