"""Sinks into folders: exactly once through failures at every step; and functions as sinks."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.errors import FencedError, InvariantError, PlanError, StateError
from windrow.io.files import sinks
from windrow.io.files.callback import CallbackSink
from windrow.io.files.layout import Layout
from windrow.io.files.sinks import DONE, CsvSink, FolderSink, IpcSink, JsonSink, ParquetSink

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
KINDS: dict[str, type[FolderSink]] = {"parquet": ParquetSink, "ndjson": JsonSink, "arrow": IpcSink, "csv": CsvSink}


def rows(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "text": [f"t{i}" for i in ids]}, schema=SCHEMA)


def visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def staged(folder: Path) -> list[Path]:
    return sorted(folder.glob(".staged-*/*"))


def read(folder: Path) -> list[int]:
    ids: list[int] = []
    for path in visible(folder):
        if path.suffix == ".parquet":
            ids += pq.read_table(path).column("id").to_pylist()
        elif path.suffix == ".arrow":
            ids += pa.ipc.open_file(path.read_bytes()).read_all().column("id").to_pylist()
        elif path.suffix == ".csv":
            ids += [int(row["id"]) for row in csv.DictReader(path.read_text().splitlines())]
        else:
            ids += [json.loads(line)["id"] for line in path.read_text().splitlines()]
    return ids


@pytest.mark.parametrize("extension", sorted(KINDS))
def test_rows_are_there_with_the_commit(extension: str, tmp_path: Path) -> None:
    """law: staged rows are not to be seen, published ones are, and an epoch without rows leaves no file."""
    folder = tmp_path / "out"
    sink = KINDS[extension](folder, schema=SCHEMA)
    assert (sink.name, sink.guarantee) == ("out", "exactly-once")
    sink.open("job", 0)
    assert list(sink.stage(1, [rows(1, 2), rows(), rows(3)])) == []
    assert visible(folder) == []
    sink.publish(1)
    sink.publish(1)
    assert [path.name for path in visible(folder)] == [f"part-0000000001-0.{extension}"]
    sink.stage(2, [rows()])
    sink.publish(2)
    sink.stage(3, [rows(4)])
    sink.publish(3)
    sink.close()
    assert read(folder) == [1, 2, 3, 4]
    assert len(visible(folder)) == 2 and staged(folder) == []


def test_many_rows_make_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """law: files of an epoch are bounded; all of them appear."""
    monkeypatch.setattr(sinks, "FILE_BYTES", 100)
    monkeypatch.setattr(sinks, "_JSON_PIECE_BYTES", 10)
    sink = JsonSink(tmp_path, schema=SCHEMA)
    sink.open("job", 0)
    sink.stage(1, [rows(*range(i, i + 10)) for i in range(0, 100, 10)])
    sink.publish(1)
    assert read(tmp_path) == list(range(100))
    assert [path.name for path in visible(tmp_path)[:2]] == ["part-0000000001-0.ndjson", "part-0000000001-1.ndjson"]


class Crash(Exception):
    pass


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["none", "staging", "staged", "committed", "publishing"]), max_size=12), st.data())
def test_crashes_lose_and_double_nothing(failures: list[str], draw: st.DataObject) -> None:
    """crash: the object is thrown away at any step of an epoch; the next one is told the last committed epoch."""
    extension = draw.draw(st.sampled_from(sorted(KINDS)))
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sinks, "FILE_BYTES", 40)
        folder, committed, expected = Path(name), 0, []
        sink: FolderSink | None = None
        for failure in failures:
            if sink is None:
                sink = KINDS[extension](folder, schema=SCHEMA)
                sink.open("job", committed)
                assert read(folder) == expected and staged(folder) == []
            epoch = committed + 1
            ids = draw.draw(st.lists(st.integers(0, 99), max_size=4))
            batches = [rows(i) for i in ids]
            try:
                _run_epoch(sink, epoch, batches, failure)
            except Crash:
                sink = None
            if failure not in ("staging", "staged"):
                committed = epoch
                expected += ids
        sink = KINDS[extension](folder, schema=SCHEMA)
        sink.open("job", committed)
        assert read(folder) == expected
        assert staged(folder) == []


def _run_epoch(sink: FolderSink, epoch: int, batches: list[pa.RecordBatch], failure: str) -> None:
    if failure == "staging":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", _crash)
            sink.stage(epoch, batches)
        raise Crash
    sink.stage(epoch, batches)
    if failure in ("staged", "committed"):
        raise Crash
    if failure == "publishing":
        for path, part in sink._staged.get(epoch, [])[:1]:
            path.replace(part)
        raise Crash
    sink.publish(epoch)


def _crash(descriptor: int) -> None:
    raise Crash


def test_what_a_displaced_process_stages_is_never_published(tmp_path: Path) -> None:
    """crash: a process that does not know that another has taken over cannot slip rows in."""
    old, new = (ParquetSink(tmp_path, schema=SCHEMA) for _ in range(2))
    old.open("job", 0)
    old.stage(1, [rows(1)])
    old.publish(1)
    new.open("job", 1)
    new.stage(2, [rows(2)])
    new.publish(2)
    for epoch in (2, 3):
        with pytest.raises(FencedError, match="taken over by another process"):
            old.stage(epoch, [rows(99)])
    last = ParquetSink(tmp_path, schema=SCHEMA)
    last.open("job", 3)
    assert read(tmp_path) == [1, 2]
    assert staged(tmp_path) == []
    last.stage(2, [rows(5)])  # an epoch that is committed already
    last.publish(2)
    assert read(tmp_path) == [1, 2]


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    """law: another job, another sink, files from elsewhere, a ledger that knows less: refused, and nothing touched."""
    ParquetSink(tmp_path / "a", schema=SCHEMA).open("one", 0)
    with pytest.raises(PlanError, match="belongs to sink 'a' of job 'one'"):
        ParquetSink(tmp_path / "a", schema=SCHEMA).open("two", 0)
    with pytest.raises(PlanError, match="belongs to sink 'a' of job 'one'"):
        ParquetSink(tmp_path / "a", schema=SCHEMA, name="b").open("one", 0)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "photo.jpg").write_text("x")
    with pytest.raises(PlanError, match=r"is not empty \(it has photo\.jpg\)"):
        ParquetSink(tmp_path / "c", schema=SCHEMA).open("one", 0)
    sink = JsonSink(tmp_path / "d", schema=SCHEMA)
    with pytest.raises(InvariantError, match="stage before open"):
        sink.stage(1, [rows(1)])
    sink.open("one", 4)
    sink.stage(5, [rows(1)])
    sink.publish(5)
    with pytest.raises(StateError, match="results up to epoch 5 of job 'one', but its ledger says 0"):
        JsonSink(tmp_path / "d", schema=SCHEMA).open("one", 0)
    assert read(tmp_path / "d") == [1]
    for broken in ("not json", '{"job": "one"}', "[]"):
        (tmp_path / "a" / sinks.MARKER).write_text(broken)
        with pytest.raises(PlanError, match="cannot read"):
            ParquetSink(tmp_path / "a", schema=SCHEMA).open("one", 0)


def test_functions_as_sinks() -> None:
    """law: called for every batch with rows, before the commit, with the epoch's number."""
    seen: list[Any] = []

    def take(batch: pa.RecordBatch, epoch: int) -> None:
        seen.append((epoch, batch.column("id").to_pylist()))

    sink = CallbackSink(take)
    assert (sink.name, sink.guarantee) == ("take", "at-least-once")
    sink.open("job", 6)
    assert list(sink.stage(7, [rows(1), rows(), rows(2)])) == []
    sink.publish(7)
    sink.close()
    assert seen == [(7, [1]), (7, [2])]


