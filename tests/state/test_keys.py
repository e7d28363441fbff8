"""KeyTable, row encoding and group_rows against a plain dict of Python values."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.arrow_types import from_arrow_type
from windrow.datatypes import DataType
from windrow.errors import PlanError
from windrow.state.keys import rowcode, slots
from windrow.state.keys.hashes import key_hashes
from windrow.state.keys.table import KeyTable, check_key_types, group_rows

few = settings(max_examples=40, deadline=None)


def _ints(low: int, high: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(low, high), st.integers(max(low, -3), min(high, 3)))


_TEXTS = st.one_of(st.sampled_from(["", "a", "b", "ab", "\0", "ä" * 9]), st.text(max_size=30))
_FLOATS = st.one_of(st.sampled_from([0.0, -0.0, math.nan, math.inf, 1.5]), st.floats(width=32))
_TIMES = st.integers(-(2**40), 2**40).map(lambda us: datetime(1970, 1, 1) + timedelta(microseconds=us))
VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): _ints(-(2**63), 2**63 - 1),
    pa.uint64(): _ints(0, 2**64 - 1),
    pa.int32(): _ints(-(2**31), 2**31 - 1),
    pa.uint16(): _ints(0, 2**16 - 1),
    pa.int8(): _ints(-128, 127),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    pa.timestamp("us"): _TIMES,
    pa.float64(): _FLOATS,
    pa.float32(): _FLOATS,
    pa.string(): _TEXTS,
    pa.large_string(): _TEXTS,
    pa.string_view(): _TEXTS,
    pa.binary(): st.binary(max_size=12),
    pa.decimal128(12, 2): _ints(-(10**11), 10**11).map(lambda n: Decimal(n).scaleb(-2)),
    pa.decimal128(38, 3): _ints(-(10**35), 10**35).map(lambda n: Decimal(n).scaleb(-3)),
}


@st.composite
def key_columns(draw: st.DrawFn, most: int = 3) -> list[pa.Array]:
    """Equally long columns with repeats and nulls, some of them slices that start in the middle of a byte."""
    types = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=most))
    n, skip = draw(st.integers(0, 40)), draw(st.integers(0, 9))
    columns = []
    for type_ in types:
        pool = draw(st.lists(st.one_of(st.none(), VALUES[type_]), min_size=1, max_size=8))
        picked = draw(st.lists(st.sampled_from(pool), min_size=n + skip, max_size=n + skip))
        columns.append(pa.array(picked, type_).slice(skip))
    return columns


def plain(value: Any) -> Any:
    """A Python value that is equal to another exactly when the keys are."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


def rows_of(columns: list[pa.Array]) -> list[tuple[Any, ...]]:
    return list(zip(*([plain(value) for value in column.to_pylist()] for column in columns), strict=True))


def names_of(columns: list[pa.Array]) -> list[DataType]:
    return [from_arrow_type(column.type) for column in columns]


def dense_ids(rows: list[tuple[Any, ...]]) -> list[int]:
    seen: dict[tuple[Any, ...], int] = {}
    return [seen.setdefault(row, len(seen)) for row in rows]


@few
@given(columns=key_columns(), cut=st.integers(0, 40))
def test_ids_are_those_of_a_dict(columns: list[pa.Array], cut: int) -> None:
    """oracle: ids in order of first appearance over two calls, find, and the keys back with their types."""
    table = KeyTable(names_of(columns))
    got = [*table.ids([c.slice(0, cut) for c in columns]), *table.ids([c.slice(cut) for c in columns])]
    rows = rows_of(columns)
    assert got == dense_ids(rows)
    distinct = list(dict.fromkeys(rows))
    assert len(table) == len(distinct)
    keys = table.keys()
    assert [key.type for key in keys] == [column.type for column in columns]
    assert rows_of(keys) == distinct
    for key in keys:
        key.validate(full=True)
    assert list(table.find(columns)) == got
    some = np.array(got[::-2], np.int32)
    assert rows_of(table.keys(some)) == rows[::-2]


