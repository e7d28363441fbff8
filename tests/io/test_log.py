"""The log as its users see it: what was appended can be read, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.clock import ManualClock
from windrow.errors import LogError
from windrow.io.log import batches
from windrow.io.log.log import Log
from windrow.io.log.partitioner import murmur2, partitions_of


def read_all(log: Log, topic: str, partition: int, **bounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    at = log.start_offset(topic, partition)
    while at < log.end_offset(topic, partition):
        for batch in log.read(topic, partition, at, **bounds):
            rows += batch.to_pylist()
            at += batch.num_rows
    return rows


def java_murmur2(data: bytes) -> int:
    """The definition, byte by byte, with Python ints."""
    m, length = 0x5BD1E995, len(data)
    h = (0x9747B28C ^ length) % 2**32
    for i in range(length // 4):
        k = data[4 * i] + 256 * data[4 * i + 1] + 65536 * data[4 * i + 2] + 16777216 * data[4 * i + 3]
        k = k * m % 2**32
        k = k ^ (k >> 24)
        k = k * m % 2**32
        h = h * m % 2**32
        h = h ^ k
    left = length % 4
    at = length - left
    if left == 3:
        h = h ^ (data[at + 2] << 16)
    if left >= 2:
        h = h ^ (data[at + 1] << 8)
    if left >= 1:
        h = (h ^ data[at]) * m % 2**32
    h = (h ^ (h >> 13)) * m % 2**32
    return h ^ (h >> 15)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.binary(min_size=505, max_size=530)), max_size=20), st.integers(0, 3)
)
def test_murmur2_is_kafkas(keys: list[bytes], skip: int) -> None:
    """Oracle: the vectorised hash is the plain definition, also in a slice of an array."""
    array = pa.array(keys, pa.large_binary()).slice(skip)
    assert murmur2(array).tolist() == [java_murmur2(key) for key in keys[skip:]]


def test_murmur2_of_kafkas_own_tests() -> None:
    """Golden: the values in Kafka's UtilsTest."""
    known = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    found = murmur2(pa.array(list(known), pa.large_binary())).astype("int32").tolist()
    assert found == list(known.values())


def test_keys_of_other_types_are_hashed_as_their_bytes() -> None:
    """Oracle: integers as eight bytes big-endian, text as UTF-8, null as nothing."""
    numbers = [0, 1, -1, 2**40, None]
    expected = [
        -1 if n is None else (java_murmur2(n.to_bytes(8, "big", signed=True)) & 0x7FFFFFFF) % 7 for n in numbers
    ]
    assert partitions_of(pa.array(numbers), 7).tolist() == expected
    text = ["a", "ü", None]
    expected = [-1 if t is None else (java_murmur2(t.encode()) & 0x7FFFFFFF) % 5 for t in text]
    assert partitions_of(pa.array(text), 5).tolist() == expected
    assert partitions_of(pa.array(text, pa.string_view()), 5).tolist() == expected
    with pytest.raises(LogError, match="cannot choose a partition"):
        partitions_of(pa.array([[1]]), 3)


