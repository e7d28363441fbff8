"""Rows to shards: nothing is lost, order is kept, and a key's shard is the same for ever."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.state.test_keys import key_columns, rows_of
from windrow.errors import PlanError
from windrow.runtime.exchange import split
from windrow.state.keys.hashes import key_hashes
from windrow.state.keys.words import kind_of


def _batch(columns: list[pa.Array], **more: pa.Array) -> tuple[pa.RecordBatch, tuple[str, ...]]:
    names = [f"k{i}" for i in range(len(columns))]
    return pa.RecordBatch.from_arrays([*columns, *more.values()], names=[*names, *more]), tuple(names)


@settings(max_examples=40, deadline=None)
@given(columns=key_columns(), shards=st.integers(1, 40))
def test_every_row_is_in_the_shard_of_its_key(columns: list[pa.Array], shards: int) -> None:
    """law: the parts hold all rows once, in order within a part, and equal keys are in the same part."""
    n = len(columns[0])
    batch, keys = _batch(
        columns, row=pa.array(range(n), pa.int64()), tags=pa.array([[i] for i in range(n)], pa.list_(pa.int64()))
    )
    parts = split(batch, keys, shards)
    assert len(parts) == shards
    shard_of_key: dict[Any, int] = {}
    seen: list[int] = []
    for shard, part in enumerate(parts):
        if part is None:
            continue
        part.validate(full=True)
        assert part.schema == batch.schema
        assert part.num_rows > 0
        rows = part["row"].to_pylist()
        assert rows == sorted(rows)
        assert part["tags"].to_pylist() == [[row] for row in rows]
        original = rows_of([batch[name] for name in keys])
        for row, key in zip(rows, rows_of([part[name] for name in keys]), strict=True):
            assert key == original[row]
            assert shard_of_key.setdefault(key, shard) == shard
        seen += rows
    assert sorted(seen) == list(range(n))


def test_no_keys_or_one_shard_is_no_work() -> None:
    """law: the batch itself comes back; an empty one is in no shard."""
    batch = pa.record_batch({"k": [1, 2]})
    assert split(batch, (), 3) == [batch, None, None]
    assert split(batch, ("k",), 1)[0] is batch
    assert split(batch.slice(0, 0), ("k",), 2) == [None, None]


def test_all_rows_of_one_key_are_not_copied() -> None:
    """law: a batch that belongs to one shard is passed on as it is."""
    batch = pa.record_batch({"k": ["same"] * 100, "v": list(range(100))})
    assert [part for part in split(batch, ("k",), 8) if part is not None] == [batch]
    assert any(part is batch for part in split(batch, ("k",), 8))


@pytest.mark.parametrize(
    "types",
    [
        [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()],
        [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()],
        [pa.float32(), pa.float64()],
    ],
    ids=str,
)
def test_the_width_of_a_type_does_not_change_the_hash(types: list[pa.DataType]) -> None:
    """law: the same value has the same shard in each of these types."""
    values = {"bytes": ["", "a", None, "longer than eight"]}.get(str(kind_of(types[0])), [0, 1, None, 117])
    expected = key_hashes([pa.array(values, types[0])])
    for type_ in types[1:]:
        assert list(key_hashes([pa.array(values, type_)])) == list(expected)


def test_hashes_for_ever() -> None:
    """golden: state and changelogs depend on these numbers; they must never change."""
    columns = {
        "int64": pa.array([0, 1, -1, 2**62, None]),
        "string": pa.array(["", "a", "abcd", "abcdefgh", "abcdefghi", None]),
        "double": pa.array([0.0, -0.0, 1.5, math.nan, math.inf, None]),
        "decimal": pa.array([1, None], pa.decimal128(38, 2)),
    }
    got = {name: [int(h) for h in key_hashes([column])] for name, column in columns.items()}
    got["two"] = [int(h) for h in key_hashes([pa.array([1, None]), pa.array(["a", "b"])])]
    assert got == GOLDEN


GOLDEN: dict[str, list[int]] = {
    "decimal": [11017670664789640114, 4617598034216175972],
    "double": [
        16294208416658607535,
        16294208416658607535,
        15481881892811333770,
        14351126860892846918,
        2638638862653029785,
        9202493588570546565,
    ],
    "int64": [16294208416658607535, 10451216379200822465, 16490336266968443936, 47939714376772075, 9202493588570546565],
    "string": [
        16294208416658607535,
        10683692207400125010,
        12402530341620272147,
        5080419218260004490,
        2782354099894252306,
        9202493588570546565,
    ],
    "two": [4734336468129223765, 18124015027442965820],
}


def test_shards_are_even() -> None:
    """law: random and consecutive keys fill 16 shards within a few percent."""
    n = 160_000
    for keys in (np.arange(n), np.random.default_rng(1).integers(0, 2**62, n), np.arange(n) * 1_000_000):
        parts = split(pa.record_batch({"k": keys}), ("k",), 16)
        sizes = [part.num_rows for part in parts if part is not None]
        assert len(sizes) == 16
        assert max(sizes) < 1.05 * n / 16
        assert min(sizes) > 0.95 * n / 16


def test_a_key_that_cannot_be_hashed_is_refused() -> None:
    """law: the error names the type."""
    with pytest.raises(PlanError, match="key of type list"):
        split(pa.record_batch({"k": [[1], [2]]}), ("k",), 2)
