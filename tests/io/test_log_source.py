"""A topic as a source and as a sink, several processes at once: oracles and laws."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.progress.ledger_job import start
from windrow.codec.base import Decoded, Rejected
from windrow.datatypes import INT64, STRING, Field, Schema
from windrow.errors import FencedError, InvariantError, LogError, PlanError, RecordError
from windrow.io.base import REJECTED
from windrow.io.log.log import Log
from windrow.io.log.sink import LogSink
from windrow.io.log.source import LogSource

SCHEMA = Schema((Field("n", INT64), Field("s", STRING)))


class SlowJson:
    """A decoder by the standard library."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns

    def decode(self, documents: pa.Array) -> Decoded:
        rows, bad = [], []
        for number, value in enumerate(documents.to_pylist()):
            try:
                rows.append(json.loads(value))
            except (ValueError, TypeError):
                bad.append(number)
        types = {"n": pa.int64(), "s": pa.string()}
        arrays = [pa.array([row.get(name) for row in rows], types[name]) for name in self._columns]
        data = pa.RecordBatch.from_arrays(arrays, names=list(self._columns))
        reasons = ("not JSON",) * len(bad)
        return Decoded(data, Rejected(np.array(bad, np.int64), (None,) * len(bad), reasons))


def everything(
    source: LogSource, partition: int, columns: tuple[str, ...], max_rows: int = 10**6
) -> list[dict[str, Any]]:
    """Read range by range; checks that what is read says truly where it comes from."""
    rows: list[dict[str, Any]] = []
    at = source.start_offset(partition)
    while (end := source.plan(partition, at, max_rows, 1 << 30)) > at:
        assert end - at <= max_rows
        follows = at
        for piece in source.read(partition, at, end, columns):
            count = piece.data.num_rows + (piece.rejected.num_rows if piece.rejected is not None else 0)
            assert piece.first_offset == follows and piece.input_bytes > 0
            follows += count
            rows += piece.data.to_pylist()
        assert follows == end
        at = end
    return rows


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 40), st.integers(1, 25), st.integers(0, 100)
)
def test_pieces_are_the_rows(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[int], max_rows: int, piece_rows: int, skip: int
) -> None:
    """Oracle: however ranges, chunks and pieces are cut, the rows are those of the list, each at its offset."""
    total = sum(chunks)
    skip = min(skip, total)
    with Log(tmp_path_factory.mktemp("log")) as log:
        log.create_topic("t")
        at = 0
        for rows in chunks:
            log.append("t", [b"%d" % number for number in range(at, at + rows)])
            at += rows
        source = LogSource(log, "t", start={0: skip}, piece_rows=piece_rows, record_columns={"offset": "o"})
        rows = everything(source, 0, ("o", "value"), max_rows)
        assert rows == [{"o": number, "value": b"%d" % number} for number in range(skip, total)]


def test_decoded_columns_and_what_belongs_to_the_record(tmp_path: Path) -> None:
    """Law: columns come in the order asked for; a bad record is left out, handed back whole, and moves no offset."""
    good = [b'{"n": 1, "s": "a"}', b"oops", b'{"n": 3}', None, b'{"s": "e"}']
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
        log.append("t", good, keys=[b"k0", b"k1", None, b"k3", b"k4"], timestamps=7)
        extra = {"key": "k", "timestamp": "at", "partition": "p", "offset": "o"}
        source = LogSource(log, "t", schema=SCHEMA, decoder=SlowJson, on_error="dead_letter", record_columns=extra)
        assert source.schema.names == ("n", "s", "k", "at", "p", "o")
        (piece,) = source.read(0, 0, 5, ("o", "s", "k", "n", "p"))
        assert piece.data.to_pydict() == {
            "o": [0, 2, 4], "s": ["a", None, "e"], "k": [b"k0", None, b"k4"], "n": [1, 3, None], "p": [0, 0, 0]
        }  # fmt: skip
        assert piece.offsets is not None and piece.offsets.to_pylist() == [0, 2, 4]
        assert piece.rejected is not None and piece.rejected.schema.equals(REJECTED)
        at = datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=UTC)
        rejected = piece.rejected.to_pylist()
        assert rejected == [
            dict(zip(REJECTED.names, values, strict=True))
            for values in (
                ("t", 0, 1, at, b"k1", b"oops", None, None, "not JSON"),
                ("t", 0, 3, at, b"k3", None, None, None, "not JSON"),
            )
        ]
        (piece,) = source.read(0, 0, 5, ("o",))
        assert piece.data["o"].to_pylist() == [0, 1, 2, 3, 4]  # nothing has to be decoded for it
        failing = LogSource(log, "t", schema=SCHEMA, decoder=SlowJson)
        with pytest.raises(RecordError, match=r"t\[0\] offset 1: not JSON; the record begins 'oops'"):
            list(failing.read(0, 0, 5, ("n",)))
        (piece,) = source.read(0, 0, 5, ())
        assert piece.data.num_rows == 5


