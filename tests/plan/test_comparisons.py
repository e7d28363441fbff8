"""Comparing a column with a text or a whole number is done without polars: it must give what polars gives."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow import expressions
from windrow.arrow_types import from_arrow_schema
from windrow.plan.expr import IntTest, TextTest

TEXTS = st.lists(st.none() | st.sampled_from(["", "view", "viewer", "é", "日本"]), max_size=20)
FORMS = {
    "column first": lambda text: pl.col("a") == text,
    "text first": lambda text: pl.lit(text) == pl.col("a"),
    "not equal": lambda text: pl.col("a") != text,
    "with a name": lambda text: (pl.col("a") == text).alias("found"),
}
OTHERS = {
    "greater": pl.col("a") > "view",
    "two columns": pl.col("a") == pl.col("b"),
    "missing as a value": pl.col("a").eq_missing("view"),
    "upper": pl.col("a").str.to_uppercase() == "VIEW",
    "fraction": pl.col("n") == 1.5,
    "truth": pl.col("n") == pl.lit(True),
    "unsigned": pl.col("n") == pl.lit(2**63, pl.UInt64),
    "no divisor": pl.col("n") % 0 == 0,
    "divisor below zero": pl.col("n") % -3 == 0,
    "no remainder": pl.col("n") % 3 == 3,
    "less than a remainder": pl.col("n") % 3 < 2,
    "divides": 3 % pl.col("n") == 0,
    "sum": pl.col("n") + 3 == 0,
    "several": pl.col("n").is_in([1, 2]),
    "missing number as a value": pl.col("n").eq_missing(1),
    "part of it": (pl.col("a") == "view") & (pl.col("n") == 1),
    "null": pl.col("a") == pl.lit(None, pl.String),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@settings(max_examples=30, deadline=None)
@given(TEXTS, st.sampled_from(["", "view", "é"]))
def test_a_comparison_with_a_text_is_as_in_polars(
    form: str, kind: pa.DataType, texts: list[str | None], text: str
) -> None:
    """differential: nulls, empty texts and long characters, in every way in which Arrow keeps text."""
    batch = pa.record_batch({"a": pa.array(texts, pa.string()).cast(kind)})
    expr = FORMS[form](text)
    ((name, parsed),), _ = expressions.parse([expr], from_arrow_schema(batch.schema), "select")
    assert isinstance(parsed.test, TextTest)
    assert (parsed.test.column, parsed.test.value) == ("a", text)
    (found,) = expressions.evaluate(batch, [parsed])
    assert found.to_pylist() == pl.from_arrow(batch).select(expr)[name].to_list()  # type: ignore[index]


@pytest.mark.parametrize("form", OTHERS)
def test_other_comparisons_stay_with_polars(form: str) -> None:
    """law: only forms that are alike in both are recognised."""
    schema = from_arrow_schema(pa.schema([("a", pa.string()), ("b", pa.string()), ("n", pa.int64())]))
    ((_, parsed),), _ = expressions.parse([OTHERS[form]], schema, "select")
    assert parsed.test is None


INTS = st.lists(st.none() | st.integers(-9, 9) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1]), max_size=20)
INT_FORMS = {
    "equal": lambda value: pl.col("n") == value,
    "not equal": lambda value: pl.col("n") != value,
    "less": lambda value: pl.col("n") < value,
    "less or equal": lambda value: pl.col("n") <= value,
    "greater": lambda value: pl.col("n") > value,
    "greater or equal": lambda value: pl.col("n") >= value,
    "value first": lambda value: value > pl.col("n"),
    "a narrow value": lambda value: pl.col("n") >= pl.lit(value, pl.Int64),
    "remainder": lambda value: pl.col("n") % 7 == value % 7,
    "other remainder": lambda value: (pl.col("n") % 8 != value % 8).alias("odd"),
}


@pytest.mark.parametrize("form", INT_FORMS)
@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.int8(), pa.float64()])
@settings(max_examples=40, deadline=None)
@given(INTS, st.integers(-9, 9) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1]))
def test_a_comparison_with_a_whole_number_is_as_in_polars(
    form: str, kind: pa.DataType, numbers: list[int | None], value: int
) -> None:
    """differential: nulls, the ends of int64, numbers that no float has; and columns of other types."""
    fitting = [n if n is None or kind == pa.int64() or -100 < n < 100 else 1 for n in numbers]
    batch = pa.record_batch({"n": pa.array(fitting, pa.int64()).cast(kind)})
    expr = INT_FORMS[form](value)
    ((name, parsed),), _ = expressions.parse([expr], from_arrow_schema(batch.schema), "select")
    assert isinstance(parsed.test, IntTest)
    (found,) = expressions.evaluate(batch, [parsed])
    assert found.to_pylist() == pl.from_arrow(batch).select(expr)[name].to_list()  # type: ignore[index]
