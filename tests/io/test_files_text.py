"""Sources of NDJSON and CSV files."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.io.files_help import read_cut
from windrow.codec.json import JsonDecoder
from windrow.datatypes import INT64, STRING, TIMESTAMP, Field, Schema
from windrow.errors import LogError, PlanError, RecordError
from windrow.io.base import REJECTED
from windrow.io.files import text
from windrow.io.files.sources import CsvSource, JsonSource

SCHEMA = Schema((Field("id", INT64), Field("text", STRING)))


def decoder(columns: tuple[str, ...]) -> JsonDecoder:
    return JsonDecoder(SCHEMA.pick(columns))


def json_source(paths: Any, on_error: Any = "fail") -> JsonSource:
    return JsonSource(paths, schema=SCHEMA, decoder=decoder, on_error=on_error)


LINES = st.one_of(
    st.builds(lambda i, t: json.dumps({"id": i, "text": t}), st.integers(-9, 9), st.text(max_size=30)),
    st.sampled_from(["", "\r"]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(LINES, max_size=30),
    st.booleans(),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 500),
    st.sampled_from([1, 7, 50, 1 << 20]),
    st.sampled_from([1, 20, 1 << 20]),
    st.booleans(),
)
def test_any_cut_of_ndjson_gives_the_same_rows(
    lines: list[str], bom: bool, ended: bool, max_rows: int, max_bytes: int, window: int, ahead: int, far: bool
) -> None:
    """law: whatever the bounds, and the sizes of windows and pieces and of what is held, each line is read once, with
    its byte position; also in ranges that end further than is read ahead."""
    data = "\n".join(lines).encode() + (b"\n" if ended else b"")
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "WINDOW_BYTES", window)
        patch.setattr(text, "PIECE_BYTES", window)
        patch.setattr(text, "AHEAD_BYTES", ahead)
        patch.setattr(text, "_MANY_ROWS", 1 if far else 1 << 20)
        path = Path(folder) / "x.json"
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + data)
        expected, at = [], 3 if bom else 0
        for line in data.split(b"\n"):
            if line.strip():
                expected.append((at, {"text": json.loads(line)["text"]}))
            at += len(line) + 1
        assert read_cut(json_source(path), 0, max_rows, max_bytes, ("text",)) == expected
        assert [offset for offset, _ in read_cut(json_source(path), 0, max_rows, max_bytes, ())] == [
            offset for offset, _ in expected
        ]


def test_ranges_keep_within_their_bounds(tmp_path: Path) -> None:
    """law: ranges end behind a line, within bytes and rows, and hold at least one line."""
    path = tmp_path / "x.json"
    path.write_text('{"id":1}\n' * 10)
    source = json_source(path)
    assert (source.start_offset(0), source.end_offset(0)) == (0, 90)
    assert source.plan(0, 0, 100, 45) == 45
    assert source.plan(0, 0, 100, 44) == 36
    assert source.plan(0, 0, 3, 1_000) == 27
    assert source.plan(0, 9, 100, 1) == 18
    assert source.plan(0, 90, 100, 1_000) == 90
    path.write_text('{"id":1}\n{"id":2}')
    source = json_source(path)
    assert source.plan(0, 0, 100, 1_000) == 17
    assert source.plan(0, 0, 100, 16) == 9
    assert source.plan(0, 0, 1, 100) == 9
    assert source.plan(0, 9, 1, 1) == 17


def test_a_range_of_many_rows_goes_on_after_what_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """law: once it is known how long records are, a range has about as many as it may have, or as many bytes."""
    monkeypatch.setattr(text, "AHEAD_BYTES", 1_000)
    monkeypatch.setattr(text, "PIECE_BYTES", 700)
    monkeypatch.setattr(text, "WINDOW_BYTES", 100)
    lines = [json.dumps({"id": i, "text": "x" * (i % 7)}) for i in range(1_000)]
    path = tmp_path / "x.json"
    path.write_text("\n".join(lines))
    source = json_source(path)
    first = source.plan(0, 0, 100_000, 1 << 20)
    assert first <= 1_000
    found = [row for piece in source.read(0, 0, first, ("id",)) for row in piece.data["id"].to_pylist()]
    second = source.plan(0, first, 100_000, 5_000)
    assert first + 4_900 < second <= first + 5_000
    assert source.plan(0, second, 100_000, 1 << 30) == path.stat().st_size
    for start, end in ((first, second), (second, path.stat().st_size)):
        pieces = list(source.read(0, start, end, ("id",)))
        assert max(piece.input_bytes for piece in pieces) <= 700
        found += [row for piece in pieces for row in piece.data["id"].to_pylist()]
    assert found == list(range(1_000))


def test_bad_records(tmp_path: Path) -> None:
    """law: `fail` names file, byte, field and reason; the other two hand the records back and give the good rows."""
    path = tmp_path / "x.json"
    path.write_bytes(b'{"id":1,"text":"a"}\n\n{"id":"x"}\r\nnot json\n{"id":2,"text":"b"}')
    with pytest.raises(
        RecordError, match=r"(?s)x\.json, byte 21, field 'id': .*begins '\{\"id\":\"x\"\}'.*on_error='skip'"
    ):
        list(json_source(path).read(0, 0, path.stat().st_size, ("id", "text")))
    for on_error in ("skip", "dead_letter"):
        source = json_source(path, on_error)
        (piece,) = source.read(0, 0, path.stat().st_size, ("id", "text"))
        assert piece.data.to_pylist() == [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]
        assert piece.offsets is not None and piece.offsets.to_pylist() == [0, 42]
        assert piece.rejected is not None and piece.rejected.schema == REJECTED
        bad = piece.rejected.to_pylist()
        assert [(row["offset"], row["field"], row["value"]) for row in bad] == [
            (21, "id", b'{"id":"x"}'),
            (33, None, b"not json"),
        ]
        assert all(row["topic"] == str(path) and row["partition"] == 0 and row["reason"] for row in bad)


def test_lines_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """law: a line longer than a piece is read whole, one longer than the limit is an error."""
    monkeypatch.setattr(text, "PIECE_BYTES", 64)
    monkeypatch.setattr(text, "MAX_RECORD_BYTES", 256)
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"id": 1, "text": "x" * 150}) + "\n")
    (piece,) = json_source(path).read(0, 0, path.stat().st_size, ("id",))
    assert piece.data.num_rows == 1
    path.write_text(json.dumps({"id": 1, "text": "x" * 500}) + "\n")
    with pytest.raises(RecordError, match=r"record at byte 0 of .* is longer than 256 bytes"):
        list(json_source(path).read(0, 0, path.stat().st_size, ("id",)))


def test_files_that_change_are_refused(tmp_path: Path) -> None:
    """law: another time or size, or a position that is not there, is a clear error."""
    path = tmp_path / "x.json"
    path.write_text('{"id":1}\n')
    source = json_source(path)
    with pytest.raises(LogError, match="has 9 bytes, position 10 was asked for"):
        source.plan(0, 10, 1, 1)
    os.utime(path, ns=(1, 1))
    for refused in (lambda: source.plan(0, 0, 1, 1), lambda: list(source.read(0, 0, 9, ("id",)))):
        with pytest.raises(LogError, match="has changed"):
            refused()
    with pytest.raises(PlanError, match="json files: there is no file"):
        json_source(tmp_path / "none.json")


CELLS = st.text(st.sampled_from("ab ,;\"\n\r'é"), max_size=8)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), CELLS), max_size=20),
    st.booleans(),
    st.integers(1, 30),
    st.integers(1, 300),
    st.sampled_from([1, 33, 1 << 20]),
)
def test_any_cut_of_csv_gives_the_same_rows(
    rows: list[tuple[int, str]], quote_all: bool, max_rows: int, max_bytes: int, window: int
) -> None:
    """differential: rows as the standard library writes them come back, delimiters, quotes and newlines in them too."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerows([("id", "the text"), *rows])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(written.getvalue().encode())
        schema = Schema((Field("the text", STRING), Field("id", INT64)))
        source = CsvSource(path, schema=schema)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text, "WINDOW_BYTES", window)
            patch.setattr(text, "PIECE_BYTES", window)
            got = read_cut(source, 0, max_rows, max_bytes, ("the text", "id"))
        assert [(row["id"], row["the text"]) for _, row in got] == rows
        offsets = [offset for offset, _ in got]
        assert offsets == sorted(set(offsets))
        assert [o for o, _ in read_cut(source, 0, max_rows, max_bytes, ())] == offsets


