"""Pieces of one partition that are read side by side: laws of where they are cut, and that nobody can tell."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import windrow as wr
from windrow.api.stream import Stream
from windrow.errors import RecordError
from windrow.io import memory
from windrow.io.base import Divisible
from windrow.io.files import rows, text
from windrow.io.memory import MemorySource
from windrow.runtime import reading
from windrow.runtime.pipeline import Pipeline
from windrow.runtime.watermarks import PartitionClock

ROWS = 2_000


def table() -> pa.Table:
    """Times mostly rise, some are late by more than the delay; ids say where each row stood."""
    random = np.random.default_rng(5)
    times = np.arange(ROWS) * 20_000 - random.integers(0, 4, ROWS) * random.integers(0, 2_000_000, ROWS)
    return pa.table(
        {
            "id": pa.array(np.arange(ROWS)),
            "key": pa.array(random.integers(0, 5, ROWS)),
            "at": pa.array(times + 1_700_000_000_000_000, pa.timestamp("us", "UTC")),
        }
    )


def from_memory(folder: Path) -> Stream:
    return wr.from_arrow(pa.Table.from_batches(table().to_batches(max_chunksize=700)))


def from_parquet(folder: Path) -> Stream:
    pq.write_table(table(), folder / "rows.parquet", row_group_size=150)
    return wr.read_parquet(folder / "rows.parquet")


def from_ipc(folder: Path) -> Stream:
    with pa.ipc.new_file(folder / "rows.arrow", table().schema) as file:
        for batch in table().to_batches(max_chunksize=90):
            file.write_batch(batch)
    return wr.read_ipc(folder / "rows.arrow")


def from_json(folder: Path) -> Stream:
    (folder / "rows.json").write_text(
        "\n".join(f'{{"id":{r["id"]},"key":{r["key"]},"at":"{r["at"].isoformat()}"}}' for r in table().to_pylist())
    )
    return wr.read_json(folder / "rows.json", schema={"id": "int64", "key": "int64", "at": "timestamp"})


def from_log(folder: Path) -> Stream:
    with wr.Log(folder / "log") as log:
        log.create_topic("rows", schema=table().schema, partitions=1)
        for batch in table().to_batches(max_chunksize=130):
            log.append_arrow("rows", batch)
    return wr.read_log(folder / "log", "rows", end="latest")


SOURCES = (from_memory, from_parquet, from_ipc, from_json, from_log)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few hundred rows, read side by side however few there are."""
    monkeypatch.setattr(reading, "_FEW_OFFSETS", 0)
    monkeypatch.setattr(memory, "PIECE_ROWS", 100)
    monkeypatch.setattr(rows, "PIECE_ROWS", 100)
    monkeypatch.setattr(text, "PIECE_BYTES", 8_000)
    monkeypatch.setattr("windrow.io.log.source.LogSource.__init__.__kwdefaults__", _with_pieces(100), raising=True)


