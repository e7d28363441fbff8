"""Law tests: a pipeline that cannot work says so when it is built, naming the step, the column, and what there is."""

import polars as pl
import pyarrow as pa
import pytest

import windrow as wr

EVENTS = pa.table(
    {
        "key": pa.array([1], pa.int64()),
        "text": pa.array(["x"], pa.string()),
        "price": pa.array([1.5], pa.float64()),
        "time": pa.array([0], pa.timestamp("us", "UTC")),
    }
)


@pytest.fixture
def events():
    return wr.from_arrow(EVENTS)


CASES = {
    "unknown column in filter": (lambda s: s.filter(pl.col("prise") > 1), ["filter", "prise", "price"]),
    "condition is not boolean": (lambda s: s.filter(pl.col("price") + 1), ["filter", "true or false"]),
    "unknown column in select": (lambda s: s.select("nope"), ["select", "nope", "columns there are"]),
    "drop unknown": (lambda s: s.drop("nope"), ["drop", "'nope'"]),
    "rename unknown": (lambda s: s.rename({"nope": "x"}), ["rename", "'nope'"]),
    "not row by row": (lambda s: s.select(pl.col("price").cum_sum()), ["select", "row by row", "map_batches"]),
    "hidden aggregate": (lambda s: s.select(pl.col("price") - pl.col("price").mean()), ["row by row"]),
    "python function": (
        lambda s: s.select(pl.col("key").map_elements(lambda x: x, return_dtype=pl.Int64)),
        ["Python function", "map_batches"],
    ),
    "window without time": (lambda s: s.group_by("key").window(wr.tumbling("1s")), ["event time", "watermark"]),
    "watermark of a number": (lambda s: s.watermark("price"), ["watermark", "price", "timestamp"]),
    "no aggregates": (lambda s: s.group_by("key").agg(), ["agg", "at least one"]),
    "not an aggregate": (lambda s: s.group_by("key").agg(n=pl.col("price").sum()), ["agg", "n", "wr.sum"]),
    "sum of text": (lambda s: s.group_by("key").agg(n=wr.sum("text")), ["sum", "string", "cast"]),
    "mean of time": (lambda s: s.group_by("key").agg(n=wr.mean("time")), ["mean", "timestamp"]),
    "aggregate of unknown": (lambda s: s.group_by("key").agg(n=wr.sum("nope")), ["agg(n=sum)", "nope"]),
    "group by unknown": (lambda s: s.group_by("nope"), ["group_by", "'nope'"]),
    "size no multiple of slide": (lambda s: wr.hopping("10s", "3s"), ["hopping", "multiple"]),
    "bad duration": (lambda s: wr.tumbling("ten seconds"), ["ten seconds", "10s"]),
    "empty window": (lambda s: wr.tumbling(0), ["longer than zero"]),
    "list without bound": (lambda s: wr.collect_list("key", limit=0), ["limit"]),
    "union of different": (lambda s: s.union(s.drop("text")), ["union", "differ"]),
    "union of other types": (lambda s: s.union(s.with_columns(text=pl.col("price"))), ["union", "differ"]),
    "ranked by text": (lambda s: s.top_k(3, by="text"), ["top_k", "'text'", "numbers, times or bool"]),
    "ranked by text within": (lambda s: s.top_k(1, by=pl.col("text"), per="key"), ["top_k", "numbers, times or bool"]),
    "explode of a number": (lambda s: s.explode("price"), ["explode", "price"]),
    "two columns of one name": (lambda s: s.rename({"key": "price"}), ["different names", "price"]),
    "unknown type": (lambda s: wr.schema(a="int65"), ["int65"]),
    "bad until": (lambda s: s.write_parquet("x").run(until="tomorrow"), ["until", "caught up"]),
    "table as stream": (lambda s: s.group_by("key").agg(n=wr.count()).watermark("n"), ["watermark"]),
}


@pytest.mark.parametrize("case", CASES)
def test_error_names_what_is_wrong(events, case):
    build, words = CASES[case]

    with pytest.raises(wr.PlanError) as caught:
        build(events)

    for word in words:
        assert word in str(caught.value)


def test_arrival_is_not_known_after_an_operator() -> None:
    """law: said when the job is built, not by its first epoch."""
    rows = wr.from_arrow(pa.table({"k": [1], "v": [1], "time": pa.array([0], pa.timestamp("us", "UTC"))}), name="rows")
    counts = rows.watermark("time").group_by("k").window(wr.tumbling("1s")).agg(n=wr.count())
    with pytest.raises(wr.PlanError, match="go by the order in which events arrive"):
        counts.select("k", "n").group_by("k").agg(x=wr.first("n")).collect()
    joined = rows.join(wr.from_arrow(pa.table({"k": [1], "w": [1]}), name="other"), on="k", ttl="unbounded")
    with pytest.raises(wr.PlanError, match="top_k by a column"):
        joined.group_by("k").agg(x=wr.collect_list("w", limit=2)).collect()
    assert counts.late.group_by("k").agg(x=wr.first("v")).collect().num_rows == 0


def test_a_ledger_is_a_log_or_a_path() -> None:
    """law: anything else is refused, rather than taken for the name of a folder."""
    sink = wr.from_arrow(pa.table({"k": [1]})).for_each_batch(lambda batch, epoch: None)
    with pytest.raises(wr.PlanError, match="ledger must be an embedded log or its path"):
        wr.job(sink, ledger={"a": 1})  # type: ignore[arg-type]
