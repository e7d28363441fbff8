"""Kernels that everything else stands on: grouping, hashing, row encoding, gathering; and the tables made of them.

Keys are random 62-bit ints: regular ones can make a multiplicative hash free of collisions and figures up to three
times too good. Each grouping figure comes with its extra probes a row.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.batch import ALL_VALID, Int64s, rows_where, same_text, take, test_of_ints
from windrow.datatypes import FLOAT64, INT64, STRING, DataType
from windrow.kernels import grouping, hashing
from windrow.runtime.exchange import split
from windrow.state.keys import rowcode as row_encoding
from windrow.state.keys.slots import Slots
from windrow.state.keys.table import KeyTable, group_rows

_BATCH = 65_536


def _sum(*arrays: np.ndarray) -> str:
    return f"{sum(zlib.crc32(np.ascontiguousarray(array)) for array in arrays):x}"


def _keys(rng: np.random.Generator, distinct: int, rows: int) -> tuple[Int64s, Int64s]:
    """All different keys, and a drawing of `rows` of them."""
    pool = np.unique(rng.integers(0, 2**62, distinct))
    rng.shuffle(pool)
    return pool, pool[rng.integers(0, len(pool), rows)]


def _int64_table(pool: Int64s) -> tuple[Slots, Int64s]:
    slots = Slots(expected=len(pool))
    group_keys = np.empty(slots.room, np.int64)
    slots.allow(len(pool))
    ids = np.empty(len(pool), np.int32)
    grouping.group_int64(
        pool, ALL_VALID, 0, slots.multiplier, slots.shift, 1, slots.state, slots.slots, group_keys, ids
    )
    return slots, group_keys


@benchmark(
    "kernels_grouping",
    "keys to dense ids with a table that is already built",
    kernels=("grouping.group_int64", "grouping.group_int64x2", "grouping.rehash", "grouping.first_rows"),
)
def kernels_grouping(scale: float) -> list[Measured]:
    """Rows a second for 1 k to 8 M different keys, in batches of 65 536 rows."""
    rng = np.random.default_rng(11)
    lines = []
    for name, distinct in (("1k", 1_000), ("100k", 100_000), ("1M", 1_000_000), ("8M", 8_000_000)):
        wanted = max(1_000, int(distinct * min(1.0, 10 * scale)))
        pool, keys = _keys(rng, wanted, max(_BATCH, int(4_000_000 * scale)))
        lines += _grouping(name, pool, keys)
    return [*lines, _first_rows(rng)]


def _grouping(name: str, pool: Int64s, keys: Int64s) -> list[Measured]:
    slots, known = _int64_table(pool)
    panes, no_panes = np.zeros(len(keys), np.int64), np.zeros(len(known), np.int64)
    ids = np.empty(len(keys), np.int32)
    parts = [slice(at, at + _BATCH) for at in range(0, len(keys), _BATCH)]

    def one_word() -> None:
        slots.state[2] = 0
        for part in parts:
            grouping.group_int64(
                keys[part], ALL_VALID, 0, slots.multiplier, slots.shift, 0, slots.state, slots.slots, known, ids[part]
            )

    def two_words() -> None:
        slots.state[2] = 2**62
        for part in parts:
            grouping.group_int64x2(
                panes[part], keys[part], 0, slots.multiplier, slots.shift,
                slots.state, slots.slots, no_panes, known, ids[part],
            )  # fmt: skip

    seconds = median_seconds(one_word)
    probes = {"extra_probes_per_row": round(-int(slots.state[2]) / len(keys), 3)}
    lines = [Measured(len(keys), keys.nbytes, seconds, _sum(ids), f"int64, {name} keys", extra=probes)]
    seconds = median_seconds(two_words)
    lines.append(Measured(len(keys), 2 * keys.nbytes, seconds, _sum(ids), f"(pane, int64), {name} keys"))
    words = known.view(np.uint64)
    seconds = median_seconds(
        lambda: grouping.rehash(words, slots.groups, -1, slots.multiplier, slots.shift, slots.slots), 3
    )
    lines.append(Measured(len(pool), pool.nbytes, seconds, _sum(slots.slots), f"rehash, {name} keys"))
    return lines


def _first_rows(rng: np.random.Generator) -> Measured:
    seen: dict[int, int] = {}
    ids = np.array([seen.setdefault(n, len(seen)) for n in rng.integers(0, 5_000, _BATCH).tolist()], np.int32)
    first = np.empty(len(seen), np.int64)
    seconds = median_seconds(lambda: grouping.first_rows(ids, 0, len(first), first))
    return Measured(len(ids), ids.nbytes, seconds, _sum(first), "first rows of 5k groups")


@benchmark(
    "kernels_keys",
    "key tables over Arrow columns: ids, restore, grouping of a batch",
    kernels=("grouping.group_bytes", "hashing.float_bits", "hashing.secret_hash_bytes"),
)
def kernels_keys(scale: float) -> list[Measured]:
    """KeyTable.ids and group_rows for int, string and compound keys; a restore of 8 tables."""
    rng = np.random.default_rng(12)
    lines = []
    for name, distinct in (("1k", 1_000), ("1M", max(1_000, int(1_000_000 * scale)))):
        pool, drawn = _keys(rng, distinct, 8 * _BATCH)
        for kind, (make, types) in _KINDS.items():
            lines += _keyed(f"{kind}, {name} keys", types, make(pool), make(drawn))
    return [*lines, _restore(rng, max(1_000, int(1_250_000 * scale)))]


_KINDS: dict[str, tuple[Callable[[Int64s], list[pa.Array]], list[DataType]]] = {
    "int64": (lambda keys: [pa.array(keys)], [INT64]),
    "float64": (lambda keys: [pa.array(keys.astype(np.float64))], [FLOAT64]),
    "string": (lambda keys: [pa.array(keys).cast(pa.string())], [STRING]),
    "(int64, int64)": (lambda keys: [pa.array(keys % 7), pa.array(keys)], [INT64, INT64]),
}


def _keyed(name: str, types: list[DataType], pool: list[pa.Array], drawn: list[pa.Array]) -> list[Measured]:
    table = KeyTable(types)
    table.ids(pool)
    rows = len(drawn[0])
    parts = [[column.slice(at, _BATCH) for column in drawn] for at in range(0, rows, _BATCH)]
    size = sum(column.nbytes for column in drawn)
    seconds = median_seconds(lambda: [table.ids(part) for part in parts])
    lines = [Measured(rows, size, seconds, _sum(*(table.ids(part) for part in parts)), f"ids, {name}")]
    seconds = median_seconds(lambda: [group_rows(part) for part in parts])
    grouped = [array for part in parts for array in group_rows(part) or ()]
    lines.append(Measured(rows, size, seconds, _sum(*grouped), f"group_rows, {name}"))
    return lines


def _restore(rng: np.random.Generator, keys: int) -> Measured:
    saved = [pa.array(_keys(rng, keys, 1)[0]) for _ in range(8)]

    def restore() -> list[KeyTable]:
        tables = [KeyTable([INT64], expected=len(column)) for column in saved]
        for table, column in zip(tables, saved, strict=True):
            table.ids([column])
        return tables

    seconds = median_seconds(restore, runs=3)
    check = _sum(*(np.array(table.find([column])) for table, column in zip(restore(), saved, strict=True)))
    rows = sum(len(column) for column in saved)
    return Measured(rows, 8 * rows, seconds, check, "restore, int64, 8 tables")


@benchmark(
    "kernels_exchange",
    "rows to 16 shards: hashes, permutation, and whole batches",
    kernels=(
        "hashing.hash_int64", "hashing.hash_bytes", "hashing.combine_hashes", "hashing.shard_numbers",
        "hashing.rows_by_shard", "gather.take_offsets", "gather.take_bytes", "select.rows_of_bits", "select.same_text",
        "select.compare_ints", "select.same_remainder",
    ),
)  # fmt: skip
def kernels_exchange(scale: float) -> list[Measured]:
    """Hash and permutation over one batch of 65 536 rows; split of batches; take against pyarrow's."""
    rng = np.random.default_rng(13)
    rows = max(1_000, min(_BATCH, int(_BATCH * 100 * scale)))
    keys = _keys(rng, rows, rows)[1]
    texts = pa.array(keys).cast(pa.string())
    floats = pa.array(rng.random(rows))
    permuted, lines = _permutation(keys)
    for name, columns, by in (
        ("int64", {"k": pa.array(keys)}, ("k",)),
        ("int64 and 2 floats", {"k": pa.array(keys), "a": floats, "b": floats}, ("k",)),
        ("by a string, with a float", {"k": texts, "a": floats}, ("k",)),
        ("by int64 and string", {"k": pa.array(keys), "s": texts}, ("k", "s")),
    ):
        lines.append(_split(name, pa.record_batch(columns), by))
    for name, column in (("int64", pa.array(keys)), ("string", texts)):
        indices = pa.array(permuted)
        lines.append(_taken(f"{name}, ours", column, partial(take, column, permuted)))
        lines.append(_taken(f"{name}, pyarrow", column, partial(column.take, indices)))
    for share in (0.5, 0.01):
        mask = pa.array(rng.random(rows) < share)
        seconds = median_seconds(partial(rows_where, mask), 21)
        lines.append(Measured(rows, rows // 8, seconds, _sum(rows_where(mask)), f"row numbers of a mask, {share:.0%}"))
    words = pa.array(["view", "click", "purchase"]).take(pa.array(rng.integers(0, 3, rows)))
    for name, test in (
        ("ours", partial(same_text, words, "view", True)),
        ("pyarrow", partial(pc.equal, words, "view")),
    ):
        check = _sum(rows_where(test()))
        lines.append(Measured(rows, words.nbytes, median_seconds(test, 21), check, f"text is a word, {name}"))
    frame = pl.DataFrame({"k": keys})
    for name, test, of_polars in (
        ("greater", partial(test_of_ints, pa.array(keys), None, "greater", rows // 2, True), pl.col("k") > rows // 2),
        ("remainder", partial(test_of_ints, pa.array(keys), 123, "equal", 0, True), pl.col("k") % 123 == 0),
    ):
        for whose, action in (("ours", test), ("polars", partial(frame.select, of_polars))):
            check = _sum(rows_where(test()))
            lines.append(Measured(rows, keys.nbytes, median_seconds(action, 21), check, f"int64 {name}, {whose}"))
    return lines


def _split(name: str, batch: pa.RecordBatch, by: tuple[str, ...]) -> Measured:
    seconds = median_seconds(lambda: split(batch, by, 16), 21)
    parts = [part for part in split(batch, by, 16) if part is not None]
    shown = np.frombuffer(str([part.slice(0, 50).to_pydict() for part in parts]).encode(), np.uint8)
    return Measured(batch.num_rows, batch.nbytes, seconds, _sum(shown), f"split, {name}")


def _taken(name: str, column: pa.Array, action: Callable[[], pa.Array]) -> Measured:
    seconds = median_seconds(action, 21)
    return Measured(
        len(column), column.nbytes, seconds, _sum(np.frombuffer(action().buffers()[-1], np.uint8)), f"take {name}"
    )


def _permutation(keys: Int64s) -> tuple[Int64s, list[Measured]]:
    """Row numbers by shard, made as `split` makes them."""
    n, shards = len(keys), 16
    hashes, numbers = np.empty(n, np.uint64), np.empty(n, np.int32)
    counts, rows = np.empty(4 * shards, np.int64), np.empty(n, np.int64)

    def permute() -> None:
        hashing.hash_int64(keys, ALL_VALID, hashes)
        hashing.shard_numbers(hashes, shards, numbers, counts)
        starts = np.zeros(shards, np.int64)
        np.cumsum(counts[: shards - 1], out=starts[1:])
        hashing.rows_by_shard(numbers, starts, rows)

    seconds = median_seconds(permute, 21)
    return rows, [Measured(n, keys.nbytes, seconds, _sum(rows), "hash, shard and permutation")]


@benchmark(
    "kernels_rowcode",
    "compound keys to bytes and back",
    kernels=(
        "rowcode.encode_int64", "rowcode.encode_bytes", "rowcode.decode_int64", "rowcode.decode_offsets",
        "rowcode.decode_bytes",
    ),
)  # fmt: skip
def kernels_rowcode(scale: float) -> list[Measured]:
    """Two ints, and an int with a string, over one batch of 65 536 rows."""
    rng = np.random.default_rng(14)
    rows = max(1_000, min(_BATCH, int(_BATCH * 100 * scale)))
    numbers = rng.integers(0, 2**62, rows)
    first, second = pa.array(numbers % 1000), pa.array(numbers)
    lines = []
    for name, columns in (("two ints", [first, second]), ("int and string", [first, second.cast(pa.string())])):
        offsets, data = row_encoding.encode(columns)
        types = [column.type for column in columns]
        encode = partial(row_encoding.encode, columns)
        decode = partial(row_encoding.decode, data, offsets[:-1], types)
        lines.append(Measured(rows, data.nbytes, median_seconds(encode, 21), _sum(data), f"encode {name}"))
        back = np.frombuffer(decode()[-1].buffers()[-1], np.uint8)
        lines.append(Measured(rows, data.nbytes, median_seconds(decode, 21), _sum(back), f"decode {name}"))
    return lines
