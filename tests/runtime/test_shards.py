"""How many shards a job has that was not told, and the law that results do not depend on it. Differential: DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import windrow as wr
from windrow.api.job import Job
from windrow.operators import base
from windrow.runtime import applying
from windrow.runtime.pipeline import OperatorHead, Pipeline

_BIDS = pa.table({"item": np.random.default_rng(3).integers(0, 90, 5_000), "price": np.arange(5_000) * 7 % 1_000})
_ITEMS = pa.table({"id": np.arange(60), "kind": [f"kind {number % 7}" for number in range(60)]})
_ORDER = [("window_end", "ascending"), ("n", "ascending")]


def by_kind() -> wr.Stream:
    """A join, and an aggregate of what it gives."""
    bids, items = wr.from_arrow(_BIDS, name="bids"), wr.from_arrow(_ITEMS, name="items")
    joined = bids.join(items, left_on="item", right_on="id", ttl="unbounded")
    return joined.group_by("kind").agg(n=wr.count(), most=wr.max("price"))


def shards(job: Job) -> list[int]:
    """Of each operator of a job that was opened."""
    with job:
        return [len(head.shards) for head in job._open().pipeline.operators]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("workers", "wanted"), [(1, [1, 4]), (2, [2, 4]), (5, [10, 10])])
def test_state_that_nobody_keeps_is_divided_as_suits_the_workers(workers: int, wanted: list[int]) -> None:
    assert shards(by_kind().for_each_batch(print).configured(workers=workers)) == wanted


def test_state_in_a_ledger_is_divided_the_same_on_every_machine(tmp_path: Path) -> None:
    sink = by_kind().write_log(wr.open_log(tmp_path / "log"), "kinds")
    assert shards(sink.configured(workers=1)) == shards(sink.configured(workers=5)) == [8, 8]


def test_as_many_shards_as_one_says(tmp_path: Path) -> None:
    assert shards(by_kind().for_each_batch(print).configured(shards=3)) == [3, 3]
    sink = by_kind().write_log(wr.open_log(tmp_path / "log"), "kinds")
    assert shards(sink.configured(shards=3)) == [3, 3]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_the_same_for_any_number_of_workers(workers: int) -> None:
    right = duckdb.sql("SELECT kind, count(*), max(price) FROM _BIDS JOIN _ITEMS ON item = id GROUP BY kind ORDER BY 1")
    found = by_kind().collect(workers=workers, limits=wr.Limits(epoch_rows=700)).sort_by("kind")
    assert [tuple(row.values()) for row in found.to_pylist()] == right.fetchall()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many shards operators were left with; epochs of 1,000 rows tell, and 50 rows are worth a shard."""
    monkeypatch.setattr(applying, "_TELLING_ROWS", 1_000)
    monkeypatch.setattr(applying, "_FEW_ROWS", 50)
    monkeypatch.setattr(base, "LEFT_ROWS", 1_000)
    found: list[int] = []
    keep = Pipeline.keep_shards

    def kept(pipeline: Pipeline, head: OperatorHead, shards: int) -> None:
        found.append(shards)
        keep(pipeline, head, shards)

    monkeypatch.setattr(Pipeline, "keep_shards", kept)
    return found


def by_item(keys: int) -> wr.Stream:
    """Windows of few or many keys, and how often each of their results comes: two operators, each with a watermark."""
    rows = 20_000
    times = pa.array(np.arange(rows) * 1_000).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"item": np.arange(rows) * 7_919 % keys, "time": times})
    counts = wr.from_arrow(table).watermark("time").group_by("item").window(wr.tumbling("2s")).agg(n=wr.count())
    return counts.watermark("window_end").group_by("n").window(wr.tumbling("4s")).agg(items=wr.count())


@pytest.mark.parametrize(("keys", "wanted"), [(3, [4, 4]), (150, [6, 4]), (330, [4]), (9_000, [4])])
def test_few_rows_are_left_few_shards(left: list[int], keys: int, wanted: list[int]) -> None:
    """law: of ten as many as the first epoch's rows are worth, each operator for itself; results are the same. Rows
    that are dealt while they are read are many."""
    found = by_item(keys).collect(workers=5, limits=wr.Limits(epoch_rows=2_500)).sort_by(_ORDER)
    assert left == wanted
    assert found.equals(by_item(keys).collect(workers=1, shards=3).sort_by(_ORDER))


def test_shards_that_one_asked_for_are_kept_and_few_rows_tell_nothing(left: list[int], tmp_path: Path) -> None:
    """law: neither what was said, nor what a ledger has, nor what an epoch of few rows would suggest."""
    by_item(3).collect(workers=5, shards=10, limits=wr.Limits(epoch_rows=2_500))
    by_item(3).write_log(wr.open_log(tmp_path / "log"), "most").configured(workers=5).run()
    by_item(3).collect(workers=5, limits=wr.Limits(epoch_rows=900))
    assert left == []


def test_a_shard_that_was_not_kept_does_not_hold_the_watermark(left: list[int]) -> None:
    """law: what comes after the first operator goes on while the job runs, not at its end alone."""
    sink = by_item(150).for_each_batch(lambda batch, epoch: None)
    with sink.configured(workers=5, limits=wr.Limits(epoch_rows=2_500)) as job:
        engine = job._open()
        while engine.step():
            pass
        engine.drain()
        watermarks_us = [report.watermark_us for report in engine.take_reports()]
    assert left == [6, 4]
    assert watermarks_us[-2] > 10_000_000
