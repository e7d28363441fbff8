"""Random events with nulls, out of order, and aggregations over them, for the tests of operators."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from tests.operators.driver import Cut
from tests.operators.recompute import Row, compute
from windrow.arrow_types import counted_values, from_arrow_type
from windrow.batch import ORIGIN, TIME, origin_of
from windrow.datatypes import BOOL, FLOAT64, INT64, STRING, TIMESTAMP, DataType, decimal
from windrow.plan.window import Aggregate, Aggregation, Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NARROW, WIDE = decimal(9, 2), decimal(30, 4)
TYPES: dict[str, DataType] = {
    "k": INT64, "s": STRING, "v": INT64, "w": FLOAT64, "ok": BOOL, "d": NARROW, "e": WIDE, "t": TIMESTAMP,
    "p": from_arrow_type(pa.struct([("first", pa.int64()), ("second", pa.float64())])),
}  # fmt: skip


def aggregate(
    name: str, function: str, column: str | None, type_: DataType, where: str | None = None, **options: Any
) -> Aggregate:
    argument = None if column is None else TYPES[column]
    return Aggregate(name, function, column, where, type_, argument, tuple(options.items()))


NUMBERS = (
    aggregate("rows", "count", None, INT64),
    aggregate("some", "count", "v", INT64, "ok"),
    aggregate("total", "sum", "v", INT64),
    aggregate("part", "sum", "v", INT64, "ok"),
    aggregate("low", "min", "v", INT64),
    aggregate("high", "max", "v", INT64, "ok"),
    aggregate("average", "mean", "v", FLOAT64),
    aggregate("weight", "sum", "w", FLOAT64),
    aggregate("least", "min", "w", FLOAT64),
    aggregate("most", "max", "w", FLOAT64, "ok"),
    aggregate("spread", "stddev", "w", FLOAT64),
    aggregate("variance", "var", "v", FLOAT64, "ok", ddof=0),
)
OTHERS = (
    aggregate("money", "sum", "d", decimal(38, 2)),
    aggregate("mean_money", "mean", "d", FLOAT64),
    aggregate("more", "sum", "e", decimal(38, 4), "ok"),
    aggregate("least_money", "min", "d", NARROW),
    aggregate("most_money", "max", "e", WIDE),
    aggregate("earliest", "min", "t", TIMESTAMP),
    aggregate("any", "max", "ok", BOOL),
    aggregate("first_v", "first", "v", INT64),
    aggregate("last_s", "last", "s", STRING, "ok"),
    aggregate("first_w", "first", "w", FLOAT64),
    aggregate("last_e", "last", "e", WIDE),
    aggregate("low_s", "min", "s", STRING),
    aggregate("high_s", "max", "s", STRING, "ok"),
)
COLLECTIONS = (
    aggregate("values", "count_distinct", "v", INT64),
    aggregate("names", "count_distinct", "s", INT64, "ok"),
    aggregate("list", "collect_list", "v", from_arrow_type(pa.list_(pa.int64())), None, limit=3),
    aggregate("words", "collect_list", "s", from_arrow_type(pa.list_(pa.string())), "ok", limit=100),
)
MORE = (
    aggregate("least_by", "arg_min", "p", INT64),
    aggregate("most_by", "arg_max", "p", INT64, "ok"),
    aggregate("together", "corr", "p", FLOAT64),
    aggregate("sample", "covar_samp", "p", FLOAT64, "ok"),
    aggregate("population", "covar_pop", "p", FLOAT64),
    aggregate("letters", "collect_set", "s", from_arrow_type(pa.list_(pa.string())), "ok", limit=4),
    aggregate("numbers", "collect_set", "v", from_arrow_type(pa.list_(pa.int64())), None, limit=100),
    aggregate("middle", "quantile", "v", FLOAT64, None, q=0.5, error=0.01, exact=True),
    aggregate("upper", "quantile", "w", FLOAT64, "ok", q=0.9, error=0.01, exact=False),
    aggregate("often", "heavy_hitters", "s", counted_values(STRING), "ok", n=3, capacity=9),
    aggregate("weights", "heavy_hitters", "w", counted_values(FLOAT64), None, n=2, capacity=200),
    aggregate("about", "approx_count_distinct", "v", INT64, None, error=0.02),
)
SETS = {"more": MORE, "numbers": NUMBERS, "others": OTHERS, "collections": COLLECTIONS, "none": ()}


def partition(
    seed: int, rows: int, number: int = 0, keys: int = 5, span: int = 2000, jitter: int = 150, nulls: float = 0.2
) -> pa.RecordBatch:
    """Events out of order by up to about `jitter` microseconds, with nulls in keys and values."""
    random = np.random.default_rng([seed, number])
    times = np.sort(random.integers(0, span, rows)) + random.integers(-jitter, jitter + 1, rows)

    def maybe(values: list[Any]) -> list[Any]:
        return [None if gone else value for value, gone in zip(values, random.random(rows) < nulls, strict=True)]

    numbers = random.integers(-50, 50, rows)
    columns = {
        "k": maybe(random.integers(0, keys, rows).tolist()),
        "s": maybe([f"s{n}" for n in random.integers(0, 9, rows)]),
        "v": maybe(numbers.tolist()),
        "w": maybe((random.integers(-5000, 5000, rows) / 8).tolist()),
        "ok": maybe((random.random(rows) < 0.6).tolist()),
        "d": maybe([Decimal(int(n)).scaleb(-2) for n in numbers]),
        "e": maybe([Decimal(int(n) * 10**20).scaleb(-4) for n in numbers]),
        "t": maybe([EPOCH + timedelta(seconds=int(n)) for n in numbers]),
    }
    from windrow.arrow_types import to_arrow_type

    columns["p"] = [
        {"first": first, "second": None if second is None else float(int(second) % 7)}
        for first, second in zip(columns["v"], columns["w"], strict=True)
    ]
    data = {name: pa.array(values, to_arrow_type(TYPES[name])) for name, values in columns.items()}
    origins = [origin_of(number, i) for i in range(rows)]
    return pa.RecordBatch.from_pydict({TIME: pa.array(times), ORIGIN: pa.array(origins, pa.int64())} | data)


def aggregation(
    window: Window | None, aggregates: tuple[Aggregate, ...] = NUMBERS, emit: str = "final", keys: str = "k"
) -> Aggregation:
    return Aggregation("agg", tuple(keys), tuple(TYPES[key] for key in keys), window, aggregates, emit)  # type: ignore[arg-type]


def us(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(left) and math.isnan(right))
    return bool(left == right)


def check_group(wanted: Aggregation, found: Row, rows: list[Row], order: Any) -> None:
    for each in wanted.aggregates:
        value = compute(each, rows, order)
        assert near(each, found[each.name], value), (found, each.name, value)


def near(wanted: Aggregate, found: Any, value: Any) -> bool:
    """As far apart as the error allows that the aggregate states."""
    if wanted.function == "quantile" and not wanted.option("exact") and value is not None:
        return bool(abs(found - value) <= wanted.option("error") * abs(value) * 1.000001)
    if wanted.function == "approx_count_distinct":
        return bool(abs(found - value) <= 2 + 5 * wanted.option("error") * value)
    return same(found, value)


def cuts(restart: bool = True) -> st.SearchStrategy[Cut]:
    return st.builds(
        Cut,
        shards=st.integers(1, 3),
        epoch_rows=st.sampled_from([15, 60, 400]),
        batch_rows=st.sampled_from([3, 40, 300]),
        restart_every=st.sampled_from([0, 1, 2, 3]) if restart else st.just(0),
        snapshot_every=st.sampled_from([0, 1, 3]),
        few_keys=st.sampled_from([0, 4096]),
        slide_from=st.sampled_from([0, 0, 30, 1 << 16]),
        seed=st.integers(0, 100),
    )
