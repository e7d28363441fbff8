"""Windows of processing time, by a clock that the test moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import windrow as wr
from windrow.testing import Driver, Feed, ManualClock

SECOND = 1_000_000


def counts(feed: Feed) -> wr.Stream:
    windows = feed.stream().group_by("k").window(wr.tumbling("10s", time="processing"))
    return windows.agg(n=wr.count())


def shown(rows: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return sorted((row["k"], int(row["window_start"].timestamp()), row["n"]) for row in rows)


def test_windows_close_by_the_clock_alone() -> None:
    """Law: a window has the rows that were read in it, and closes without any further event."""
    feed = Feed(wr.schema(k="string"))
    with Driver(counts(feed)) as driver:
        driver.clock.advance(3 * SECOND)
        feed.append({"k": ["a", "b"]})
        assert driver.step() == []
        driver.clock.advance(6 * SECOND)
        feed.append({"k": ["a"]})
        assert driver.step() == []
        driver.clock.advance(1 * SECOND)
        assert shown(driver.step()) == [("a", 0, 2), ("b", 0, 1)]


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    """Law: rows that come while the clock is behind belong to the window that is open."""
    feed = Feed(wr.schema(k="string"))
    with Driver(counts(feed)) as driver:
        driver.clock.advance(21 * SECOND)
        feed.append({"k": ["a"]})
        assert driver.step() == []
        driver.clock.advance(-15 * SECOND)
        feed.append({"k": ["a"]})
        assert driver.step() == []
        feed.finish()
        assert shown(driver.step()) == [("a", 20, 2)]
        assert driver.job.progress.late_rows == 0


def test_a_restart_goes_on_in_the_same_window(tmp_path: Path) -> None:
    """Crash: what was counted before a new process took over is counted, and not twice."""
    feed, ledger, clock = Feed(wr.schema(k="string")), str(tmp_path / "ledger"), ManualClock(4 * SECOND)
    with Driver(counts(feed), clock=clock, ledger=ledger) as driver:
        feed.append({"k": ["a", "a"]})
        assert driver.step() == []
    clock.advance(3 * SECOND)
    with Driver(counts(feed), clock=clock, ledger=ledger) as driver:
        feed.append({"k": ["a"]})
        assert driver.step() == []
        clock.advance(3 * SECOND)
        assert shown(driver.step()) == [("a", 0, 3)]
