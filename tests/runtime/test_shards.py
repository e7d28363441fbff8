"""How many shards a job has that was not told, and the law that results do not depend on it. Differential: DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import windrow as wr
from windrow.api.job import Job

_BIDS = pa.table({"item": np.random.default_rng(3).integers(0, 90, 5_000), "price": np.arange(5_000) * 7 % 1_000})
_ITEMS = pa.table({"id": np.arange(60), "kind": [f"kind {number % 7}" for number in range(60)]})


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