def test_typed_topics_are_read_as_they_lie(tmp_path: Path) -> None:
    """Law: columns are selected, and nothing is copied."""
    table = pa.table({"a": pa.array(range(1000)), "b": ["x"] * 1000})
    with Log(tmp_path / "log") as log:
        log.create_topic("t", schema=table.schema)
        log.append_arrow("t", table)
        source = LogSource(log, "t")
        before = pa.total_allocated_bytes()
        (piece,) = source.read(0, 10, 1000, ("b", "a"))
        assert pa.total_allocated_bytes() == before
        assert piece.data.schema.names == ["b", "a"] and piece.data["a"].to_pylist() == list(range(10, 1000))
        with pytest.raises(PlanError, match="has no column 'c'; it has a, b"):
            list(source.read(0, 0, 10, ("c",)))
        with pytest.raises(PlanError, match="needs no decoder"):
            LogSource(log, "t", schema=SCHEMA, decoder=SlowJson)
        with pytest.raises(PlanError, match="have no 'key'"):
            LogSource(log, "t", record_columns={"key": "k"})
        with pytest.raises(PlanError, match="a record has no 'kye'"):
            LogSource(log, "t", record_columns={"kye": "k"})


def test_where_a_source_starts_and_ends(tmp_path: Path) -> None:
    """Law: earliest, latest, offsets, a time; a bounded source ends where the topic ended when it was made."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t", partitions=2)
        log.append("t", [b"a", b"b", b"c"], timestamps=[10, 20, 30], partition=1)
        bounded = LogSource(log, "t", end="latest")
        assert bounded.bounded and list(bounded.partitions()) == [0, 1]
        starts: list[tuple[Any, int]] = [("earliest", 0), ("latest", 3), ({1: 2}, 2), ({}, 0), (15, 1), (99, 3)]
        for start_at, expected in starts:
            assert LogSource(log, "t", start=start_at).start_offset(1) == expected
        late = LogSource(log, "t", start="latest")
        assert late.start_offset(0) == 0
        log.append("t", [b"d"], partition=1)
        assert (
            bounded.end_offset(1) == 3 and bounded.plan(1, 0, 100, 10**6) == 3 and bounded.plan(1, 3, 100, 10**6) == 3
        )
        assert late.end_offset(1) == 4 and not late.bounded and late.plan(1, 3, 100, 10**6) == 4
        with pytest.raises(PlanError, match="start is 'earliest', 'latest'"):
            LogSource(log, "t", start="erliest").start_offset(0)  # type: ignore[arg-type]
        with pytest.raises(LogError, match="no topic 'u'"):
            LogSource(log, "u")


def test_a_lost_offset_is_named(tmp_path: Path) -> None:
    """Law: never a silent reset."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t", retention="1s")
        log.append("t", [b"a"])
        source = LogSource(log, "t")
        assert source.plan(0, 0, 10, 100) == 1
        log.apply_retention(now=2**60)
        with pytest.raises(LogError, match=r"t\[0\]: offset 0 is no longer there"):
            source.plan(0, 0, 10, 100)


