"""A small job over the embedded log, run in child processes that die at fault points.

Input: numbers in topic ``in``. State: their running sum, one shard a partition. Output: topic ``out`` gets, for every
number, the number and its partition's running sum. With `elsewhere` the same rows go through a sink in another log.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow as pa

from windrow.io.log.ledger import LogLedger
from windrow.io.log.log import Log
from windrow.io.log.sink import LogSink
from windrow.io.log.source import LogSource
from windrow.progress import faults
from windrow.progress.ledger import EpochCommit, EpochInput, StateWrite

PARTITIONS = 2
NUMBERS = 60  # in all
EPOCH_ROWS = 4  # of each partition
OUT = pa.schema([("partition", pa.int64()), ("number", pa.int64()), ("sum", pa.int64())])
PLAN = {"fingerprint": "sums", "operators": {"sum": "running sum"}}
SEGMENT_BYTES = 3_000  # so that files are left and removed often

# A server that has everything imported and starts no threads: a child takes milliseconds.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.progress.ledger_job"])


def prepare(path: Path) -> None:
    with Log(path) as log:
        log.create_topic("in", partitions=PARTITIONS)
        for partition in range(PARTITIONS):
            log.append("in", [b"%d" % number for number in numbers_of(partition)], partition=partition)
        log.create_topic("out", partitions=PARTITIONS, schema=OUT)


def numbers_of(partition: int) -> list[int]:
    return list(range(partition, NUMBERS, PARTITIONS))


def expected(partition: int) -> list[tuple[int, int, int]]:
    """Every output row of the partition, from the input alone."""
    total, rows = 0, []
    for number in numbers_of(partition):
        total += number
        rows.append((partition, number, total))
    return rows


def run(path: Path, elsewhere: Path | None = None) -> None:
    """Run the job until its input is used up."""
    log = Log(path, segment_bytes=SEGMENT_BYTES)
    other = Log(elsewhere, segment_bytes=SEGMENT_BYTES) if elsewhere else None
    source = LogSource(log, "in", end="latest")
    sink = LogSink(other or log, "out", OUT, key="partition", partitions=PARTITIONS, in_ledger=other is None)
    ledger = LogLedger(log)
    recovery = ledger.open("sums", PLAN)
    sums = dict.fromkeys(range(PARTITIONS), 0)
    for write in recovery.state:
        sums[write.shard] = write.tables["sum"]["sum"][0].as_py()
    if recovery.epoch:
        assert recovery.progress["sums"] == list(sums.values())
    sink.open("sums", recovery.epoch)
    epoch = recovery.epoch
    positions = dict(recovery.positions.get("in", {}))
    redo = recovery.planned
    while any(positions.get(p, 0) < source.end_offset(p) for p in source.partitions()):
        epoch += 1
        starts = {p: positions.get(p, source.start_offset(p)) for p in source.partitions()}
        ranges = {p: (at, source.plan(p, at, EPOCH_ROWS, 1 << 20)) for p, at in starts.items()}
        if redo is not None:
            ranges, redo = dict(redo.ranges["in"]), None
        if other is not None:
            ledger.write_ahead(epoch, EpochInput({"in": ranges}))
        commit_epoch(ledger, sink, source, epoch, ranges, sums)
        positions = {p: end for p, (_, end) in ranges.items()}
    sink.close()
    ledger.close()
    for one in (log, other):
        if one is not None:
            one.close()


def commit_epoch(
    ledger: LogLedger,
    sink: LogSink,
    source: LogSource,
    epoch: int,
    ranges: dict[int, tuple[int, int]],
    sums: dict[int, int],
) -> None:
    rows: list[tuple[int, int, int]] = []
    for partition, (start, end) in ranges.items():
        for piece in source.read(partition, start, end, ("value",)):
            for value in piece.data["value"].to_pylist():
                sums[partition] += int(value)
                rows.append((partition, int(value), sums[partition]))
    columns = [pa.array(column, pa.int64()) for column in zip(*rows, strict=True)]
    outputs = sink.stage(epoch, [pa.RecordBatch.from_arrays(columns, schema=OUT)])
    # The state is small: a delta says the sum, a snapshot says it and replaces what was before.
    state = [
        StateWrite("sum", p, "snapshot" if (epoch + p) % 3 == 0 else "delta", {"sum": _one(total)})
        for p, total in sums.items()
    ]
    progress = {"sums": list(sums.values())}
    ledger.commit(
        EpochCommit(epoch, {"in": {p: end for p, (_, end) in ranges.items()}}, progress, state, list(outputs))
    )
    sink.publish(epoch)


def _one(total: int) -> pa.RecordBatch:
    return pa.record_batch({"sum": pa.array([total], pa.int64()), "padding": ["x" * 300]})


def record_syncs(path: Path, record: Path, skipped: str) -> None:
    """Write down what a power cut would leave: the synced size of each file, the synced names of each folder.

    `skipped` turns one safeguard off, to show that the test would notice: ``"data"`` or ``"names"``.
    """
    sync_data, sync_any = os.fdatasync, os.fsync

    def note(kind: str, name: str, value: object) -> None:
        with record.open("a") as file:
            file.write(json.dumps([kind, name, value]) + "\n")

    def fdatasync(descriptor: int) -> None:
        if skipped != "data":
            sync_data(descriptor)
            note("data", str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_size)

    def fsync(descriptor: int) -> None:
        if skipped != "names":
            sync_any(descriptor)
            folder = Path(f"/proc/self/fd/{descriptor}").readlink()
            note("names", str(folder), [entry.name for entry in folder.iterdir()])

    os.fdatasync, os.fsync = fdatasync, fsync


def cut_power(path: Path, record: Path, sizes: dict[str, int]) -> None:
    """Take away what was not synced when the process died; `sizes` are those that the files had before it."""
    names: dict[str, list[str]] = {}
    for file in sizes:
        names.setdefault(str(Path(file).parent), []).append(Path(file).name)
    for line in record.read_text().splitlines() if record.exists() else ():
        kind, name, value = json.loads(line)
        if kind == "data":
            sizes[name] = value
        else:
            names[name] = [*names.get(name, ()), *value]
    for file in path.glob("*/*.arrows"):
        synced = sizes.get(str(file))
        if file.name not in names.get(str(file.parent), ()):
            file.unlink()
        elif synced is None or file.stat().st_size > synced:
            os.truncate(file, synced or 0)


def run_until_power_cut(path: Path, record: Path, point: str, arrival: int, skipped: str = "") -> int:
    before = {str(file): file.stat().st_size for file in path.glob("*/*.arrows")}
    record.unlink(missing_ok=True)
    process = start(_powered_child, path, record, point, arrival, skipped)
    process.join(60)
    cut_power(path, record, before)
    return process.exitcode if process.exitcode is not None else -1


def _powered_child(path: Path, record: Path, point: str, arrival: int, skipped: str) -> None:
    record_syncs(path, record, skipped)
    _child(path, None, point, arrival)


def _child(path: Path, elsewhere: Path | None, point: str | None, arrival: int) -> None:
    if point is not None:
        faults.install(faults.At(point, faults.crash, arrival))
    run(path, elsewhere)


def start(target: Any, *arguments: Any) -> BaseProcess:
    process = _processes.Process(target=target, args=arguments)
    process.start()
    return process


def run_in_child(path: Path, elsewhere: Path | None = None, point: str | None = None, arrival: int = 1) -> int:
    """Run the job in another process; its exit code: 0, or 137 when it died at `point`."""
    process = start(_child, path, elsewhere, point, arrival)
    process.join(60)
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        raise AssertionError("the job hangs")
    assert process.exitcode is not None
    return process.exitcode


def check(path: Path, elsewhere: Path | None = None) -> None:
    """The output is complete, in order and once; the log is sound; nothing is left lying about."""
    with Log(elsewhere or path) as log:
        for partition in range(PARTITIONS):
            rows = found(log, partition)
            assert rows == rows_of_topic_partition(log, partition), f"partition {partition}"
    for one in {path, elsewhere or path}:
        with Log(one) as log:
            log.sweep()
            assert log.verify() == []
            assert unnamed_files(log) == set()
            assert list((one / "writers").iterdir()) == []


def found(log: Log, partition: int) -> list[tuple[int, int, int]]:
    end = log.end_offset("out", partition)
    batches = log.batches(log.topic("out"), partition, 0, end)
    return [(row["partition"], row["number"], row["sum"]) for batch, _ in batches for row in batch.to_pylist()]


def rows_of_topic_partition(log: Log, partition: int) -> list[tuple[int, int, int]]:
    """What should be in a partition of ``out``: the rows of the input partitions whose key belongs there, merged."""
    from windrow.io.log.partitioner import partitions_of

    keys = partitions_of(pa.array(range(PARTITIONS)), PARTITIONS).tolist()
    inputs = [expected(p) for p in range(PARTITIONS) if keys[p] == partition]
    rows = []
    for start_row in range(0, NUMBERS, EPOCH_ROWS):
        for one in inputs:
            rows += one[start_row : start_row + EPOCH_ROWS]
    return rows


def unnamed_files(log: Log) -> set[str]:
    with log.store.reading() as connection:
        named = {
            name
            for (name,) in connection.execute(
                "SELECT name FROM files WHERE id IN (SELECT file FROM chunks UNION SELECT file FROM state)"
            )
        }
    there = {f"{file.parent.name}/{file.name}" for file in log.path.glob("*/*.arrows")}
    assert named <= there
    return there - named