# --- folders by columns

PLACED = pa.schema([("day", pa.string()), ("hour", pa.int64()), ("id", pa.int64()), ("text", pa.string())])


def placed(*values: tuple[str | None, int | None, int]) -> pa.RecordBatch:
    days, hours, ids = zip(*values, strict=True)
    return pa.record_batch([days, hours, ids, [f"t{i}" for i in ids]], schema=PLACED)


def in_folders(folder: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*/*/part-*")):
        place = str(path.parent.relative_to(folder))
        found.setdefault(place, []).extend(json.loads(line)["id"] for line in path.read_text().splitlines())
    return found


def hourly(folder: Path, done_after_us: int = 0, times: str | None = "%Y-%m-%d %H") -> JsonSink:
    return JsonSink(folder, schema=PLACED, layout=Layout(PLACED, ["day", "hour"], times, done_after_us))


def done(folder: Path) -> list[str]:
    return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob(DONE))


HOUR_US = 3_600_000_000


def test_rows_lie_in_folders_by_their_columns(tmp_path: Path) -> None:
    """law: each row is in the folder of its values, in order, null has a folder of its own, names are escaped."""
    sink = hourly(tmp_path, times=None)
    sink.open("job", 0)
    sink.stage(1, [placed(("a", 1, 1), ("b/..", 1, 2), ("a", 1, 3)), placed((None, 2, 4), ("a", None, 5))])
    assert in_folders(tmp_path) == {}
    sink.publish(1)
    null = "__HIVE_DEFAULT_PARTITION__"
    expected = {
        "day=a/hour=1": [1, 3],
        "day=b%2F../hour=1": [2],
        f"day={null}/hour=2": [4],
        f"day=a/hour={null}": [5],
    }
    assert in_folders(tmp_path) == expected
    assert list(json.loads(next(tmp_path.glob("*/*/part-*")).read_text().splitlines()[0])) == ["id", "text"]


def test_a_folder_is_complete_when_the_watermark_has_passed_it(tmp_path: Path) -> None:
    """law: marked by event time, once; what a failure before the mark left undone the next owner does."""
    first, second = "day=1970-01-01/hour=1", "day=1970-01-01/hour=2"
    sink = hourly(tmp_path, done_after_us=HOUR_US)
    sink.open("job", 0)
    sink.stage(1, [placed(("1970-01-01", 1, 1), ("1970-01-01", 2, 2))])
    sink.reached(2 * HOUR_US - 1)
    sink.publish(1)
    assert done(tmp_path) == []
    sink.stage(2, [])
    sink.reached(2 * HOUR_US)
    sink.publish(2)
    assert done(tmp_path) == [first]
    sink.stage(3, [placed(("1970-01-01", 1, 3))])  # a late one
    sink.publish(3)
    assert in_folders(tmp_path) == {first: [1, 3], second: [2]} and done(tmp_path) == [first]
    later = hourly(tmp_path, done_after_us=HOUR_US)
    later.open("job", 3)
    later.reached(3 * HOUR_US)
    later.publish(3)
    assert done(tmp_path) == [first, second]


@pytest.mark.parametrize("committed", [1, 2])
def test_staged_folders_are_published_or_deleted_by_the_next_owner(tmp_path: Path, committed: int) -> None:
    """crash: died between stage and publish of epoch 2; what is committed appears in its folder, the rest is gone."""
    sink = hourly(tmp_path, times=None)
    sink.open("job", 0)
    sink.stage(1, [placed(("a", 1, 1))])
    sink.publish(1)
    sink.stage(2, [placed(("a", 1, 2), ("b", 1, 3))])
    hourly(tmp_path, times=None).open("job", committed)
    both = {"day=a/hour=1": [1, 2], "day=b/hour=1": [3]}
    assert in_folders(tmp_path) == (both if committed == 2 else {"day=a/hour=1": [1]})
    assert staged(tmp_path) == []
    with pytest.raises(FencedError):
        sink.publish(2)


def test_folders_are_checked(tmp_path: Path) -> None:
    """law: columns that are not there, and names that are no times, are refused in words."""
    with pytest.raises(PlanError, match="expected some of the columns day, hour, id, text, got month"):
        Layout(PLACED, ["month"])
    with pytest.raises(PlanError, match="expected some of the columns"):
        Layout(PLACED, PLACED.names)
    sink = hourly(tmp_path)
    sink.open("job", 0)
    with pytest.raises(PlanError, match="'day=monday/hour=1' has no time of the format"):
        sink.stage(1, [placed(("monday", 1, 1))])