def test_planning_asks_sqlite_nothing_while_nothing_changes(tmp_path: Path) -> None:
    """Law: besides whether anybody has committed."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
        for _ in range(20):
            log.append("t", [b"x"] * 10)
        source = LogSource(log, "t")
        source.plan(0, 0, 1_000, 10**6)
        statements: list[str] = []
        with log.store.reading() as connection:
            connection.set_trace_callback(statements.append)
            for at in range(0, 200, 7):
                source.plan(0, at, 13, 10**6)
                source.end_offset(0)
            connection.set_trace_callback(None)
        assert set(statements) == {"PRAGMA data_version"}


def _late_producer(path: Path) -> None:
    with Log(path) as log:
        time.sleep(0.15)
        log.append("t", [b"x"])


def test_wait(tmp_path: Path) -> None:
    """Law: returns soon after an append by a thread or another process; not for other topics; else after the time."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
        log.create_topic("other")
        source = LogSource(log, "t")
        source.wait(5.0)  # the first call looks
        begun = time.monotonic()
        log.append("other", [b"x"])
        source.wait(0.1)
        assert time.monotonic() - begun >= 0.1
        timer = threading.Timer(0.05, lambda: log.append("t", [b"x"]))
        timer.start()
        begun = time.monotonic()
        source.wait(10.0)
        assert time.monotonic() - begun < 5 and source.end_offset(0) == 1
        timer.join()
        process = start(_late_producer, tmp_path / "log")
        source.wait(20.0)
        assert source.end_offset(0) == 2
        process.join()


def test_connectors_share_one_open_log(tmp_path: Path) -> None:
    """Law: parts of a job that name the same directory use one log; the last to close closes it."""
    with Log(tmp_path / "log") as log:
        log.create_topic("t")
    one, two = LogSource(str(tmp_path / "log"), "t"), LogSource(tmp_path / "." / "log", "t")
    assert one._log is two._log
    one.close()
    one.close()
    assert two._log.append("t", [b"x"]) == {0: (0, 1)}
    two.close()
    with pytest.raises(LogError, match="closed"):
        two._log.append("t", [b"x"])


# --- sinks


ROWS = pa.record_batch({"k": ["a", "b", None, "a"], "n": [1, 2, 3, 4]})


def rows_of(log: Log, topic: str) -> list[dict[str, Any]]:
    info = log.topic(topic)
    return [
        row
        for partition in range(info.partitions)
        for batch, _ in log.batches(info, partition, 0, info.end_offsets[partition])
        for row in batch.to_pylist()
    ]


def test_sink_in_the_ledgers_log(tmp_path: Path) -> None:
    """Law: rows are handed over, split by key as a producer would; the same rows again split the same."""
    with Log(tmp_path / "log") as log:
        sink = LogSink(log, "out", ROWS.schema, key="k", partitions=4)
        sink.open("job", 0)
        first, again = sink.stage(1, [ROWS, ROWS.slice(0, 0)]), sink.stage(1, [ROWS])
        assert [(w.partition, w.data.to_pylist()) for w in first] == [(w.partition, w.data.to_pylist()) for w in again]
        log.create_topic("reference", partitions=4, schema=ROWS.schema)
        by_key = log.append_arrow("reference", ROWS.slice(0, 2), key="k")
        assert set(by_key) <= {write.partition for write in first}
        assert log.topic("out").end_offsets == (0, 0, 0, 0)
        sink.publish(1)
        assert sink.guarantee == "exactly-once"


def test_sink_as_json(tmp_path: Path) -> None:
    """Law: values come from the encoder, keys from the key column."""

    def encode(batch: pa.RecordBatch) -> pa.Array:
        return pa.array([json.dumps(row).encode() for row in batch.to_pylist()], pa.large_binary())

    with Log(tmp_path / "log") as log:
        sink = LogSink(log, "out", ROWS.schema, key="k", encoder=encode)
        sink.open("job", 0)
        (write,) = sink.stage(1, [ROWS])
        assert write.data["key"].to_pylist() == [b"a", b"b", None, b"a"]
        assert [json.loads(value) for value in write.data["value"].to_pylist()] == ROWS.to_pylist()
        assert write.data.schema.equals(log.topic("out").schema)


