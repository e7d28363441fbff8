"""Comparing a column of text with a text is done without polars: it must give what polars gives."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow import expressions
from windrow.arrow_types import from_arrow_schema

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
    "number": pl.col("n") == 1,
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
    assert parsed.test is not None and (parsed.test.column, parsed.test.value) == ("a", text)
    (found,) = expressions.evaluate(batch, [parsed])
    assert found.to_pylist() == pl.from_arrow(batch).select(expr)[name].to_list()  # type: ignore[index]


@pytest.mark.parametrize("form", OTHERS)
def test_other_comparisons_stay_with_polars(form: str) -> None:
    """law: only the two forms that are alike in both are recognised."""
    schema = from_arrow_schema(pa.schema([("a", pa.string()), ("b", pa.string()), ("n", pa.int64())]))
    ((_, parsed),), _ = expressions.parse([OTHERS[form]], schema, "select")
    assert parsed.test is None