values = st.lists(st.one_of(st.none(), st.binary(max_size=30)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    appends=st.lists(st.tuples(values, st.one_of(st.none(), st.integers(0, 2)), st.booleans()), max_size=8),
    max_rows=st.integers(1, 9),
    max_bytes=st.integers(1, 600),
)
def test_reads_give_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, appends: list[Any], max_rows: int, max_bytes: int
) -> None:
    """Oracle: a dict of lists. Offsets are dense, order in a partition is the order of the appends."""
    model: dict[int, list[tuple[bytes | None, bytes | None]]] = {0: [], 1: [], 2: []}
    with Log(tmp_path_factory.mktemp("log"), segment_bytes=2_000) as log:
        log.create_topic("t", partitions=3)
        for values, partition, keyed in appends:
            keys = [None if v is None else v[:2] for v in values] if keyed else None
            given_offsets = log.append("t", values, keys=keys, partition=partition)
            assert sum(end - first for first, end in given_offsets.values()) == len(values)
            unkeyed = None
            before = {number: len(rows) for number, rows in model.items()}
            for row, value in enumerate(values):
                key = keys[row] if keys else None
                if partition is not None:
                    to = partition
                elif key is not None:
                    to = (java_murmur2(key) & 0x7FFFFFFF) % 3
                else:  # the log chooses one for the call: find out which, once
                    if unkeyed is None:
                        hashed = {
                            n
                            for n in model
                            if any(k is not None and (java_murmur2(k) & 0x7FFFFFFF) % 3 == n for k in keys or ())
                        }
                        only = set(given_offsets) - hashed
                        unkeyed = only.pop() if only else _grown(given_offsets, keys or [], hashed)
                    to = unkeyed
                model[to].append((key, value))
            assert given_offsets == {n: (before[n], len(model[n])) for n in model if len(model[n]) > before[n]}
        for number, rows in model.items():
            found = read_all(log, "t", number, max_rows=max_rows, max_bytes=max_bytes)
            assert [(row["key"], row["value"]) for row in found] == rows
        assert log.verify() == []


def _grown(given_offsets: dict[int, tuple[int, int]], keys: list[bytes | None], hashed: set[int]) -> int:
    for number, (first, end) in given_offsets.items():
        keyed = sum(k is not None and (java_murmur2(k) & 0x7FFFFFFF) % 3 == number for k in keys)
        if end - first > keyed:
            return number
    raise AssertionError("no partition took the events without a key")


def test_read_bounds(tmp_path: Path) -> None:
    """Law: at least one event, at most what was asked for; beyond the ends an error that says what is there."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t", partitions=2)
        log.append("t", [b"x" * 1000] * 10, partition=1)
        assert log.read("t", 0, 0) == []
        assert sum(b.num_rows for b in log.read("t", 1, 4, max_rows=3)) == 3
        assert sum(b.num_rows for b in log.read("t", 1, 4, max_bytes=1)) == 1
        assert 2 <= sum(b.num_rows for b in log.read("t", 1, 0, max_bytes=2_500)) <= 3
        assert log.read("t", 1, 10) == []
        with pytest.raises(LogError, match=r"t\[1\]: offset 10 is not there yet; the next one is 10"):
            log.read("t", 1, 11)
        with pytest.raises(LogError, match="has partitions 0 to 1, not 2"):
            log.read("t", 2, 0)
        with pytest.raises(LogError, match="has partitions 0 to 1, not 5"):
            log.append("t", [b"x"], partition=5)


def test_typed_topic(tmp_path: Path) -> None:
    """Law: columns come back as they were; other columns, types that do not fit and nulls are refused by name."""
    schema = pa.schema(
        [pa.field("id", pa.int64(), nullable=False), ("name", pa.string()), ("price", pa.decimal128(9, 2))]
    )
    table = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"], "price": pa.array([1, 2, 3], pa.decimal128(9, 2))})
    with Log(tmp_path / "log") as log:
        log.create_topic("t", partitions=4, schema=schema)
        log.append_arrow("t", table, key="id")
        log.append_arrow("t", table.select(["price", "name", "id"]), key="id")
        rows = [row for number in range(4) for row in read_all(log, "t", number)]
        assert sorted(rows, key=lambda row: row["id"]) == sorted(table.to_pylist() * 2, key=lambda row: row["id"])
        for wrong, message in (
            (table.select(["id", "name"]), "missing: price"),
            (table.append_column("more", table["id"]), "not in the topic: more"),
            (table.set_column(0, "id", pa.array(["a", "b", "c"])), "column 'id': string does not become int64"),
            (table.set_column(0, "id", pa.array([1, None, 3])), "'id' is declared without nulls but has 1"),
        ):
            with pytest.raises(LogError, match=message):
                log.append_arrow("t", wrong)
        with pytest.raises(LogError, match="no column 'x'"):
            log.append_arrow("t", table, key="x")
        with pytest.raises(LogError, match="use append_arrow"):
            log.append("t", [b"x"])
        with pytest.raises(LogError, match="column 'd': dictionary columns cannot be kept"):
            log.create_topic("d", schema=pa.schema([("d", pa.list_(pa.dictionary(pa.int8(), pa.string())))]))
        with pytest.raises(LogError, match="twice: a"):
            log.create_topic("d", schema=pa.schema([("a", pa.int8()), ("a", pa.int8())]))


def test_data_files_are_arrow_streams(tmp_path: Path) -> None:
    """Golden: any Arrow tool can read a data file."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
        log.append("t", [b"1", b"2"])
        log.append("t", [b"3"])
        (file,) = (tmp_path / "log" / "data").iterdir()
        with pa.OSFile(str(file)) as stream, pa.ipc.open_stream(stream) as reader:
            assert reader.read_all()["value"].to_pylist() == [b"1", b"2", b"3"]


