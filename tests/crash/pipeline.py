"""The job that dies: several sinks of every kind over one input, all of them exactly-once but one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

import windrow as wr
from tests.crash.events import Event

SCHEMA = wr.schema(id="int64", key="int64", word="string", value="int64", time=wr.field("timestamp", format="us"))
JOB = "life"


def lay_input(root: Path, events: Sequence[Sequence[Event]]) -> None:
    """Make the log with the topic "events": JSON, some of it broken."""
    with wr.Log(root / "main", segment_bytes=8_000) as log:
        log.create_topic("events", partitions=len(events))
        for partition, rows in enumerate(events):
            for first in range(0, len(rows), 67):
                texts = [event.text for event in rows[first : first + 67]]
                log.append("events", texts, partition=partition)


def make_job(root: Path, *, workers: int, epoch_rows: int, record: Callable[[pa.RecordBatch, int], None]) -> wr.Job:
    """The job of a life in `root`."""
    main, other = root / "main", root / "other"
    events = wr.read_log(main, "events", schema=SCHEMA, end="latest", dead_letter="rejected")
    timed = events.watermark("time", delay="4s")
    tumbling = timed.group_by("key").window(wr.tumbling("10s"))
    tumbled = tumbling.agg(n=wr.count(), total=wr.sum("value"), top=wr.max("value"))
    hopped = timed.group_by("word").window(wr.hopping("10s", "5s")).agg(n=wr.count(), low=wr.min("value"))
    totals = events.group_by("word").agg(n=wr.count(), total=wr.sum("value"))
    plain = timed.filter(pl.col("value") % 3 != 0).select("id", "key", doubled=pl.col("value") * 2)
    called = timed.filter(pl.col("value") % 5 == 0).select("id", "value")
    sinks = [
        plain.write_log(main, "plain", key="key", partitions=2),
        tumbled.write_log(main, "tumbling", key="key", partitions=2),
        tumbled.late.select("id", "key").write_log(main, "late"),
        totals.write_log(main, "totals"),
        hopped.write_log(other, "hopping"),
        called.for_each_batch(record),
        plain.write_json(root / "files"),
    ]
    limits = wr.Limits(epoch_rows=epoch_rows, interval_ms=0)
    return wr.job(*sinks, name=JOB, ledger=main, workers=workers, shards=3, limits=limits)


class Recorder:
    """Writes down what `for_each_batch` gives, line by line, in a file that outlives the process."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        self.attempt = attempt

    def record(self, batch: pa.RecordBatch, epoch: int) -> None:
        rows: list[Any] = [list(row.values()) for row in batch.to_pylist()]
        os.write(self._file, (json.dumps([self.attempt, epoch, rows]) + "\n").encode())