def test_csv_types(tmp_path: Path) -> None:
    """golden: types are taken from the rows or from a schema; times without a zone are UTC; empty is null."""
    path = tmp_path / "x.csv"
    path.write_text("a;b;c;d;e\r\n1;1.5;x;2026-01-01 00:00:00;\r\n\r\n;2;;2026-01-01 00:00:01.5;\r\n")
    source = CsvSource(path, delimiter=";")
    assert [str(field.type) for field in source.schema] == ["int64", "double", "string", "timestamp[us]", "string"]
    rows = [row for _, row in read_cut(source, 0, 10, 1_000, ("a", "b", "c"))]
    assert rows == [{"a": 1, "b": 1.5, "c": "x"}, {"a": None, "b": 2.0, "c": ""}]
    for zone in ("", "Z", "+01:00"):
        path.write_text(f"at,n\n2026-01-01 00:00:00{zone},1\n")
        schema = Schema((Field("at", TIMESTAMP), Field("n", STRING)))
        ((_, row),) = read_cut(CsvSource(path, schema=schema), 0, 10, 1_000, ("n", "at"))
        assert row["n"] == "1"
        assert row["at"].timestamp() == 1_767_225_600 - (3_600 if zone == "+01:00" else 0)
    path.write_text("only,header\n")
    assert read_cut(CsvSource(path), 0, 10, 1_000, ("only",)) == []