def test_sink_that_does_not_fit(tmp_path: Path) -> None:
    """Law: wrong topics and keys are refused before the first epoch."""
    with Log(tmp_path / "log") as log:
        log.create_topic("raw")
        log.create_topic("typed", schema=pa.schema([("x", pa.int8())]))
        with pytest.raises(PlanError, match="no column 'x' for the key; there are: k, n"):
            LogSink(log, "out", ROWS.schema, key="x")
        with pytest.raises(PlanError, match="'raw' is raw"):
            LogSink(log, "raw", ROWS.schema).open("job", 0)
        with pytest.raises(PlanError, match="'typed' has the columns x, the result has k, n"):
            LogSink(log, "typed", ROWS.schema).open("job", 0)


def test_sink_in_another_log(tmp_path: Path) -> None:
    """Law: staged rows are invisible and survive; publishing twice is publishing once; what was not committed goes."""
    with Log(tmp_path / "log") as log:

        def sink(committed: int) -> LogSink:
            one = LogSink(log, "out", ROWS.schema, in_ledger=False)
            one.open("job", committed)
            return one

        first = sink(0)
        assert first.stage(1, [ROWS]) == ()
        assert rows_of(log, "out") == []
        first.publish(1)
        first.publish(1)
        assert rows_of(log, "out") == ROWS.to_pylist()
        first.stage(2, [ROWS.slice(0, 1)])
        second = sink(2)  # the ledger has committed epoch 2, the sink had not published it
        assert rows_of(log, "out") == [*ROWS.to_pylist(), *ROWS.slice(0, 1).to_pylist()]
        for refused in (lambda: first.publish(2), lambda: first.stage(3, [ROWS])):
            with pytest.raises(FencedError, match="was taken over by another process"):
                refused()
        second.stage(3, [ROWS])
        third = sink(2)  # the ledger has not committed epoch 3
        third.stage(3, [ROWS.slice(1, 1)])
        third.publish(3)
        expected = [*ROWS.to_pylist(), *ROWS.slice(0, 2).to_pylist()]
        assert rows_of(log, "out") == expected and log.verify() == []
        with pytest.raises(InvariantError, match="is not open"):
            LogSink(log, "out", ROWS.schema, in_ledger=False).publish(1)


# --- several processes


def _producer(path: Path, number: int) -> None:
    with Log(path, segment_bytes=20_000) as log:
        for turn in range(20):
            log.append("t", [b"%d:%d:%d" % (number, turn, row) for row in range(3)], partition=turn % 2)


def test_concurrent_producers(tmp_path: Path) -> None:
    """Oracle: four processes and two threads append to the same partitions: nothing lost, nothing twice, offsets dense,
    each producer's order kept, while another reads."""
    path = tmp_path / "log"
    with Log(path) as log:
        log.create_topic("t", partitions=2)
        processes = [start(_producer, path, number) for number in range(4)]
        threads = [threading.Thread(target=_producer, args=(path, number)) for number in (4, 5)]
        for thread in threads:
            thread.start()
        seen: dict[int, list[bytes]] = {0: [], 1: []}
        deadline = time.monotonic() + 60
        while sum(map(len, seen.values())) < 6 * 20 * 3:
            assert time.monotonic() < deadline
            for partition, found in seen.items():
                for batch in log.read("t", partition, len(found), max_rows=50):
                    found += batch["value"].to_pylist()
            log.wait(0.01)
        for one in (*processes, *threads):
            one.join()
        for partition, found in seen.items():
            for number in range(6):
                ours = [value for value in found if value.startswith(b"%d:" % number)]
                assert ours == [b"%d:%d:%d" % (number, t, r) for t in range(partition, 20, 2) for r in range(3)]
        assert log.verify() == [] and log.sweep() == []
