"""The log's directory: damage is found and located, aborted writes are swept, old events go, and nothing else.

Laws, most of them after damage done by hand or by a process that dies.
"""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.progress.ledger_job import start, unnamed_files
from windrow.clock import ManualClock
from windrow.errors import CorruptionError, LogError
from windrow.io.log import maps
from windrow.io.log.log import Log
from windrow.io.log.store import DATABASE


def values(log: Log, topic: str = "t", partition: int = 0) -> list[bytes]:
    start_offset, end = log.start_offset(topic, partition), log.end_offset(topic, partition)
    batches = log.batches(log.topic(topic), partition, start_offset, end)
    return [value for batch, _ in batches for value in batch.column("value").to_pylist()]


def data_files(path: Path) -> list[Path]:
    return sorted((path / "data").iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


# --- damage


def test_every_flipped_bit_is_located(path: Path) -> None:
    """Law: whichever byte of a data file rots, verify() names the chunk it lies in, and reading it raises."""
    with Log(path) as log:
        log.create_topic("t", partitions=2)
        for number in range(3):
            log.append("t", [b"%d" % number] * 3, partition=0)
            log.append("t", [b"%d" % number] * 2, partition=1)
        with log.store.reading() as connection:
            chunks = connection.execute("SELECT partition, base_offset, rows, position, length FROM chunks").fetchall()
    (file,) = data_files(path)
    whole = file.read_bytes()
    header = min(position for *_, position, _ in chunks)
    for at in range(0, len(whole), 41):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        file.write_bytes(data)
        with Log(path) as log:
            (problem,) = log.verify()
            assert problem.file == f"data/{file.name}"
            assert problem.first_byte <= at < problem.end_byte
            if at < header:
                assert problem.topic == "t" and "schema" in problem.reason
                assert len(values(log)) == 9  # we read by the schema in the index
                continue
            (hit,) = [chunk for chunk in chunks if chunk[3] <= at < chunk[3] + chunk[4]]
            assert (problem.partition, problem.first_offset, problem.next_offset) == (hit[0], hit[1], hit[1] + hit[2])
            assert "checksum" in str(problem) and f"t[{hit[0]}]" in str(problem)
            with pytest.raises(CorruptionError, match=rf"{file.name} is damaged between bytes {hit[3]} and"):
                values(log, partition=hit[0])
            assert len(values(log, partition=1 - hit[0])) in (6, 9)


@pytest.mark.parametrize("keep", [0, 1, 100, 130, 500, 2_000])
def test_truncated_file_is_located(path: Path, keep: int) -> None:
    """Law: a file that lost its end is an error that says so, never a crash of the reader."""
    with Log(path) as log:
        log.create_topic("t")
        for number in range(10):
            log.append("t", [b"%d" % number] * 3)
    (file,) = data_files(path)
    os.truncate(file, keep)
    with Log(path) as log:
        problems = log.verify()
        assert problems and all(f"ends at byte {keep}" in problem.reason for problem in problems)
        with pytest.raises(CorruptionError, match=rf"{file.name} ends at byte {keep}; t\[0\] offsets"):
            values(log)
    file.unlink()
    with Log(path) as log:
        with pytest.raises(CorruptionError, match="is not there; it holds t"):
            values(log)
        assert len([problem for problem in log.verify() if problem.partition == 0]) == 10


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE chunks SET base_offset = 4 WHERE base_offset = 3",
        "UPDATE chunks SET rows = 2 WHERE base_offset = 3",
        "UPDATE chunks SET position = position + 8 WHERE base_offset = 3",
        "UPDATE chunks SET length = length - 8 WHERE base_offset = 3",
        "UPDATE chunks SET crc = crc + 1 WHERE base_offset = 3",
        "UPDATE chunks SET max_us = max_us + 1 WHERE base_offset = 3",
        "UPDATE chunks SET file = 99 WHERE base_offset = 3",
        "DELETE FROM chunks WHERE base_offset = 3",
        "DELETE FROM chunks WHERE base_offset = 6",
        "UPDATE partitions SET next_offset = 10",
        "UPDATE partitions SET start_offset = 1",
    ],
)
def test_a_wrong_index_is_found(path: Path, change: str) -> None:
    """Law: what the index says of a chunk is covered by checksums and by offsets being dense."""
    with Log(path) as log:
        log.create_topic("t")
        for number in range(3):
            log.append("t", [b"%d" % number] * 3)
        with log.store.transaction() as transaction:
            transaction.execute(change)
        assert log.verify()
        if "partitions SET start" not in change:
            with pytest.raises(LogError):
                values(log)