def test_csv_that_does_not_fit(tmp_path: Path) -> None:
    """law: missing columns and headers are plan errors; a bad value says file, place and column."""
    path = tmp_path / "x.csv"
    path.write_text("id,text\n1,a\nx,b\n")
    with pytest.raises(PlanError, match=r"x\.csv has no column other; it has \['id', 'text'\]"):
        CsvSource(path, schema=Schema((Field("other", INT64),)))
    with pytest.raises(RecordError, match=r"x\.csv, records from byte 8 to 16: .*'x'"):
        list(CsvSource(path, schema=SCHEMA).read(0, 8, 16, ("id",)))
    path.write_text("id,text\n1,a\n2\n")
    with pytest.raises(RecordError, match=r"x\.csv"):
        list(CsvSource(path, schema=SCHEMA).read(0, 8, 14, ("id",)))
    path.write_text("id,id\n")
    with pytest.raises(PlanError, match="two columns of the same name"):
        CsvSource(path)
    path.write_text("")
    with pytest.raises(PlanError, match="without a header"):
        CsvSource(path)
    with pytest.raises(PlanError, match="one ASCII character"):
        CsvSource(path, delimiter="ab")


def test_rows_stay_as_they_were_while_their_file_is_read_on(tmp_path: Path) -> None:
    """law: what was handed out does not lie in the space that the next range is read into."""
    path = tmp_path / "x.json"
    path.write_text("".join(f'{{"id":{i},"text":"text number {i:05}"}}\n' for i in range(300)))
    source, kept, at = json_source(path), [], 0
    while (end := source.plan(0, at, 100, 1_500)) > at:
        kept += list(source.read(0, at, end, ("id", "text")))
        at = end
    rows = [row for piece in kept for row in piece.data.to_pylist()]
    assert rows == [{"id": i, "text": f"text number {i:05}"} for i in range(300)]
