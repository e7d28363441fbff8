"""Sources of Parquet and Arrow IPC files."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.io.files_help import read_cut
from windrow.errors import CorruptionError, LogError, PlanError
from windrow.io.files.paths import find_files
from windrow.io.files.sources import IpcSource, ParquetSource


def table_of(start: int, rows: int) -> pa.Table:
    ids = list(range(start, start + rows))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "text": pa.array([None if i % 3 == 0 else f"t{i}" for i in ids], pa.string()),
            "when": pa.array([i * 1_000 for i in ids], pa.timestamp("us", "UTC")),
        }
    )


def write(path: Path, table: pa.Table, kind: str, chunk: int) -> None:
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=chunk)
    elif kind == "stream":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=chunk)
    else:
        compression = "zstd" if kind == "zstd" else None
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table, max_chunksize=chunk)


def source_of(kind: str, paths: Any) -> ParquetSource | IpcSource:
    return ParquetSource(paths) if kind == "parquet" else IpcSource(paths)


def test_wide_rows_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """law: what is decoded at once is bounded in bytes, however wide the rows are; they are all there."""
    wide = pa.table({"id": range(400), "text": [f"{number:04}" * 1_000 for number in range(400)]})
    pq.write_table(wide, tmp_path / "wide.parquet", row_group_size=400, compression="none", use_dictionary=False)
    monkeypatch.setattr("windrow.io.files.rows.PIECE_BYTES", 100_000)
    pieces = [fetched.data for fetched in ParquetSource(tmp_path / "wide.parquet").read(0, 0, 400, ("id", "text"))]
    assert max(piece.nbytes for piece in pieces) <= 100_000
    assert max(piece.num_rows for piece in pieces) > 20
    assert pa.Table.from_batches(pieces).equals(wide)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["parquet", "file", "zstd", "stream"]),
    st.lists(st.integers(0, 60), min_size=1, max_size=3),
    st.integers(1, 30),
    st.integers(1, 70),
    st.integers(1, 3_000),
)
def test_any_cut_gives_the_same_rows(kind: str, sizes: list[int], chunk: int, max_rows: int, max_bytes: int) -> None:
    """law: each file is a partition, its rows are numbered, and no cut changes them; columns in the order asked for."""
    with TemporaryDirectory() as folder:
        for i, rows in enumerate(sizes):
            write(Path(folder) / f"{i}.data", table_of(i * 100, rows), kind, chunk)
        source = source_of(kind, f"{folder}/*.data")
        assert source.bounded and source.replayable
        assert list(source.partitions()) == list(range(len(sizes)))
        for i, rows in enumerate(sizes):
            expected = [
                (offset, {"text": row["text"], "id": row["id"]})
                for offset, row in enumerate(table_of(i * 100, rows).to_pylist())
            ]
            assert read_cut(source, i, max_rows, max_bytes, ("text", "id")) == expected
            assert source.end_offset(i) == rows
        source.close()


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_rows_without_columns_and_from_the_middle(kind: str, tmp_path: Path) -> None:
    """law: a read can begin anywhere, whatever was read before; without columns there still are rows."""
    path = tmp_path / "x.data"
    write(path, table_of(0, 100), kind, 10)
    source = source_of(kind, path)
    for start, end in ((95, 100), (37, 52), (52, 55), (0, 1)):
        rows = [row["id"] for piece in source.read(0, start, end, ("id",)) for row in piece.data.to_pylist()]
        assert rows == list(range(start, end))
    assert sum(piece.data.num_rows for piece in source.read(0, 33, 78, ())) == 45
    assert source.schema.names == ("id", "text", "when")
    source.wait(1.0)


def test_arrow_files_are_mapped(tmp_path: Path) -> None:
    """law: what is not compressed is not copied."""
    path = tmp_path / "x.arrow"
    write(path, table_of(0, 10_000), "file", 10_000)
    before = pa.total_allocated_bytes()
    (piece,) = IpcSource(path).read(0, 0, 10_000, ("id", "text"))
    assert pa.total_allocated_bytes() - before < 10_000
    assert piece.data.column("id")[9_999].as_py() == 9_999


@pytest.mark.parametrize("kind", ["parquet", "file"])
def test_files_that_change_are_refused(kind: str, tmp_path: Path) -> None:
    """law: another size or time, or no file at all, is a clear error and never other rows."""
    path = tmp_path / "x.data"
    write(path, table_of(0, 100), kind, 10)
    source = source_of(kind, path)
    with pytest.raises(LogError, match="has 100 rows, row 101 was asked for"):
        source.plan(0, 101, 1, 1)
    os.utime(path, ns=(1, 1))
    with pytest.raises(LogError, match="has changed since the source was made"):
        source.plan(0, 0, 10, 1_000)
    with pytest.raises(LogError, match="has changed"):
        list(source.read(0, 0, 10, ("id",)))
    path.unlink()
    with pytest.raises(LogError, match="is gone"):
        source.plan(0, 0, 10, 1_000)


def test_broken_files(tmp_path: Path) -> None:
    """law: a file of another format is a plan error, damage behind the header an error that says where."""
    path = tmp_path / "x.data"
    path.write_bytes(b"no such format")
    for kind in ("parquet", "file"):
        with pytest.raises(PlanError, match=r"cannot read .*x\.data"):
            source_of(kind, path)
    write(path, table_of(0, 1_000), "parquet", 1_000)
    data = bytearray(path.read_bytes())
    data[100:1_000] = bytes(900)
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match=r"x\.data"):
        list(ParquetSource(path).read(0, 0, 1_000, ("id", "text")))


def test_files_must_have_the_same_columns(tmp_path: Path) -> None:
    """law: a plan error that names the file and the column."""
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"b": [1]}), tmp_path / "3.parquet")
    with pytest.raises(PlanError, match=r"column 'a' is string in .*2\.parquet and int64 in .*1\.parquet"):
        ParquetSource([tmp_path / "1.parquet", tmp_path / "2.parquet"])
    with pytest.raises(PlanError, match=r"3\.parquet has the columns \['b'\]"):
        ParquetSource([tmp_path / "1.parquet", tmp_path / "3.parquet"])


def test_finding_files(tmp_path: Path) -> None:
    """law: paths and globs, sorted; what is missing or doubled is named; unfinished files (dot names) are left out."""
    for name in ("b.x", "a.x", ".hidden.x", "sub/c.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    assert [file.path.name for file in find_files(tmp_path / "*.x", "files")] == ["a.x", "b.x"]
    assert [file.path.name for file in find_files([f"{tmp_path}/b.x", f"{tmp_path}/a.x"], "files")] == ["a.x", "b.x"]
    assert [file.path.name for file in find_files(f"{tmp_path}/**/*.x", "files")] == ["a.x", "b.x", "c.x"]
    for paths, message in (
        (tmp_path / "none.x", r"there is no file .*none\.x"),
        (f"{tmp_path}/*.y", r"no file matches .*\*\.y"),
        ([], "no paths were given"),
        (tmp_path, "is a folder; write"),
        ([tmp_path / "a.x", tmp_path / "*.x"], r"named twice: .*a\.x"),
    ):
        with pytest.raises(PlanError, match=message):
            find_files(paths, "files")