def _with_pieces(count: int) -> dict[str, Any]:
    from windrow.io.log.source import LogSource

    return {**(LogSource.__init__.__kwdefaults__ or {}), "piece_rows": count}


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How many pieces each partition was read in, over all epochs."""
    from windrow.runtime.reading import Reader

    read: Counter[str] = Counter()
    real = Reader._read

    def counted(self: Reader, piece: Any, now_us: int) -> Any:
        read[f"{piece.head.source.name}/{piece.partition}"] += 1
        time.sleep(0.001 * (piece.number % 3))  # so that they overtake each other
        return real(self, piece, now_us)

    monkeypatch.setattr(Reader, "_read", counted)
    yield read


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_pieces_of_a_partition_give_what_the_whole_gives(
    make: Callable[[Path], Stream], tmp_path: Path, pieces: Counter[str]
) -> None:
    """law: windows, late rows, and the order of what only passes through."""
    stream = make(tmp_path)

    def run(workers: int) -> tuple[Any, ...]:
        timed = stream.watermark("at", delay="500ms")
        counts = timed.group_by("key").window(wr.tumbling("1s")).agg(n=wr.count(), last=wr.last("id"))
        found = []
        for each in (timed.filter(pl.col("key") < 4), counts, counts.late):
            found.append(each.collect(workers=workers, limits=wr.Limits(epoch_rows=900)))
        passed, windows, late = (one.to_pylist() for one in found)
        return passed, sorted(map(repr, windows)), late

    whole, several = run(1), run(3)
    assert several == whole
    assert len(whole[0]) > 1_000 and len(whole[1]) > 100 and len(whole[2]) > 20
    assert max(pieces.values()) > 3 * 2 * 3  # of three jobs, twice, three epochs


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_cuts_lie_inside_and_pieces_between_them_are_the_range(make: Callable[[Path], Stream], tmp_path: Path) -> None:
    """law: for ranges that begin and end anywhere between two records."""
    source = make(tmp_path)._node.make()
    assert isinstance(source, Divisible)
    names = ("id",)
    first, end = source.start_offset(0), source.end_offset(0)
    ends, at = [], first
    while at < end:
        ends.append(at := source.plan(0, at, 331, 1 << 30))
    for start, until in [(first, end), *zip([first, *ends], [*ends[1:], end], strict=False)]:
        cuts = list(source.cuts(0, start, until))
        assert cuts == sorted(set(cuts))
        assert all(start < cut < until for cut in cuts)
        bounds = [start, *cuts, until]
        parts = [
            [value for piece in source.read(0, a, b, names) for value in piece.data.column("id").to_pylist()]
            for a, b in reversed(list(pairwise(bounds)))
        ]
        one = [value for piece in source.read(0, start, until, names) for value in piece.data.column("id").to_pylist()]
        assert [value for part in reversed(parts) for value in part] == one
        assert all(parts)
    assert source.cuts(0, first, end)
    source.close()


@pytest.mark.usefixtures("small")
def test_the_first_bad_record_is_the_one_that_is_told(tmp_path: Path) -> None:
    """law: in whichever order the pieces come to their bad records; and nobody waits for a piece that has failed."""
    lines = [f'{{"id":{n},"key":1,"at":"2023-11-14T22:13:20Z"}}' for n in range(ROWS)]
    lines[700], lines[1_500] = '{"first"', '{"second"'
    (tmp_path / "rows.json").write_text("\n".join(lines))
    stream = wr.read_json(tmp_path / "rows.json", schema={"id": "int64", "key": "int64", "at": "timestamp"})
    timed = stream.watermark("at", delay="1s").group_by("key").window(wr.tumbling("1s")).agg(n=wr.count())
    for workers in (1, 4):
        with pytest.raises(RecordError, match="first"):
            timed.collect(workers=workers)


@pytest.mark.usefixtures("small")
def test_user_code_gets_a_partition_in_its_order(pieces: Counter[str]) -> None:
    """law: what map_batches gets comes one after the other."""
    seen: list[int] = []
    inside = threading.Lock()

    def note(batch: pl.DataFrame) -> pl.DataFrame:
        assert inside.acquire(blocking=False)
        seen.extend(batch["id"])
        time.sleep(0.001)
        inside.release()
        return batch

    wr.from_arrow(table()).map_batches(note, schema=None).collect(workers=4)
    assert seen == list(range(ROWS))
    assert set(pieces.values()) == {1}


def divisible(stream: Stream) -> bool:
    """Whether a job of this stream may read its source in pieces."""
    from windrow.plan.lower import lower
    from windrow.progress.memory import MemoryLedger
    from windrow.runtime.build import build

    job = stream.for_each_batch(lambda batch, epoch: None, name="none", changes="weighted")
    made: Pipeline = build(lower(job._sinks), 2, 2, MemoryLedger(durable=False))
    return made.sources[0].divisible is not None


def test_plans_in_which_a_clock_cannot_know_its_last_batch_are_read_whole() -> None:
    """law: where a lookup makes several batches, late rows have a clock of their own, or rows come in two ways."""
    rows_, side = wr.from_arrow(table()), pa.table({"key": [1, 1, 2], "name": ["a", "b", "c"]})
    timed = rows_.watermark("at", delay="1s")
    windows = timed.group_by("key").window(wr.tumbling("1s")).agg(n=wr.count())
    assert divisible(windows)
    assert divisible(timed.join_lookup(side, on="key"))
    assert not divisible(rows_.join_lookup(side, on="key").watermark("at", delay="1s"))
    assert divisible(windows.late)
    assert not divisible(windows.late.watermark("at", delay="9s"))
    both = rows_.filter(pl.col("key") == 1).union(rows_.filter(pl.col("key") == 2))
    assert divisible(both)
    assert not divisible(both.watermark("at", delay="1s"))


def test_pieces_move_a_clock_in_their_order() -> None:
    """law: whoever comes first; a piece of which nothing comes gives its turn away when it is done."""
    clock = PartitionClock()
    clock.begin()
    before: dict[int, int] = {}

    def piece(number: int) -> None:
        time.sleep(0.003 * (4 - number))
        if number != 2:
            before[number] = clock.move(10 * number, number, last=True)
        clock.leave(number)

    threads = [threading.Thread(target=piece, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert {number: time_us for number, time_us in before.items() if number} == {1: 0, 3: 10, 4: 30}


def test_memory_is_cut_where_batches_end_and_where_pieces_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """golden"""
    monkeypatch.setattr(memory, "PIECE_ROWS", 4)
    source = MemorySource([pa.record_batch({"a": list(range(n))}) for n in (6, 3)])
    assert source.cuts(0, 0, 9) == [4, 6]
    assert source.cuts(0, 5, 7) == [6]
    assert source.cuts(0, 4, 6) == []
