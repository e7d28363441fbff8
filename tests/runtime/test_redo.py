"""Crash tests: an epoch that is done again gives the same rows, also when the world has moved on in between."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import windrow as wr
from windrow.testing import At, ManualClock, installed

SCHEMA = pa.schema([("key", pa.int64()), ("time", pa.timestamp("us", "UTC"))])
Taken = list[tuple[int, list[dict[str, object]]]]


class Died(Exception):
    """Stands for the end of a process."""


def _die() -> None:
    raise Died


def _rows(keys: list[int], times: list[int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(keys), pa.array(times).cast(SCHEMA.field("time").type)], schema=SCHEMA)


def _job(path: Path, clock: ManualClock, taken: Taken, end: str | None) -> wr.Job:
    def take(batch: pa.RecordBatch, epoch: int) -> None:
        taken.append((epoch, batch.to_pylist()))

    stream = wr.read_log(path, "in", end=end).watermark("time", idle="10s")  # type: ignore[arg-type]
    counted = stream.group_by("key").window(wr.tumbling("1ms")).agg(n=wr.count())
    return wr.job(counted.for_each_batch(take), ledger=path, name="job", clock=clock)


def _log(path: Path) -> wr.Log:
    log = wr.Log(path)
    log.create_topic("in", partitions=2, schema=SCHEMA)
    return log


def test_the_end_that_was_seen_stays_the_end(tmp_path: Path) -> None:
    """The epoch that closed everything does so again, though the topic has grown since."""
    clock, taken = ManualClock(), []  # type: ignore[var-annotated]
    with _log(tmp_path) as log:
        log.append_arrow("in", _rows([1, 2], [100, 5_000]), partition=0)
        with installed(At("commit.staged", _die)), pytest.raises(Died):
            _job(tmp_path, clock, taken, "latest").run()
        log.append_arrow("in", _rows([1, 2], [9_000, 9_500]), partition=1)
        with _job(tmp_path, clock, taken, "latest") as again:
            again.run()

    assert [epoch for epoch, _ in taken] == [1, 1]
    assert taken[0] == taken[1]


def test_idleness_is_what_it_was(tmp_path: Path) -> None:
    """A window that closed because a partition had been silent closes in the redo, by the time it was then."""
    clock, taken = ManualClock(), []  # type: ignore[var-annotated]
    with _log(tmp_path) as log:
        log.append_arrow("in", _rows([1], [100]), partition=1)
        with _job(tmp_path, clock, taken, None) as first:
            first.step()
            clock.advance(11_000_000)
            log.append_arrow("in", _rows([2, 2], [200, 5_000]), partition=0)
            with installed(At("commit.staged", _die)), pytest.raises(Died):
                first.step()
        assert taken, "the silent partition does not hold the window open"
        with _job(tmp_path, clock, taken, None) as again:
            again.step()

    assert taken[0] == taken[1]
