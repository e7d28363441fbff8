"""Rows in chunks: what is gathered between appends, merges and drops is what was put in. Law."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.batch import by_row, take_rows
from windrow.state import row_store
from windrow.state.row_store import RowStore

_SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string()), ("flag", pa.bool_()), ("list", pa.list_(pa.int32()))])


def _batch(first: int, rows: int, nulls: bool) -> pa.RecordBatch:
    numbers = range(first, first + rows)
    columns = [
        pa.array([None if nulls and i % 3 == 0 else i for i in numbers], pa.int64()),
        pa.array([None if nulls and i % 5 == 0 else f"text-{i}" for i in numbers], pa.string()),
        pa.array([i % 2 == 0 for i in numbers]),
        pa.array([[i, i + 1] for i in numbers], pa.list_(pa.int32())),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("aannntdr"), st.integers(0, 12), st.booleans()), max_size=25), st.integers(0, 9)
)
def test_rows_gathered_are_those_put_in(actions: list[tuple[str, int, bool]], few_rows: int) -> None:
    kept_few_rows, row_store._FEW_ROWS = row_store._FEW_ROWS, few_rows
    try:
        store, rows = RowStore(_SCHEMA, loose=["text"]), {}
        for action, size, nulls in actions:
            if action == "a":
                batch = _batch(store.end * 7, size, nulls)
                first = store.append(batch)
                rows |= {first + i: row for i, row in enumerate(batch.to_pylist())}
            elif action == "n":  # as row numbers into a larger column, in another order
                batch = by_row(_batch(store.end * 7, size + 3, nulls), ["text"])
                batch = take_rows(batch, np.arange(size - 1, -1, -1) + 2).slice(size // 3)
                first = store.append(batch)
                rows |= {first + i: row for i, row in enumerate(batch.to_pylist())}
            elif action == "d":
                store.drop_chunks(min(1, len(store.bounds())))
                rows = {number: row for number, row in rows.items() if number >= store.base}
            elif action == "r" and size == 0:
                store.start_at(store.end)
                rows = {}
            numbers = np.array(sorted(rows, key=lambda n: n * 31 % 17), np.int64)
            taken = pa.RecordBatch.from_arrays(store.take(_SCHEMA.names, numbers), schema=_SCHEMA)
            assert taken.to_pylist() == [rows[number] for number in numbers.tolist()]
            kept = store.rows(store.base, store.end)
            assert kept.schema.types == _SCHEMA.types and kept.to_pylist() == [rows[number] for number in sorted(rows)]
            assert store.nbytes >= 8 * len(rows)
    finally:
        row_store._FEW_ROWS = kept_few_rows
