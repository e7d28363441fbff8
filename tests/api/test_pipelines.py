"""Differential and oracle tests: whole pipelines through the public API, against polars over the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from polars.testing import assert_frame_equal

import windrow as wr

ROWS = 2_000


@pytest.fixture(scope="module")
def bids() -> pl.DataFrame:
    random = np.random.default_rng(5)
    return pl.DataFrame(
        {
            "auction": random.integers(0, 20, ROWS),
            "price": random.integers(1, 1_000, ROWS),
            "channel": [f"channel-{n}" for n in random.integers(0, 5, ROWS)],
            "date_time": pl.Series(np.arange(ROWS) * 10_000).cast(pl.Datetime("us", "UTC")),
        }
    )


def frame(table: pa.Table) -> pl.DataFrame:
    made = pl.from_arrow(table)
    assert isinstance(made, pl.DataFrame)
    return made


def counted(stream: wr.Stream) -> wr.Stream:
    return stream.group_by("auction").agg(bids=wr.count(), spent=wr.sum("price"))


def expected(bids: pl.DataFrame) -> pl.DataFrame:
    return bids.group_by("auction").agg(bids=pl.len().cast(pl.Int64), spent=pl.col("price").sum())


def same(left: pl.DataFrame, right: pl.DataFrame) -> None:
    assert_frame_equal(left, right.select(left.columns), check_row_order=False)


def test_polars_frames_and_arrow_tables_are_sources(bids: pl.DataFrame) -> None:
    """Differential."""
    same(frame(counted(wr.from_arrow(bids)).collect()), expected(bids))
    same(frame(counted(wr.from_arrow(bids.to_arrow())).collect()), expected(bids))
    same(frame(counted(wr.from_arrow(bids.to_arrow().to_batches(max_chunksize=100))).collect()), expected(bids))


def test_an_iterator_is_pulled_as_the_job_runs(bids: pl.DataFrame) -> None:
    """Differential."""
    stream = wr.from_arrow((part for part in bids.iter_slices(300)), schema=bids.to_arrow().schema)

    same(frame(counted(stream).collect()), expected(bids))


def test_what_is_written_to_files_is_read_from_files(bids: pl.DataFrame, tmp_path: Path) -> None:
    """Law: through every kind of file and back nothing changes."""
    kinds = schema = wr.schema(auction="int64", price="int64", channel="string", date_time="timestamp")
    wr.from_arrow(bids).write_parquet(tmp_path / "p").run()
    wr.read_parquet(str(tmp_path / "p" / "*.parquet")).write_ipc(tmp_path / "i").run()
    wr.read_ipc(str(tmp_path / "i" / "*")).write_json(tmp_path / "j").run()
    read = frame(wr.read_json(sorted((tmp_path / "j").glob("part-*")), schema=schema).collect())
    same(read, bids)

    pa.csv.write_csv(read.to_arrow(), tmp_path / "bids.csv")
    same(frame(wr.read_csv(tmp_path / "bids.csv", schema=kinds).collect()), bids)


def test_json_goes_through_a_log_and_back(bids: pl.DataFrame, tmp_path: Path) -> None:
    """Law: as JSON by key into a log, decoded again, the same rows; a topic with columns as well."""
    wr.from_arrow(bids).write_log(tmp_path, "json", key="channel", format="json", partitions=3).run()
    wr.from_arrow(bids).write_log(tmp_path, "typed", key="auction", partitions=2).run()
    schema = wr.schema(auction="int64", price="int64", channel="string", date_time="timestamp")

    same(frame(wr.read_log(tmp_path, "json", schema=schema, end="latest").collect()), bids)
    same(frame(wr.read_log(tmp_path, "typed", end="latest").collect()), bids)


def test_steps_without_state(bids: pl.DataFrame) -> None:
    """Differential: filter, with_columns, rename, drop, select, explode, union."""
    halves = pl.col("price") // 2
    stream = wr.from_arrow(bids).filter(pl.col("price") > 500, pl.col("auction") != 3).with_columns(half=halves)
    steps = stream.rename({"channel": "c"}).drop("price").select("auction", "half", parts=pl.col("c").str.split("-"))
    made = steps.explode("parts")
    plain = bids.filter(pl.col("price") > 500, pl.col("auction") != 3).with_columns(half=halves)
    plain = plain.select("auction", "half", parts=pl.col("channel").str.split("-")).explode("parts")
    same(frame(made.collect()), plain)

    parts = [wr.from_arrow(bids.slice(at, 500), name=f"part{at}") for at in range(0, ROWS, 500)]
    same(frame(counted(parts[0].union(*parts[1:])).collect()), expected(bids))


def test_texts_of_any_width_are_put_together(bids: pl.DataFrame) -> None:
    """Differential: a union of columns as they are, computed ones and literals, in either order, keyed and filtered."""
    table = bids.select("auction", "channel").to_arrow()
    plain = wr.from_arrow(table.set_column(1, "channel", table["channel"].cast(pa.string())), name="plain")
    literal = wr.from_arrow(bids.select("auction"), name="literal").with_columns(channel=pl.lit("apple"))
    computed = plain.with_columns(channel=pl.col("channel").str.to_lowercase())
    assert {stream.schema["channel"].type.name for stream in (plain, literal, computed)} == {"string", "large_string"}
    apples = bids.select("auction", channel=pl.lit("apple"))
    lower = bids.select("auction", channel=pl.col("channel").str.to_lowercase())
    same(frame(plain.union(literal).collect()), pl.concat([bids.select("auction", "channel"), apples]))
    both = literal.union(plain, computed).filter(pl.col("channel") != "Google")
    whole = pl.concat([apples, bids.select("auction", "channel"), lower]).filter(pl.col("channel") != "Google")
    same(frame(both.collect()), whole)
    sizes = frame(both.group_by("channel").agg(n=wr.count()).collect())
    same(sizes, whole.group_by("channel").agg(n=pl.len().cast(pl.Int64)))


@pytest.mark.parametrize("kind", ["polars", "arrow", "numpy"])
def test_functions_over_whole_batches(bids: pl.DataFrame, kind: str) -> None:
    """Differential: the function gets and gives what its kind says."""

    def double(batch: object) -> object:
        if isinstance(batch, pl.DataFrame):
            return batch.select(pl.col("price") * 2)
        if isinstance(batch, pa.RecordBatch):
            return pa.RecordBatch.from_pydict({"price": pa.compute.multiply(batch.column("price"), 2)})
        assert isinstance(batch, dict)
        return {"price": batch["price"] * 2}

    stream = wr.from_arrow(bids).map_batches(double, schema={"price": "int64"}, reads=["price"], kind=kind)  # type: ignore[arg-type]

    same(frame(stream.collect()), bids.select(pl.col("price") * 2))


def test_windows_of_every_kind_give_what_polars_gives(bids: pl.DataFrame) -> None:
    """Differential: tumbling and hopping; every bid is in one of the first and in five of the second."""
    timed = wr.from_arrow(bids).watermark("date_time")
    tumbling = timed.group_by("auction").window(wr.tumbling("1s")).agg(n=wr.count(), top=wr.max("price"))
    plain = bids.group_by("auction", window_start=pl.col("date_time").dt.truncate("1s"))
    plain_rows = plain.agg(n=pl.len().cast(pl.Int64), top=pl.col("price").max())
    same(frame(tumbling.collect()).drop("window_end"), plain_rows)

    hopping = timed.group_by().window(wr.hopping("1s", "200ms")).agg(n=wr.count())
    assert frame(hopping.collect())["n"].sum() == 5 * ROWS


def test_aggregates_of_every_kind(bids: pl.DataFrame) -> None:
    """Differential: filters, text, distinct values, lists and a user's own aggregate."""

    def init(state):  # type: ignore[no-untyped-def]
        state[0] = 0.0

    def update(state, value):  # type: ignore[no-untyped-def]
        state[0] += value * value

    def merge(state, other):  # type: ignore[no-untyped-def]
        state[0] += other[0]

    def finish(state):  # type: ignore[no-untyped-def]
        return state[0] ** 0.5

    norm = wr.udaf("price", init=init, update=update, merge=merge, finish=finish)
    made = wr.from_arrow(bids).group_by("auction").agg(
        cheap=wr.count().filter(pl.col("price") < 100), low=wr.min("channel"), kinds=wr.count_distinct("channel"),
        some=wr.collect_list("price", limit=3), mean=wr.mean("price"), spread=wr.stddev("price"), last=wr.last("price"),
        norm=norm,
    )  # fmt: skip
    plain = bids.group_by("auction").agg(
        cheap=(pl.col("price") < 100).sum().cast(pl.Int64), low=pl.col("channel").min(),
        kinds=pl.col("channel").n_unique().cast(pl.Int64), some=pl.col("price").head(3), mean=pl.col("price").mean(),
        spread=pl.col("price").std(), last=pl.col("price").last(),
        norm=(pl.col("price").cast(pl.Float64) ** 2).sum().sqrt(),
    )  # fmt: skip

    same(frame(made.collect()), plain)


def test_batches_come_epoch_by_epoch(bids: pl.DataFrame) -> None:
    """Law: what the loop sees is what collect gives."""
    stream = wr.from_arrow(bids).filter(pl.col("price") > 500)

    seen = pa.Table.from_batches(list(stream.batches(limits=wr.Limits(epoch_rows=300))))

    same(frame(seen), bids.filter(pl.col("price") > 500))


def test_late_events_are_a_stream(bids: pl.DataFrame) -> None:
    """Law: every event is in a window or late, and none is both."""
    shuffled = bids.sample(fraction=1.0, shuffle=True, seed=1)
    windows = wr.from_arrow(shuffled).watermark("date_time", delay="1s").group_by().window(wr.tumbling("1s"))
    counts = windows.agg(n=wr.count())
    kept: list[int] = []
    late: list[int] = []
    both = wr.job(
        counts.for_each_batch(lambda batch, epoch: kept.extend(batch.column("n").to_pylist())),
        counts.late.select("price").for_each_batch(lambda batch, epoch: late.append(batch.num_rows), name="late"),
    )
    both.run()

    assert sum(late) > 0
    assert sum(kept) + sum(late) == ROWS
