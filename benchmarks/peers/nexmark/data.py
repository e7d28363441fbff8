"""The events of the comparison as files: made once by windrow's generator, read by every engine.

A folder holds, for each kind of event (``bid``, ``auction``, ``person``, ``view``), as Parquet (snappy) and as JSON
lines:

``lanes1/KIND-FORMAT/0``           one file in event order
``lanes2/KIND-FORMAT/0, 1``        two files in event order, event n in file ``n % 2``, to be read side by side
``parts/KIND-FORMAT/000 ...``      in event order, one after the other: for engines that take files in turn

Each file of a lane, and the last part, ends with an event an hour later whose key is 0: engines that close windows by
event time then close all that count, and what comes of key 0 is left out of every result.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windrow.codec.json_encode import JsonEncoder
from windrow.io.nexmark.generator import SCHEMAS, TIME_TYPE, Nexmark, split_kinds

ADS, ADS_OF_CAMPAIGN = 1_000, 10
PART_EVENTS = 500_000
_PIECE = 500_000
_HOUR_US = 3_600_000_000
VIEW = pa.schema(
    [
        *((name, pa.string()) for name in ("user_id", "page_id", "ad_id", "ad_type", "event_type")),
        ("dateTime", TIME_TYPE),
        ("ip_address", pa.string()),
    ]
)
ALL_SCHEMAS = {**SCHEMAS, "view": VIEW}


def make(folder: Path, events: int, rate: float, kinds: Sequence[str], *, memory_alone: bool = False) -> dict[str, int]:
    """Write so many events (all kinds together; those of ``view`` apart) at this rate of event time a second; how many
    there are of each kind. What is there already is kept. `memory_alone`: only the Parquet file of ``lanes1``, from
    which events are brought to memory."""
    counts = folder / "counts"
    if not counts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        found = {kind: _write(folder, kind, events, rate, memory_alone) for kind in kinds}
        if "view" in kinds:
            _campaigns(folder)
        counts.write_text("\n".join(f"{kind} {number}" for kind, number in found.items()))
    return {line.split()[0]: int(line.split()[1]) for line in counts.read_text().splitlines()}


def whole(folder: Path, kind: str, lanes: int) -> Path:
    """The Parquet files of these lanes again, each a single row group, made when they are not there; their folder.

    Flink reads a larger file in parts of 32 MiB, in any order: events would come late. A row group stays in one part.
    """
    wanted = folder / f"whole{lanes}" / f"{kind}-parquet"
    if not wanted.exists():
        made = wanted.with_name(f"{wanted.name}.new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for path in sorted((folder / f"lanes{lanes}" / f"{kind}-parquet").glob("*.parquet")):
            table = pq.read_table(path)
            pq.write_table(table, made / path.name, row_group_size=len(table))
        made.rename(wanted)
    return wanted


def _write(folder: Path, kind: str, events: int, rate: float, memory_alone: bool) -> int:
    table = pa.Table.from_batches(_batches(kind, events, rate), ALL_SCHEMAS[kind])
    last = _last(kind, int(table["dateTime"].combine_chunks().view(pa.int64())[-1].as_py()) + _HOUR_US)
    if memory_alone:
        _parquet(folder / "lanes1" / f"{kind}-parquet" / "0.parquet", [*table.to_batches(), last])
        return len(table)
    rows = np.arange(len(table))
    for lanes in (1, 2):
        for lane in range(lanes):
            own = table if lanes == 1 else table.take(rows[lane::lanes])
            _files(folder / f"lanes{lanes}", kind, str(lane), [*own.to_batches(), last])
    starts = range(0, len(table), PART_EVENTS)
    for number, start in enumerate(starts):
        _files(folder / "parts", kind, f"{number:03}", table.slice(start, PART_EVENTS).to_batches(), number)
    _files(folder / "parts", kind, f"{len(starts):03}", [last], len(starts))
    return len(table)


def _batches(kind: str, events: int, rate: float) -> Iterator[pa.RecordBatch]:
    config = Nexmark(1, rate)
    for first in range(0, events, _PIECE):
        until = min(first + _PIECE, events)
        if kind == "view":
            yield _views(config, first, until)
        else:
            yield config.batch(kind, split_kinds(config, first, until)[kind][0])


def _views(config: Nexmark, first: int, last: int) -> pa.RecordBatch:
    """Events of ads as the Yahoo streaming benchmark makes them: 36 letters an id, a third of them views."""
    random = np.random.default_rng(first)
    numbers = np.arange(first, last)

    def ids(kind: int, among: int) -> pa.Array:
        names = pa.array([f"{kind:08d}-0000-4000-8000-{number:012d}" for number in range(1, among + 1)])
        return names.take(pa.array(random.integers(0, among, last - first)))

    def one_of(*names: str) -> pa.Array:
        return pa.array(names).take(pa.array(random.integers(0, len(names), last - first)))

    arrays = [
        ids(1, 100),
        ids(2, 100),
        ids(3, ADS),
        one_of("banner", "modal", "sponsored-search", "mail", "mobile"),
        one_of("view", "click", "purchase"),
        pa.array(config.time_us(numbers)).view(TIME_TYPE),
        pa.array(["1.2.3.4"] * (last - first)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=VIEW)


def _last(kind: str, time_us: int) -> pa.RecordBatch:
    """One event whose keys are 0."""
    texts = {"event_type": "view", "ad_id": "0"}
    arrays = []
    for field in ALL_SCHEMAS[kind]:
        if pa.types.is_timestamp(field.type):
            arrays.append(pa.array([time_us]).view(TIME_TYPE))
        else:
            arrays.append(pa.array([0 if field.type == pa.int64() else texts.get(field.name, "")], field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=ALL_SCHEMAS[kind])


def _files(folder: Path, kind: str, name: str, batches: Sequence[pa.RecordBatch], number: int | None = None) -> None:
    """Both formats. `number`: their place in time, for engines that take files by age."""
    schema = batches[0].schema
    encoder = JsonEncoder(schema, timestamps="sql")
    parquet, json = (folder / f"{kind}-{form}" / f"{name}.{form}" for form in ("parquet", "json"))
    json.parent.mkdir(parents=True, exist_ok=True)
    _parquet(parquet, batches)
    with json.open("wb") as file:
        for batch in batches:
            for start in range(0, batch.num_rows, 100_000):
                file.write(_lines(encoder.encode(batch.slice(start, 100_000))))
    if number is not None:
        for made in (parquet, json):
            os.utime(made, (1_700_000_000 + number, 1_700_000_000 + number))


def _parquet(path: Path, batches: Sequence[pa.RecordBatch]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_batches(batches), path, row_group_size=131_072)


def _lines(documents: pa.Array) -> pa.Buffer:
    empty, line = (pa.scalar(text, documents.type) for text in (b"", b"\n"))
    return pc.binary_join_element_wise(documents, empty, line).buffers()[2]


def _campaigns(folder: Path) -> None:
    """The side table of the Yahoo benchmark: ten ads a campaign, as Parquet and as JSON lines."""
    ads = [f"{3:08d}-0000-4000-8000-{number:012d}" for number in range(1, ADS + 1)]
    table = pa.table({"ad": ["0", *ads], "campaign": [0, *(1 + n // ADS_OF_CAMPAIGN for n in range(ADS))]})
    pq.write_table(table, folder / "campaigns.parquet")
    lines = (f'{{"ad":"{row["ad"]}","campaign":{row["campaign"]}}}\n' for row in table.to_pylist())
    (folder / "campaigns.json").write_text("".join(lines))
