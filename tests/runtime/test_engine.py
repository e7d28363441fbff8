"""Kind: law. What a running job does, epoch by epoch."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import windrow as wr
from windrow.api.job import Job
from windrow.io.memory import MemorySink, MemorySource
from windrow.plan.nodes import SinkNode
from windrow.progress.faults import At, installed
from windrow.progress.memory import MemoryLedger
from windrow.runtime.metrics import Progress
from windrow.testing import Driver, Feed
from windrow.units import BEFORE_TIME_US

SECOND = 1_000_000
SCHEMA = {"key": "int64", "time": "timestamp"}
IDS = pa.schema([("id", pa.int64())])


def seconds(*at: float) -> dict[str, list[int]]:
    return {"key": [1] * len(at), "time": [int(s * SECOND) for s in at]}


def per_key(feed: Feed, **options: Any) -> wr.Stream:
    timed = feed.stream().watermark("time", delay="1s", **options)
    return timed.group_by("key").window(wr.tumbling("10s")).agg(n=wr.count())


def starts(rows: list[dict[str, Any]]) -> list[tuple[float, int]]:
    return sorted((row["window_start"].timestamp(), row["n"]) for row in rows)


def fill(log: wr.Log, rows: int, topic: str = "in", partitions: int = 2) -> None:
    log.create_topic(topic, partitions=partitions, schema=IDS, if_exists="ok")
    for partition in range(partitions):
        ids = pa.array(range(partition * 1_000_000, partition * 1_000_000 + rows), pa.int64())
        log.append_arrow(topic, pa.record_batch({"id": ids}), partition=partition)


def ids(log: Path, topic: str = "out") -> list[int]:
    with wr.Log(log, create=False) as opened:
        batches = [opened.read(topic, p, 0) for p in range(opened.topic(topic).partitions)]
    return sorted(value for many in batches for batch in many for value in batch.column("id").to_pylist())


def copy_job(path: Path, rows_an_epoch: int = 10, **options: Any) -> wr.Job:
    end = options.pop("end", None)
    limits = wr.Limits(epoch_rows=rows_an_epoch, interval_ms=0)
    return wr.job(wr.read_log(path, "in", end=end).write_log(path, "out"), name="copy", limits=limits, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with wr.Log(tmp_path / "log") as log:
        fill(log, 50)
    return tmp_path / "log"


# --- epochs, and when a run stops


def test_an_epoch_is_bounded_in_rows_and_run_stops_after_so_many(path: Path) -> None:
    with copy_job(path) as job:
        progress = job.run(epochs=3)
        assert (progress.epoch, progress.events) == (3, 30)
        assert job.run(epochs=2).epoch == 5  # the same job goes on
    assert len(ids(path)) == 50


def test_a_bounded_job_ends_and_stays_ended(path: Path) -> None:
    with copy_job(path, end="latest") as job:
        assert job.run().finished
        assert job.ended
        assert job.step() is None
    with wr.Log(path) as log:
        fill(log, 5)
    with copy_job(path, end="latest") as job:
        assert job.run().events == 0  # it has ended: a new name would begin again
    assert len(ids(path)) == 100


def test_caught_up_reads_what_is_there_and_no_more(path: Path) -> None:
    with copy_job(path, rows_an_epoch=33) as job:
        assert job.run(until="caught up").events == 100
        assert not job.ended
        with wr.Log(path) as log:
            fill(log, 1)
        assert job.run(until="caught up").events == 102


def test_until_a_function_says_so(path: Path) -> None:
    seen: list[int] = []

    def enough(progress: Progress) -> bool:
        seen.append(progress.events)
        return progress.events >= 40

    with copy_job(path) as job:
        assert 40 <= job.run(until=enough).events <= 60  # commits lag an epoch behind
    assert seen == sorted(seen)


def test_small_epochs_are_as_far_apart_as_the_limits_say(path: Path) -> None:
    """Law: while events trickle in, epochs begin no sooner than `interval_ms` after one another, and none is lost."""
    stop = threading.Event()

    def trickle() -> None:
        with wr.Log(path) as log:
            while not stop.wait(0.02):
                fill(log, 1)

    writer = threading.Thread(target=trickle)
    writer.start()
    try:
        limits = wr.Limits(interval_ms=500)
        with wr.job(wr.read_log(path, "in").write_log(path, "out"), name="copy", limits=limits) as job:
            progress = job.run(timeout=1.4)
    finally:
        stop.set()
        writer.join()
    assert 2 <= progress.epoch <= 4
    assert len(ids(path)) == progress.events > 100


def test_an_unknown_until_is_refused(path: Path) -> None:
    with copy_job(path) as job, pytest.raises(wr.PlanError, match="until must be"):
        job.run(until="tomorrow")  # type: ignore[arg-type]


def test_timeout_ends_a_run_that_has_nothing_to_do(path: Path) -> None:
    with copy_job(path) as job:
        begun = time.monotonic()
        assert job.run(timeout=0.3).events == 100
        assert 0.25 < time.monotonic() - begun < 5


def test_stop_from_another_thread_commits_the_epoch_it_is_in(path: Path) -> None:
    with copy_job(path) as job:
        stopper = threading.Thread(target=job.stop)
        assert 30 <= job.run(on_progress=once(lambda p: p.events >= 30, stopper.start)).events <= 100
        stopper.join()
        assert len(ids(path)) == job.progress.events
        assert job.run(until="caught up").events == 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_epoch_and_the_handlers_are_put_back(path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with copy_job(path) as job:
        progress = job.run(on_progress=once(lambda p: p.events >= 30, lambda: os.kill(os.getpid(), number)))
        assert 30 <= progress.events < 100
    assert len(ids(path)) == progress.events
    assert signal.getsignal(number) is before


def once(when: Callable[[Progress], bool], act: Callable[[], object]) -> Callable[[Progress], None]:
    done: list[bool] = []

    def on_progress(progress: Progress) -> None:
        if not done and when(progress):
            done.append(True)
            act()

    return on_progress


def test_progress_is_reported_for_every_epoch(path: Path) -> None:
    epochs: list[int] = []
    with copy_job(path, end="latest") as job:
        job.run(on_progress=lambda progress: epochs.append(progress.epoch))
        assert epochs[-1] == job.progress.epoch
        assert epochs == sorted(set(epochs))


def test_nothing_runs_before_it_is_asked(path: Path) -> None:
    job = copy_job(path)
    assert "job copy" in job.explain()
    with wr.Log(path, create=False) as log:
        assert [info.name for info in log.topics()] == ["in"]


# --- pipelining and failures


def test_the_next_epoch_is_applied_while_one_commits(path: Path) -> None:
    """The commit of the second epoch waits until the third has been applied: one after the other it never would."""
    applied = threading.Semaphore(0)
    arrivals: list[str] = []

    def handler(point: str) -> None:
        if point == "epoch.applied":
            applied.release()
        if point == "commit.begin":
            arrivals.append(point)
            if len(arrivals) == 2:
                for _ in range(3):
                    assert applied.acquire(timeout=10)

    with installed(handler), copy_job(path) as job:
        job.run(epochs=4)
    assert len(arrivals) == 4
    assert len(ids(path)) == 40


class Stumble(Exception):
    pass


def stumble() -> None:
    raise Stumble


@pytest.mark.parametrize("point", ["epoch.read", "epoch.state_taken", "commit.begin", "commit.staged", "store.begin"])
def test_after_an_error_the_same_job_goes_on_from_the_last_commit(path: Path, point: str) -> None:
    with copy_job(path, end="latest") as job:
        with installed(At(point, stumble, 3)), pytest.raises(Stumble):
            job.run()
        assert job.run().finished
    assert len(ids(path)) == 100 == len(set(ids(path)))


def test_an_error_in_the_users_function_leaves_what_is_committed(path: Path) -> None:
    calls: list[int] = []

    def twice(frame: pl.DataFrame) -> pl.DataFrame:
        calls.append(len(frame))
        if len(calls) == 5:
            raise ValueError("not today")
        return frame

    stream = wr.read_log(path, "in", end="latest").map_batches(twice)
    limits = wr.Limits(epoch_rows=10, interval_ms=0)
    with wr.job(stream.write_log(path, "out"), name="copy", limits=limits) as job:
        with pytest.raises(ValueError, match="not today"):
            job.run()
        assert job.run().finished
    assert len(ids(path)) == 100 == len(set(ids(path)))


def test_a_second_job_of_the_same_name_fences_the_first(path: Path) -> None:
    first, second = copy_job(path), copy_job(path)
    with first, second:
        assert first.step() is not None
        assert second.step() is not None
        with pytest.raises(wr.FencedError, match="taken over"):
            first.step()
        second.run(until="caught up")
    assert len(ids(path)) == 100 == len(set(ids(path)))


def test_two_jobs_of_other_names_do_not_touch_each_other(path: Path) -> None:
    limits = wr.Limits(epoch_rows=10, interval_ms=0)
    jobs = [
        wr.job(wr.read_log(path, "in").write_log(path, f"out{n}"), name=f"copy{n}", limits=limits) for n in range(2)
    ]
    with jobs[0], jobs[1]:
        for _ in range(3):
            assert all(job.step() is not None for job in jobs)
        for job in jobs:
            job.run(until="caught up")
    assert ids(path, "out0") == ids(path, "out1")


def test_state_of_another_plan_is_refused_and_says_what_changed(path: Path) -> None:
    def job(aggregate: Any, **options: Any) -> wr.Job:
        table = wr.read_log(path, "in").group_by("id").agg(n=aggregate)
        return wr.job(table.write_log(path, "counts"), name="counts", **options)

    with job(wr.count()) as first:
        first.run(until="caught up")
    with job(wr.max("id")) as other, pytest.raises(wr.StateError, match="was saved by another plan"):
        other.run(until="caught up")
    with job(wr.count(), shards=3) as other, pytest.raises(wr.StateError, match="was saved by another plan"):
        other.run(until="caught up")
    with job(wr.count(), workers=2) as same:
        assert same.run(until="caught up").events == 0


# --- event time


def test_windows_close_with_the_watermark_and_late_rows_are_counted() -> None:
    feed = Feed(SCHEMA)
    with Driver(per_key(feed)) as driver:
        feed.append(seconds(1, 9))
        assert driver.step() == []
        feed.append(seconds(11))
        assert starts(driver.step()) == [(0, 2)]
        feed.append(seconds(5, 12))
        assert driver.step() == []
        assert driver.job.progress.late_rows == 1
        assert driver.job.progress.watermark_us == 11 * SECOND
        feed.finish()
        assert starts(driver.step()) == [(10, 2)]
        assert driver.job.ended


def test_a_silent_partition_holds_windows_open_until_it_is_idle() -> None:
    for idle, closed in ((None, []), ("30s", [(0, 1)])):
        feed = Feed(SCHEMA, partitions=2)
        with Driver(per_key(feed, idle=idle)) as driver:
            feed.append(seconds(5, 15), 0)
            assert driver.step() == []
            driver.clock.advance(29 * SECOND)
            feed.append(seconds(16), 0)
            assert driver.step() == []
            driver.clock.advance(2 * SECOND)
            assert starts(driver.step()) == closed  # time alone moves the watermark


def test_all_partitions_idle_close_what_the_furthest_has_passed() -> None:
    feed = Feed(SCHEMA, partitions=2)
    with Driver(per_key(feed, idle="5s")) as driver:
        feed.append(seconds(5), 0)
        feed.append(seconds(35), 1)
        assert driver.step() == []
        driver.clock.advance(6 * SECOND)
        assert starts(driver.step()) == [(0, 1)]
        feed.append(seconds(6), 0)  # its window is closed already
        assert driver.step() == []
        assert driver.job.progress.late_rows == 1


def test_a_watermark_is_unknown_until_every_partition_has_spoken() -> None:
    feed = Feed(SCHEMA, partitions=2)
    with Driver(per_key(feed)) as driver:
        feed.append(seconds(50), 0)
        driver.step()
        assert driver.job.progress.watermark_us == BEFORE_TIME_US
        feed.append(seconds(30), 1)
        driver.step()
        assert driver.job.progress.watermark_us == 29 * SECOND


def test_a_union_has_the_time_of_the_slower_stream() -> None:
    fast, slow = Feed(SCHEMA, name="fast"), Feed(SCHEMA, name="slow")
    both = fast.stream().union(slow.stream()).watermark("time")
    with Driver(both.group_by("key").window(wr.tumbling("10s")).agg(n=wr.count())) as driver:
        fast.append(seconds(1, 99))
        assert driver.step() == []
        slow.append(seconds(2, 12))
        assert starts(driver.step()) == [(0, 2)]


def test_late_rows_are_a_stream() -> None:
    feed = Feed(SCHEMA)
    with Driver(per_key(feed).late) as driver:
        feed.append(seconds(1, 30))
        assert driver.step() == []
        feed.append(seconds(2, 31, 3))
        assert [row["time"].timestamp() for row in driver.step()] == [2, 3]


def test_windows_of_windows_close_with_the_inner_ones() -> None:
    feed = Feed(SCHEMA, partitions=2)
    inner = per_key(feed)
    outer = inner.group_by().window(wr.tumbling("20s")).agg(n=wr.sum("n"))
    with Driver(outer, shards=3) as driver:
        for partition in range(2):
            feed.append(seconds(1, 11, 19), partition)
        assert driver.step() == []
        for partition in range(2):
            feed.append(seconds(35), partition)
        rows = driver.step()
        feed.finish()
        assert starts(rows + driver.step()) == [(0, 6), (20, 2)]


def test_restarting_between_any_two_epochs_changes_nothing(tmp_path: Path) -> None:
    assert _run_in_pieces(tmp_path / "restarted", 1) == _run_in_pieces(tmp_path / "not", 100)


def _run_in_pieces(out: Path, epochs_a_process: int) -> list[list[dict[str, Any]]]:
    """Epochs of two events each, one of them often late; so many of them before the job is closed and made anew."""
    feed = Feed(SCHEMA, partitions=2)
    windows = per_key(feed)
    sinks = (windows.write_log(out, "n"), windows.late.select("key").write_log(out, "late"))
    running = wr.job(*sinks, name="job", shards=2)
    for step in range(12):
        feed.append(seconds(step * 4, step * 4 - 9), step % 2)
        assert running.step() is not None
        if step % epochs_a_process == 0:
            running.close()
            running = wr.job(*sinks, name="job", shards=2)
    running.close()
    with wr.Log(out) as log:
        rows = [[row for batch in log.read(topic, 0, 0) for row in batch.to_pylist()] for topic in ("n", "late")]
    assert all(rows)
    return rows


# --- several sinks, several workers, metrics


def test_several_sinks_share_the_read_and_commit_together(path: Path) -> None:
    source = wr.read_log(path, "in", end="latest")
    even = source.filter(pl.col("id") % 2 == 0).write_log(path, "even")
    odd = source.filter(pl.col("id") % 2 == 1).write_log(path, "odd")
    with wr.job(even, odd, limits=wr.Limits(epoch_rows=30, interval_ms=0)) as job:
        assert job.name == "even+odd"
        assert job.run().events == 100
    assert len(ids(path, "even")) == len(ids(path, "odd")) == 50


@pytest.mark.parametrize("workers", [1, 3])
def test_results_do_not_depend_on_workers(path: Path, workers: int) -> None:
    counted = wr.read_log(path, "in", end="latest").group_by(pl.col("id") % 7).agg(n=wr.count())
    table = counted.collect(workers=workers, shards=4, limits=wr.Limits(epoch_rows=13, interval_ms=0))
    assert dict(zip(*table.to_pydict().values(), strict=True)) == {
        k: sum(1 for p in (0, 1_000_000) for i in range(p, p + 50) if i % 7 == k) for k in range(7)
    }


def test_metrics_count_every_stage_and_outlive_the_job(path: Path) -> None:
    with copy_job(path, end="latest") as job:
        job.run()
        running = job.metrics()
    assert job.metrics()["stages"] == running["stages"]
    stages = running["stages"]
    assert stages["decode in"]["rows"] == 100
    assert stages["decode in"]["bytes"] > 0
    assert stages["commit"]["rows"] == 100
    assert all(stage["nanoseconds"] >= 0 for stage in stages.values())
    assert running["progress"]["events"] == 100


def test_an_iterator_is_pulled_as_the_job_runs() -> None:
    pulled: list[int] = []

    def numbers() -> Iterator[pa.RecordBatch]:
        for n in range(100):
            pulled.append(n)
            yield pa.record_batch({"id": pa.array([n], pa.int64())})

    stream = wr.from_arrow(numbers(), schema=IDS)
    batches = stream.batches(limits=wr.Limits(epoch_rows=1, interval_ms=0))
    assert next(batches).column("id").to_pylist() == [0]
    assert len(pulled) < 20
    assert sum(batch.num_rows for batch in batches) == 99


# --- a redo covers the same events


def test_a_redone_epoch_has_the_range_that_was_written_ahead() -> None:
    """For sinks outside of the ledger: the same rows under the same number, whatever has come meanwhile."""
    from windrow.runtime.engine import Engine

    source = MemorySource.partitioned([[]], bounded=False, schema=IDS)
    seen: list[tuple[int, list[int]]] = []

    def remember(batch: pa.RecordBatch, epoch: int) -> None:
        seen.append((epoch, batch.column("id").to_pylist()))

    job = wr.from_source(source).for_each_batch(remember)
    ledger = MemoryLedger()

    def engine(of: MemoryLedger) -> Engine:
        made = Engine(job.plan, of, job="job", shards=1, limits=wr.Limits(interval_ms=0))
        made.open()
        return made

    source.append(pa.record_batch({"id": pa.array([1, 2], pa.int64())}))
    first = engine(ledger)
    with installed(At("commit.staged", stumble)), pytest.raises(Stumble):
        first.step()
        first.drain()
    first.close()
    source.append(pa.record_batch({"id": pa.array([3], pa.int64())}))
    second = engine(ledger.again())
    while second.step():
        second.drain()
    second.close()
    assert seen == [(1, [1, 2]), (1, [1, 2]), (2, [3])]


def test_a_job_that_has_ended_holds_nothing_open() -> None:
    """Law: what it read and wrote is closed with its last epoch; asked again, it has ended and does nothing."""
    closed: list[str] = []

    class Watched(MemorySink):
        def close(self) -> None:
            closed.append(self.name)

    rows = wr.from_arrow(pa.table({"a": [1, 2, 3]}))
    node = SinkNode(rows.schema, False, rows._node, "kept", "memory", lambda schema, in_ledger: Watched())
    job = wr.job(Job((node,)))
    assert job.run().events == 3 and closed == ["kept"] and job.ended
    assert job.run().events == 3 and job.step() is None
    job.close()
    assert closed == ["kept"]
