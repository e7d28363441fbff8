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
