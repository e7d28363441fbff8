"""Rows with equal hashes: what is taken back is the row itself, not one whose hash it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.api.test_ranking import duck as duck_of_t
from tests.api.test_ranking import events, run
from tests.operators.test_join import duck
from windrow.errors import InvariantError
from windrow.state.joins.side import SideState
from windrow.state.keys.hashes import row_hashes
from windrow.state.keys.same import all_same, exact_ids

_USERS = ("joins.join", "joins.saved", "rankings.sort_words")


@contextmanager
def few_hashes(bits: int) -> Iterator[None]:
    """Rows have one of 2**bits hashes."""

    def few(columns: Sequence[pa.Array]) -> Any:
        return row_hashes(columns) & np.uint64((1 << bits) - 1)

    patches = [patch(f"windrow.state.{user}.row_hashes", few) for user in _USERS]
    with patches[0], patches[1], patches[2]:
        yield


def by_two(table: pa.Table, name: str, aggregates: dict[str, Any]) -> wr.Table:
    grouped = wr.from_arrow(table, name=name).group_by("id", "x").agg(**aggregates)
    assert isinstance(grouped, wr.Table)
    return grouped


@given(
    seed=st.integers(0, 10**6), how=st.sampled_from(("inner", "left", "full")), epoch=st.integers(1, 40),
    bits=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_joins_of_tables_with_many_rows_a_key(seed: int, how: str, epoch: int, bits: int) -> None:
    """differential: against DuckDB over the last rows; rows of a key differ in a number, a text or a float alone."""
    a, b = events(seed, 60, keys=3), events(seed + 1, 50, keys=3)
    left = by_two(a, "a", {"n": wr.count(), "f": wr.max("f")})
    right = by_two(b, "b", {"m": wr.count()})
    with few_hashes(bits):
        got = run(left.join(right, "id", how), epoch)  # type: ignore[arg-type]
    sides = [f"(select id, x, {more} from {name} group by all)" for name, more in (("a", "count(*) as n, max(f) as f"),
                                                                               ("b", "count(*) as m"))]  # fmt: skip
    key = "coalesce(p.id, q.id)" if how == "full" else "p.id"
    query = f"select {key} as id, p.x, p.n, p.f, q.x as y, q.m from {sides[0]} p {how} join {sides[1]} q on p.id = q.id"
    assert got == duck(query, a=a, b=b)


@pytest.mark.parametrize("bits", [0, 2])
def test_a_restored_join_finds_them_too(bits: int, tmp_path: Path) -> None:
    """differential: closed and opened after every two epochs."""
    a = events(5, 90, keys=2)
    left, right = by_two(a, "a", {"n": wr.count()}), by_two(a, "a2", {"m": wr.count()})
    with few_hashes(bits):
        got = run(left.join(right, "id"), 13, tmp_path)
    side = "(select id, x, count(*) as n from a group by all)"
    query = f"select p.id, p.x, p.n, q.x as y, q.n as m from {side} p join {side} q on p.id = q.id"
    assert got == duck(query, a=a)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 4), epoch=st.integers(1, 40), bits=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_the_first_rows_of_a_table(seed: int, n: int, epoch: int, bits: int) -> None:
    """differential: rows leave their places, others of the same hash stay."""
    table = events(seed, 80)
    counts = wr.from_arrow(table, name="t").group_by("id", "x").agg(c=wr.count(), f=wr.max("f"))
    with few_hashes(bits):
        got = run(counts.top_k(n, ["c", "x"], per="id", ties="rank", rank="rank"), epoch)
    query = (
        "with c as (select id, x, count(*) as c, max(f) as f from t group by all) select * from (select *, "
        f"rank() over (partition by id order by c desc, x desc nulls last) as r from c) where r <= {n}"
    )
    assert got == duck_of_t(query, table)


def test_a_row_that_was_never_there_is_still_refused() -> None:
    """law: also when its hash is that of a row that is; and every other row is where it was."""
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    side = SideState(schema, timed=False, bounded=False, hashed=True, counted=False)
    batch = pa.record_batch({"id": [1, 1], "text": ["a", "b"]}, schema=schema)
    ids, hashes = np.zeros(2, np.int32), np.zeros(2, np.uint64)
    side.add(batch, ids, np.empty(0, np.int64), None, hashes)
    side.link(0, 2, 1)
    wrong = pa.record_batch({"id": [1], "text": ["c"]}, schema=schema)
    with pytest.raises(InvariantError, match="never given"):
        side.take_out(ids[:1], hashes[:1], wrong.columns)
    for text, row in (("a", 0), ("b", 1)):
        right = pa.record_batch({"id": [1], "text": [text]}, schema=schema)
        assert side.take_out(ids[:1], hashes[:1], right.columns).tolist() == [row]


COLUMNS = st.lists(
    st.tuples(
        st.sampled_from([None, 0.0, -0.0, float("nan"), 1.5]),
        st.sampled_from([None, "", "a"]),
        st.sampled_from([None, [], [1], [1, None]]),
    ),
    max_size=12,
)


@given(COLUMNS)
def test_numbers_tell_rows_apart_as_equality_does(rows: list[tuple[Any, ...]]) -> None:
    """oracle: null is null, NaN is NaN, -0.0 is 0.0; lists are compared by their text."""
    types = (pa.float64(), pa.string(), pa.list_(pa.int64()))
    columns = [pa.array([row[at] for row in rows], type_) for at, type_ in enumerate(types)]
    meant = [(repr(f + 0.0) if f is not None else None, text, repr(items)) for f, text, items in rows]
    ids = exact_ids(columns).tolist() if rows else []
    assert [ids.index(i) for i in ids] == [meant.index(row) for row in meant]
    back = [column.take(pa.array(range(len(rows) - 1, -1, -1), pa.int64())) for column in columns]
    assert all_same(columns[:2], back[:2]) == ([row[:2] for row in meant] == [row[:2] for row in meant[::-1]])