@few
@given(columns=key_columns(), data=st.data())
def test_keep_moves_the_others_together(columns: list[pa.Array], data: st.DataObject) -> None:
    """oracle: after keep the kept keys have new ids in the old order, dropped ones are gone and can come again."""
    table = KeyTable(names_of(columns))
    table.ids(columns)
    distinct = list(dict.fromkeys(rows_of(columns)))
    mask = data.draw(st.lists(st.booleans(), min_size=len(distinct), max_size=len(distinct)))
    table.keep(np.array(mask, bool))
    kept = [row for row, keep in zip(distinct, mask, strict=True) if keep]
    assert rows_of(table.keys()) == kept
    found = table.find(columns)
    assert list(found) == [kept.index(row) if row in kept else -1 for row in rows_of(columns)]
    again = dense_ids(kept + rows_of(columns))[len(kept) :]
    assert list(table.ids(columns)) == again
    table.clear()
    assert len(table) == 0
    assert list(table.ids(columns)) == dense_ids(rows_of(columns))


@few
@given(columns=key_columns())
def test_rows_decode_to_what_was_encoded(columns: list[pa.Array]) -> None:
    """law: decode(encode(columns)) is columns; the code is as unique as the key."""
    offsets, data = rowcode.encode(columns)
    back = rowcode.decode(data, offsets[:-1], [column.type for column in columns])
    assert rows_of(back) == rows_of(columns)
    codes = [bytes(data[a:b]) for a, b in pairwise(offsets)]
    assert dense_ids([(code,) for code in codes]) == dense_ids(rows_of(columns))


@few
@given(columns=key_columns(), panes=st.lists(st.integers(0, 3), min_size=40, max_size=40), with_panes=st.booleans())
def test_group_rows_is_a_dict(columns: list[pa.Array], panes: list[int], with_panes: bool) -> None:
    """oracle: ids and first rows of a batch, with and without panes."""
    rows = rows_of(columns)
    pane_array = np.array(panes[: len(rows)], np.int64)
    if with_panes:
        rows = [(pane, *row) for pane, row in zip(panes, rows, strict=False)]
    grouped = group_rows(columns, pane_array if with_panes else None)
    assert grouped is not None
    ids, first = grouped
    assert list(ids) == dense_ids(rows)
    assert list(first) == [rows.index(row) for row in dict.fromkeys(rows)]


@pytest.mark.parametrize("kind", ["int", "pair", "string", "rows"])
@pytest.mark.parametrize("distinct", [50, 30_000])
def test_large_batches_grow_and_stay_right(kind: str, distinct: int) -> None:
    """oracle: tables that grow several times within a call, and group_rows with and without giving up."""
    rng = np.random.default_rng(5)
    numbers = rng.integers(-(2**62), 2**62, distinct)[rng.integers(0, distinct, 50_000)]
    texts = pa.array([f"key-{n}" for n in numbers])
    other = pa.array(numbers % 3)
    columns = {
        "int": [pa.array(numbers)],
        "pair": [other, pa.array(numbers)],
        "string": [texts],
        "rows": [other, texts],
    }[kind]
    expected = dense_ids(rows_of(columns))
    table = KeyTable(names_of(columns))
    assert list(table.ids(columns)) == expected
    assert list(KeyTable(names_of(columns), expected=distinct).ids(columns)) == expected
    assert table.nbytes > 8 * len(table)
    grouped = group_rows(columns)
    assert grouped is not None
    assert list(grouped[0]) == expected
    assert (group_rows(columns, limit=0.5) is None) == (distinct == 30_000)