def test_reading_copies_nothing(tmp_path: Path) -> None:
    """Law: Arrow allocates nothing for what is read."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
        log.append("t", pa.array([b"x" * 100] * 10_000))
        before = pa.total_allocated_bytes()
        (batch,) = log.read("t", 0, 0)
        assert batch.num_rows == 10_000 and pa.total_allocated_bytes() == before
    assert batch.column("value")[9_999].as_py() == b"x" * 100  # outlives the log


def test_timestamps_and_offset_for_time(tmp_path: Path) -> None:
    """Oracle: the first event at or after a time, by looking at all of them."""
    times = [50, 10, 30, 70, 60, 90]
    with Log(tmp_path / "log", clock=ManualClock(1_000)) as log:
        log.create_topic("t")
        for at in range(0, 6, 2):
            log.append("t", [b"a", b"b"], timestamps=times[at : at + 2])
        for wanted in range(0, 100, 5):
            expected = next((offset for offset, time in enumerate(times) if time >= wanted), 6)
            assert log.offset_for_time("t", 0, wanted) == expected
        log.append("t", [b"now"])
        log.append("t", [b"then"], timestamps=[datetime(2024, 1, 2, tzinfo=UTC)])
        rows = read_all(log, "t", 0)
        assert rows[6]["timestamp"] == datetime(1970, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC)
        assert log.offset_for_time("t", 0, datetime(2024, 1, 2, tzinfo=UTC)) == 7
        with pytest.raises(LogError, match="a timestamp is null"):
            log.append("t", [b"x"], timestamps=pa.array([None], pa.int64()))


def test_headers(tmp_path: Path) -> None:
    """Law: headers are kept in a topic that has them, refused in one that has not."""
    with Log(tmp_path / "log") as log:
        log.create_topic("with", headers=True)
        log.create_topic("without")
        headers = [[{"key": "a", "value": b"1"}], None]
        log.append("with", [b"x", b"y"], headers=headers)
        log.append("with", [b"z"])
        assert [row["headers"] for row in read_all(log, "with", 0)] == [*headers, None]
        with pytest.raises(LogError, match="created without headers"):
            log.append("without", [b"x", b"y"], headers=headers)


@pytest.mark.parametrize("type_", [pa.binary(), pa.large_binary(), pa.string(), pa.large_string(), pa.string_view()])
def test_values_of_every_layout_of_bytes(tmp_path: Path, type_: pa.DataType) -> None:
    """Law: bytes are bytes, however Arrow lays them out, in one piece or several."""
    parts = [pa.array(["a", None], type_), pa.array(["ccc"], type_)]
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
        log.append("t", pa.chunked_array(parts), keys=pa.array(["a", "a", None], type_))
        assert [(row["key"], row["value"]) for row in read_all(log, "t", 0)] == [
            (b"a", b"a"),
            (b"a", None),
            (None, b"ccc"),
        ]
        with pytest.raises(LogError, match="values: expected bytes, got int64"):
            log.append("t", pa.array([1]))
        with pytest.raises(LogError, match="2 values but 1 keys"):
            log.append("t", [b"a", b"b"], keys=[b"a"])


def test_large_appends_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: one append is one commit, however many chunks and files it fills; a row beyond the limit is refused."""
    monkeypatch.setattr(batches, "ROW_BYTES", 50_000)
    monkeypatch.setattr(batches.pieces, "__defaults__", (10_000,))
    values = [bytes([n]) * (n * 300) for n in range(100)]
    with Log(tmp_path / "log", segment_bytes=40_000) as log:
        log.create_topic("t")
        assert log.append("t", values) == {0: (0, 100)}
        assert [row["value"] for row in read_all(log, "t", 0)] == values
        assert len(list((tmp_path / "log" / "data").iterdir())) > 10
        with pytest.raises(LogError, match=r"one event has \d+ bytes; an event may have 50000"):
            log.append("t", [b"a", b"x" * 60_000])
        assert log.append("t", [b"after"]) == {0: (100, 101)}
        assert log.verify() == []


