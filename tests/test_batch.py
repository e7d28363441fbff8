"""The seam between Arrow columns and numpy views."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.state.test_keys import key_columns
from windrow.batch import ALL_VALID, bitmap, bools, take, validity, view


@given(st.lists(st.booleans() | st.none(), max_size=60), st.integers(0, 20))
def test_bits_become_bytes(values: list[bool | None], skip: int) -> None:
    """oracle: validity and bools of a column that starts anywhere in its buffers."""
    column = pa.array(values, pa.bool_()).slice(min(skip, len(values)))
    expected = column.to_pylist()
    valid = validity(column)
    if None in expected:
        assert valid.tolist() == [value is not None for value in expected]
    else:
        assert valid is ALL_VALID
    present = [bool(flag) for flag, value in zip(bools(column), expected, strict=True) if value is not None]
    assert present == [value for value in expected if value is not None]
    if len(valid):
        again = pa.Array.from_buffers(
            pa.int8(), len(valid), [bitmap(valid), pa.py_buffer(np.zeros(len(valid), np.int8))]
        )
        assert again.is_valid().to_pylist() == column.is_valid().to_pylist()


def test_a_null_column_has_no_value_that_is_valid() -> None:
    """golden"""
    assert validity(pa.nulls(3)).tolist() == [0, 0, 0]
    assert validity(pa.nulls(0)) is ALL_VALID


@given(key_columns(most=2), st.data())
def test_take_is_what_pyarrow_takes(columns: list[pa.Array], data: st.DataObject) -> None:
    """differential: every key type with nulls and slices, against a list of the same values."""
    for column in columns:
        n = len(column)
        rows = data.draw(st.lists(st.integers(0, n - 1), max_size=30)) if n else []
        taken = take(column, np.array(rows, np.int64))
        taken.validate(full=True)
        values = column.to_pylist()
        assert taken.type == column.type
        assert repr(taken.to_pylist()) == repr([values[row] for row in rows])


@pytest.mark.parametrize(
    "type_", [pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_take_of_other_types_is_left_to_pyarrow(type_: pa.DataType) -> None:
    """differential"""
    values = {"list<item: int64>": [[1], None, [2, 3]], "struct<a: int64>": [{"a": 1}, None, {"a": 2}]}.get(
        str(type_), ["x", None, "y"]
    )
    column = pa.array(values, type_)
    assert take(column, np.array([2, 1, 0, 2])).to_pylist() == [values[2], values[1], values[0], values[2]]


def test_view_of_a_slice() -> None:
    """golden"""
    assert view(pa.array([1, 2, 3]).slice(1), np.int64).tolist() == [2, 3]
    assert view(pa.array([], pa.int64()), np.int64).tolist() == []