def test_group_rows_in_many_threads() -> None:
    """law: each thread has scratch space of its own; large and small batches in any order."""
    rng = np.random.default_rng(3)
    batches = [[pa.array(rng.integers(0, most, 3_000)), pa.array(rng.integers(0, 2, 3_000))] for most in (5, 9_000) * 8]
    expected = [dense_ids(rows_of(batch)) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for grouped, ids in zip(pool.map(group_rows, batches), expected, strict=True):
            assert grouped is not None
            assert list(grouped[0]) == ids


def hostile_keys(count: int) -> np.ndarray:
    """int64 keys whose product with the first multiplier has all its upper bits zero: one slot for all of them."""
    inverse = pow(slots._GOLDEN, -1, 2**64)
    return np.array([(i * inverse) % 2**64 for i in range(count)], np.uint64).view(np.int64)


def test_keys_that_all_meet_in_one_slot() -> None:
    """oracle: keys made to collide get the right ids, and the table finds another multiplier instead of crawling."""
    keys = hostile_keys(40_000)
    twice = pa.array(np.concatenate([keys, keys[::-1]]))
    table = KeyTable([DataType("int64")])
    ids = table.ids([twice])
    assert list(ids) == [*range(40_000), *range(39_999, -1, -1)]
    assert int(table._store.slots.multiplier) != slots._GOLDEN
    grouped = group_rows([twice])
    assert grouped is not None
    assert list(grouped[0]) == list(ids)


def hostile_texts(halvings: int) -> pa.Array:
    """Keys of one `hash_bytes`: the second word of each pair takes back what bit 63 of the first has changed."""
    rng = np.random.default_rng(5)
    same = rng.integers(0, 2**64, 2 * halvings, np.uint64)
    chosen = np.arange(2**halvings, dtype=np.uint64)[:, None] >> np.arange(halvings, dtype=np.uint64) & np.uint64(1)
    texts = np.repeat(same[None, :], 2**halvings, axis=0)
    texts[:, 0::2] ^= chosen << np.uint64(63)
    texts[:, 1::2] ^= chosen * np.uint64(1 << 63 | 1 << 34)
    return pa.array([row.tobytes() for row in texts], pa.binary())


def test_texts_that_have_one_hash() -> None:
    """law: texts that were made to have one hash, which anybody can compute, meet in a table no more than others do."""
    texts = hostile_texts(13)
    assert len(set(key_hashes([texts]).tolist())) == 1
    table = KeyTable([DataType("binary")])
    assert table.ids([texts]).tolist() == list(range(len(texts)))
    grouped = group_rows([texts])
    assert grouped is not None and grouped[0].tolist() == list(range(len(texts)))
    assert table._store.slots._reseeds == 0 and not table._store.slots.overspent


def test_numbers_that_lie_close_are_placed_by_value() -> None:
    """law: wherever the range begins; what lies outside is found, and if much of that meets, all is hashed."""
    for begin in (0, -70_000, 2**62, -(2**63)):
        table = KeyTable([DataType("int64")])
        near = np.random.default_rng(7).permutation(100_000) + np.int64(begin)
        assert table.ids([pa.array(near)]).tolist() == list(range(100_000)) and table.by_value
        slots = len(table._store.slots.slots)
        alias = near[:2_000] ^ np.int64(slots << 3)  # each falls on the slot of one that is there
        far = np.append(alias, near[:5])
        assert table.ids([pa.array(far)]).tolist() == [*range(100_000, 102_000), *range(5)]
        assert table.find([pa.array(near)]).tolist() == list(range(100_000))
    spread = KeyTable([DataType("int64")])
    spread.ids([pa.array(np.arange(0, 10**7, 100))])
    texts = KeyTable([DataType("string")])
    texts.ids([pa.array([str(n) for n in range(5_000)])])
    assert not spread.by_value and not texts.by_value


def test_a_table_that_is_filled_at_once_settles_by_value() -> None:
    """law: no growth tells it to look; nulls have their id as before, and dropping keys keeps the others."""
    table = KeyTable([DataType("int64")], expected=50_001)
    keys = pa.array([*range(50_000), None])
    table.ids([keys])
    assert not table.by_value
    table.settle()
    assert table.by_value and table.find([keys]).tolist() == list(range(50_001))
    table.keep(np.arange(50_001) % 2 == 0)
    assert table.find([pa.array([0, 1, 2, None, 60_000])]).tolist() == [0, -1, 1, 25_000, -1]
    table.clear()
    assert not table.by_value and table.ids([pa.array([2**40, 7])]).tolist() == [0, 1]


def test_null_float_and_width_rules() -> None:
    """golden: null is one key, NaN is NaN, -0.0 is 0.0, and a narrower column finds the keys of a wider one."""
    table = KeyTable([DataType("double")])
    column = pa.array([None, 0.0, -0.0, math.nan, -math.nan, None, 1.0])
    assert list(table.ids([column])) == [0, 1, 1, 2, 2, 0, 3]
    ints = KeyTable([DataType("int64")])
    ints.ids([pa.array([5, 6])])
    assert list(ints.find([pa.array([6, 7, 5], pa.int8())])) == [1, -1, 0]
    strings = KeyTable([DataType("string")])
    strings.ids([pa.chunked_array([["x"], ["y", None]])])
    assert list(strings.find([pa.array(["y", None, "z"], pa.string_view())])) == [1, 2, -1]


def test_types_that_cannot_be_keys_are_named() -> None:
    """law: a PlanError says which column and what is possible."""
    with pytest.raises(PlanError, match=r"column 'tags' has type list<.*> and cannot be a key; keys can be integers"):
        check_key_types([DataType("int64"), from_arrow_type(pa.list_(pa.int64()))], ["id", "tags"])
    with pytest.raises(PlanError, match="key column 1 has type null"):
        KeyTable([DataType("null")])