def test_empty_appends_commit_nothing(tmp_path: Path) -> None:
    """Law: nothing in, nothing out."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
        assert log.append("t", []) == {}
        assert log.end_offset("t", 0) == 0
        assert list((tmp_path / "log" / "data").iterdir()) == []


def test_topics(tmp_path: Path) -> None:
    """Law: names are checked, what is there is not made again, and errors say what there is."""
    with Log(tmp_path / "log") as log:
        with pytest.raises(LogError, match=r"no topic 'a' in the log at .*; there are: none"):
            log.topic("a")
        log.create_topic("b", partitions=2)
        log.create_topic("a")
        assert [info.name for info in log.topics()] == ["a", "b"]
        with pytest.raises(LogError, match="there are: a, b"):
            log.append("c", [b"x"])
        with pytest.raises(LogError, match="'b' is there already; if_exists='ok'"):
            log.create_topic("b", partitions=2)
        assert log.create_topic("b", partitions=2, if_exists="ok").partitions == 2
        with pytest.raises(LogError, match="already with 2 partitions, not 3"):
            log.create_topic("b", partitions=3, if_exists="ok")
        with pytest.raises(LogError, match="already with other columns"):
            log.create_topic("b", partitions=2, schema=pa.schema([("x", pa.int8())]), if_exists="ok")
        for bad in ("", "a/b", "../x", "a b", ".hidden", "x" * 201):
            with pytest.raises(LogError, match="no name for a topic"):
                log.create_topic(bad)
        with pytest.raises(LogError, match="at least one partition"):
            log.create_topic("c", partitions=0)


def test_two_logs_of_one_directory(tmp_path: Path) -> None:
    """Law: what one has committed the other sees at once, and each keeps appending to files of its own."""
    with Log(tmp_path / "log") as one, Log(tmp_path / "log") as two:
        one.create_topic("t")
        for number in range(6):
            (one, two)[number % 2].append("t", [b"%d" % number])
            assert two.end_offset("t", 0) == one.end_offset("t", 0) == number + 1
        expected = [b"%d" % number for number in range(6)]
        assert [row["value"] for row in read_all(two, "t", 0)] == expected
        assert [row["value"] for row in read_all(one, "t", 0)] == expected
        assert len(list((tmp_path / "log" / "data").iterdir())) == 2


def test_closed(tmp_path: Path) -> None:
    """Law: a closed log writes nothing and says so; closing twice does no harm; no lock is left."""
    log = Log(tmp_path / "log")
    log.create_topic("t")
    log.append("t", [b"x"])
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.append("t", [b"x"])
    assert list((tmp_path / "log" / "writers").iterdir()) == []
    assert not (tmp_path / "log" / "log.db-wal").exists()


def test_view_columns(tmp_path: Path) -> None:
    """Law: columns of view types, as polars gives them, are kept as plain ones."""
    batch = pa.record_batch({"k": pa.array(["a", "b", None], pa.string_view()), "n": [1, 2, 3]})
    with Log(tmp_path / "log") as log:
        log.create_topic("t", partitions=2, schema=batch.schema)
        log.append_arrow("t", batch, key="k")
        rows = read_all(log, "t", 0) + read_all(log, "t", 1)
        assert sorted(rows, key=lambda row: row["n"]) == batch.to_pylist()