def test_damaged_database(path: Path) -> None:
    """Law: a damaged SQLite file is reported, by verify() or when it is opened; never a bare sqlite3 error."""
    with Log(path) as log:
        log.create_topic("t")
        for number in range(300):
            log.append("t", [b"%d" % number])
    whole = (path / DATABASE).read_bytes()
    noticed = 0
    for page in range(len(whole) // 4096):
        data = bytearray(whole)
        data[page * 4096 + (100 if page == 0 else 0) : page * 4096 + 400] = os.urandom(300 if page == 0 else 400)[:300]
        (path / DATABASE).write_bytes(data[: len(whole)])
        try:
            with Log(path) as log:
                noticed += bool(log.verify())
        except LogError:
            noticed += 1
    assert noticed >= len(whole) // 4096 - 2  # a page may be free


# --- aborted writes


def _killed_writer(path: Path) -> None:
    log = Log(path)
    log.append("t", [b"kept"])
    log.work().__enter__().rows(log.topic("t"), 0, log.read("t", 0, 0)[0])
    os._exit(9)


def test_aborted_tails_are_swept(path: Path) -> None:
    """Law: a dead writer's tail is cut where its last commit ends; what was committed stays; a second sweep is idle."""
    with Log(path) as log:
        log.create_topic("t")
    start(_killed_writer, path).join()
    (file,) = data_files(path)
    torn = file.stat().st_size
    with Log(path) as log:
        assert log.verify() == []  # a tail is no damage
        assert log.sweep() == [f"data/{file.name}"]
        assert file.stat().st_size < torn
        assert log.sweep() == [] and values(log) == [b"kept"]
        log.append("t", [b"more"])
        assert len(data_files(path)) == 2  # never appends to another writer's file
        assert values(log) == [b"kept", b"more"] and log.verify() == []


def test_a_tail_may_be_cut_while_a_file_is_mapped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a reader that had just seen how long a file is failed when the tail was swept before it mapped it."""
    with Log(path) as log:
        log.create_topic("t")
    start(_killed_writer, path).join()
    (file,) = data_files(path)
    real = maps.mmap.mmap
    swept: list[str] = []

    def sweep_then_map(*arguments: Any, **named: Any) -> mmap.mmap:
        with Log(path) as other:
            swept.extend(other.sweep())
        return real(*arguments, **named)

    with Log(path) as log:
        monkeypatch.setattr(maps.mmap, "mmap", sweep_then_map)
        assert values(log) == [b"kept"] and swept == [f"data/{file.name}"]


def test_first_write_sweeps_after_crashed_writers(path: Path) -> None:
    """Law: nobody has to ask for it; lock files of the dead go too, files that are not ours stay."""
    with Log(path) as log:
        log.create_topic("t")
    for _ in range(3):
        start(_killed_writer, path).join()
    (path / "data" / "notes.txt").write_text("mine")
    assert len(list((path / "writers").iterdir())) == 1  # each next writer has swept after the one before
    with Log(path) as log:
        log.append("t", [b"new"])
        assert len(list((path / "writers").iterdir())) == 1
        assert unnamed_files(log) == set() and (path / "data" / "notes.txt").exists()
        assert values(log) == [b"kept"] * 3 + [b"new"]


def test_sweep_spares_the_living(path: Path) -> None:
    """Law: files of a writer that lives are never touched, though no commit names them yet."""
    with Log(path) as log, Log(path) as other:
        log.create_topic("t")
        with log.work() as work:
            batch = pa.record_batch(
                [[b"k"], [b"v"], pa.array([1], pa.timestamp("us", "UTC"))], schema=log.topic("t").schema
            )
            work.rows(log.topic("t"), 0, batch)
            assert other.sweep() == [] and len(data_files(path)) == 1
            other.append("t", [b"first"])
            with work.commit():
                pass
        assert values(other) == [b"first", b"v"]
        assert other.sweep() == [] and other.verify() == []


# --- retention


def test_retention_by_age(path: Path) -> None:
    """Law: whole chunks go when their append is too long ago; offsets go on; late readers are told what is there."""
    clock = ManualClock(0)
    with Log(path, clock=clock, segment_bytes=1) as log:
        log.create_topic("t", retention="10s")
        log.create_topic("forever")
        log.append("forever", [b"x"])
        for number in range(5):
            log.append("t", [b"%d" % number] * 2, timestamps=10**15)
            clock.advance(3_000_000)
        assert log.apply_retention() == {"t": 4}
        assert (log.start_offset("t", 0), log.end_offset("t", 0)) == (4, 10)
        assert values(log) == [b"2", b"2", b"3", b"3", b"4", b"4"]
        with pytest.raises(LogError, match=r"t\[0\]: offset 3 is no longer there: .* offsets 4 to 9 are there"):
            log.read("t", 0, 3)
        assert log.apply_retention(now=10**9) == {"t": 6}
        assert log.append("t", [b"new"]) == {0: (10, 11)}
        assert log.apply_retention(now=0) == {"t": 0}
        assert values(log) == [b"new"] and values(log, "forever") == [b"x"] and log.verify() == []
        assert len(data_files(path)) <= 3


def test_files_that_were_written_to_when_their_last_rows_went_are_removed_later(path: Path) -> None:
    """Law: however soon rows go, no more files stay than are written to (a soak filled a disk with them)."""
    with Log(path, segment_bytes=4_000) as log, Log(path, segment_bytes=4_000) as other:
        log.create_topic("t", retention="1us")
        for number in range(12):
            for writer in (log, other):
                writer.append("t", [bytes([number]) * 900] * 3)
            log.apply_retention(now=2**60)
        assert len(data_files(path)) <= 4
        assert log.end_offset("t", 0) == 72
        log.append("t", [b"kept"])
        assert values(log, "t")[-1] == b"kept"


def test_retention_by_size_keeps_at_least_that_much(path: Path) -> None:
    """Law: what stays is no less than `retention_bytes` of each partition, and not a chunk more than needed."""
    with Log(path, segment_bytes=5_000) as log:
        log.create_topic("t", partitions=2, retention_bytes=10_000)
        for number in range(40):
            log.append("t", [b"%d" % number * 500], partition=0)
        log.append("t", [b"x" * 500], partition=1)
        log.apply_retention()
        with log.store.reading() as connection:
            kept = connection.execute("SELECT partition, sum(length), min(length) FROM chunks GROUP BY 1").fetchall()
        assert 10_000 <= kept[0][1] < 10_000 + 2 * kept[0][2] and kept[1][1] < 10_000
        assert values(log)[-1] == b"39" * 500 and log.end_offset("t", 0) == 40
        assert sum(file.stat().st_size for file in data_files(path)) < 25_000
        assert log.verify() == []


def test_writers_apply_retention_by_size_themselves(path: Path) -> None:
    """Law: a topic with a bound stays near it, however much is appended."""
    with Log(path, segment_bytes=200_000) as log:
        log.create_topic("t", retention_bytes=500_000)
        for _ in range(60):
            log.append("t", [b"x" * 100_000])
        assert log.topic("t").bytes < 3_000_000 and log.start_offset("t", 0) > 0
        assert sum(file.stat().st_size for file in data_files(path)) < 3_500_000


def test_a_reader_outlives_retention(path: Path) -> None:
    """Law: what was read stays readable after its file is gone."""
    with Log(path, segment_bytes=1, clock=ManualClock(0)) as log:
        log.create_topic("t", retention="1s")
        log.append("t", [b"held"])
        log.append("t", [b"next"])
        (batch,) = log.read("t", 0, 0, max_rows=1)
        assert log.apply_retention(now=10**8) == {"t": 2}
        assert data_files(path) == [] or all(b"held" not in file.read_bytes() for file in data_files(path))
        assert batch["value"].to_pylist() == [b"held"]


# --- what is not a log


def test_not_a_log(path: Path) -> None:
    """Law: a wrong place is refused with a sentence, and left as it is."""
    with pytest.raises(LogError, match=r"no log at .*: there is no such directory"):
        Log(path, create=False)
    path.write_text("a file")
    with pytest.raises(LogError, match="is a file; a log is a directory"):
        Log(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(LogError, match=f"it holds no {DATABASE}"):
        Log(path, create=False)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(LogError, match=r"not a log and not empty: it holds notes\.txt"):
        Log(path)
    assert [entry.name for entry in path.iterdir()] == ["notes.txt"]
    (path / DATABASE).write_bytes(b"SQLite? no. " * 1_000)
    with pytest.raises(LogError, match="is not a database of a windrow log"):
        Log(path, create=False)


def test_another_database_and_another_version(path: Path) -> None:
    """Law: another program's database is left alone; another format is named."""
    path.mkdir()
    connection = sqlite3.connect(path / DATABASE)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    with pytest.raises(LogError, match="is a SQLite database but not a windrow log"):
        Log(path)
    shutil.rmtree(path)
    Log(path).close()
    connection = sqlite3.connect(path / DATABASE)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(LogError, match="has format 7; this version of windrow reads format 1"):
        Log(path)


def test_interrupted_creation_is_completed(path: Path) -> None:
    """Law: an empty database file, or folders alone, are what a crash in the first moment leaves."""
    path.mkdir()
    (path / "data").mkdir()
    (path / DATABASE).touch()
    with Log(path) as log:
        log.create_topic("t")
        log.append("t", [b"x"])
        assert values(log) == [b"x"]


def _read_only_reader(path: Path) -> None:
    if os.getuid() == 0:  # whom permissions do not stop
        os.setgid(65534)
        os.setuid(65534)
    log = Log(path, create=False, read_only=True)
    assert values(log) == [b"x"]
    try:
        Log(path).append("t", [b"y"])
    except LogError as error:
        assert "read" in str(error) or "Permission" in str(error), error
    else:
        raise AssertionError("wrote to a read-only directory")
    os._exit(0)


def test_read_only_directory(path: Path) -> None:
    """Law: who may only read can read, and is told when they write."""
    with Log(path) as log:
        log.create_topic("t")
        log.append("t", [b"x"])
    for folder in [*path.parents]:
        if folder.stat().st_uid == os.getuid() and "pytest" in str(folder):
            folder.chmod(0o755)
    for folder in (path, path / "data", path / "writers"):
        folder.chmod(0o555)
    process = start(_read_only_reader, path)
    process.join(30)
    for folder in (path, path / "data", path / "writers"):
        folder.chmod(0o755)
    assert process.exitcode == 0


def test_opened_for_reading_only(path: Path) -> None:
    """Law: such a log writes nothing, beside one that does."""
    with Log(path) as log, Log(path, read_only=True) as reader:
        log.create_topic("t")
        log.append("t", [b"x"])
        assert values(reader) == [b"x"] and reader.verify() == []
        with pytest.raises(LogError, match="opened for reading only"):
            reader.append("t", [b"y"])
        with pytest.raises(LogError, match="opened for reading only"):
            reader.create_topic("u")


# --- limits


def _full_disk(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    log = Log(path)
    acked = 0
    try:
        while True:
            log.append("t", [b"%d" % acked * 3_000])
            acked += 1
    except LogError as error:
        assert "cannot write" in str(error), error
    assert values(log) == [b"%d" % number * 3_000 for number in range(acked)]
    os._exit(acked)


def test_full_disk(path: Path) -> None:
    """Law: no room is a clean error; everything acknowledged is there, nothing else, and with room it goes on."""
    with Log(path) as log:
        log.create_topic("t")
    process = start(_full_disk, path)
    process.join(60)
    acked = process.exitcode
    assert acked is not None and acked > 10
    with Log(path) as log:
        assert values(log) == [b"%d" % number * 3_000 for number in range(acked)]
        log.append("t", [b"room"])
        log.sweep()
        assert values(log)[-1] == b"room" and log.verify() == [] and unnamed_files(log) == set()


def test_open_files_do_not_grow(path: Path) -> None:
    """Law: many segments, few descriptors and few maps."""
    with Log(path, segment_bytes=1) as log:
        log.create_topic("t")
        for number in range(60):
            log.append("t", [b"%d" % number])
        assert len(values(log)) == 60
        ours = [link for link in Path("/proc/self/fd").iterdir() if str(path) in os.path.realpath(link)]
        assert len(ours) < 16
        assert Path("/proc/self/maps").read_text().count(str(path / "data")) < 12


def test_a_log_whose_maker_died_is_none_and_can_be_made(path: Path) -> None:
    """Crash: what a process leaves that dies before the tables are there is said to be no log, and becomes one."""
    (path / "data").mkdir(parents=True)
    connection = sqlite3.connect(path / DATABASE)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    with pytest.raises(LogError, match=r"no log at .* its maker died"):
        Log(path, create=False)
    (path / f"{DATABASE}-journal").write_bytes(bytes(512))
    with pytest.raises(LogError, match=r"no log at .* its maker died"):
        Log(path, create=False)
    with Log(path) as log:
        log.create_topic("t")
        assert [info.name for info in log.topics()] == ["t"]
