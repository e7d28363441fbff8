"""A copy of the changelog on a local disk is only ever a cache (crash, differential): whatever becomes of it, a restart
has the state that was committed."""

from __future__ import annotations

import logging
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import windrow as wr
from tests.kafka.lines import fresh
from tests.kafka.test_exactly_once import SCHEMA, Died, die, events, expected, fill, latest, read
from windrow.codec.kafka_records import Rows
from windrow.io.kafka import mirror
from windrow.io.kafka.transaction import Transactions
from windrow.testing import At, installed

LIMITS = wr.Limits(epoch_rows=300)
TOTALS = wr.schema(key="int64", n="int64", total="int64")


def totals(broker: str, source: str, name: str, cache: Path | None) -> wr.Job:
    sums = (
        wr.read_kafka(broker, source, schema=SCHEMA, end="latest")
        .group_by("key")
        .agg(n=wr.count(), total=wr.sum("value"))
    )
    sink = sums.write_kafka(broker, f"out-{name}", create=True, partitions=2)
    return wr.job(sink, name=name, shards=2, limits=LIMITS, state_cache=cache)


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.state"))


def taken(job: wr.Job) -> int:
    """How many records of the changelog a restart took from the copies."""
    engine: Any = job._open()
    return sum(copy.taken for copy in engine._ledger._cache._copies.values())


@pytest.fixture(scope="module")
def source(broker: str) -> str:
    topic = fresh("in")
    fill(broker, topic, events(5))
    return topic


@pytest.fixture
def stopped(broker: str, source: str, tmp_path: Path) -> tuple[str, Path]:
    """A job that was stopped half way, and its cache."""
    name, cache = fresh("job"), tmp_path / "cache"
    with totals(broker, source, name, cache) as job:
        job.run(epochs=4)
    assert len(files(cache)) == 2 and all(path.stat().st_size > 1_000 for path in files(cache))
    return name, cache


def finish(broker: str, source: str, name: str, cache: Path | None) -> int:
    """Run to the end and compare; how much came from the cache."""
    with totals(broker, source, name, cache) as job:
        count = taken(job) if cache is not None else 0
        job.run()
    written = read(broker, f"out-{name}", TOTALS)
    assert latest(written) == expected(events(5))
    counts: dict[int, int] = {}
    for row in written:  # no update is there twice, and none goes back
        assert row["n"] > counts.get(row["key"], 0)
        counts[row["key"]] = row["n"]
    return count


def test_a_sound_copy_is_used(broker: str, source: str, stopped: tuple[str, Path]) -> None:
    """law: a restart takes all state from it, but for looking whether the topic still has it."""
    assert finish(broker, source, *stopped) >= 8


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def flip_head(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


def forged(path: Path) -> None:
    """A record more, sound in itself, that was never committed: such as an aborted transaction would have left."""
    path.write_bytes(path.read_bytes() + mirror._frame(10_000, b"{}", b"never"))


def replaced(path: Path) -> None:
    """The last record is another one of the same offset."""
    data = path.read_bytes()
    last, at, head = 0, 0, struct.unpack_from("<II", data)[0] + 8
    at = head
    while at < len(data):
        last = at
        _, offset, key, value = struct.unpack_from("<Iqii", data, at)
        at += 20 + key + value
    path.write_bytes(data[:last] + mirror._frame(offset, b"{}", b"another"))


def backwards(path: Path) -> None:
    data = path.read_bytes()
    head = struct.unpack_from("<II", data)[0] + 8
    path.write_bytes(data + data[head:])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (cut, "cut off"),
    "bit flip": (flip, "checksum|cut off|damaged|cannot follow"),
    "bit flip in the head": (flip_head, "head is damaged"),
    "not committed": (forged, "the topic ends at"),
    "another record": (replaced, "has another record"),
    "twice": (backwards, "cannot follow"),
    "empty": (empty, ""),
    "gone": (Path.unlink, ""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_copy_is_thrown_away(
    broker: str, source: str, stopped: tuple[str, Path], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """law: it is noticed and said, the state comes from the changelog, and the copy is whole again."""
    name, cache = stopped
    change, said = DAMAGES[damage]
    for path in files(cache):
        change(path)
    with caplog.at_level(logging.WARNING):
        with totals(broker, source, name, cache) as job:
            assert taken(job) == 0
            job.run(epochs=1)
        lines = [record.getMessage() for record in caplog.records if "state cache" in record.getMessage()]
    assert len(lines) == (2 if said else 0)
    assert all(re.search(said, line) for line in lines), lines
    assert finish(broker, source, name, cache) > 0


def test_stale_and_foreign_copies(broker: str, source: str, stopped: tuple[str, Path], tmp_path: Path) -> None:
    """law: of a stale one what is still true is used and the rest is fetched; one of another job is not."""
    name, cache = stopped
    old = tmp_path / "old"
    shutil.copytree(cache, old)
    with totals(broker, source, name, None) as job:  # goes on elsewhere, without a cache
        job.run(epochs=3)
    other = fresh("job")
    with totals(broker, source, other, tmp_path / "other") as job:
        job.run(epochs=2)
    mine = tmp_path / "mine"
    mine.mkdir()
    for path in files(cache):
        shutil.copy(path, mine / path.name.replace(name, other))
    assert finish(broker, source, other, mine) == 0
    assert finish(broker, source, name, old) > 0


@pytest.mark.parametrize("point", ["kafka.produced", "kafka.ended", "commit.committed", "ledger.clean.before"])
def test_a_death_leaves_nothing_that_is_not_true(broker: str, source: str, tmp_path: Path, point: str) -> None:
    """crash: between the transaction and the copy, and around both."""
    name, cache = fresh("job"), tmp_path / "cache"
    for arrival in (3, 2):
        handler = At(point, die, arrival if not point.startswith("ledger") else 1)
        try:
            with installed(handler), totals(broker, source, name, cache) as job:
                job.run()
        except Died:
            pass
    finish(broker, source, name, cache)


def test_a_commit_in_doubt_ends_the_copy(
    broker: str, source: str, stopped: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """law: where a commit lies in the topic may not be known; then nothing is kept until the next restart."""
    name, cache = stopped
    real = Transactions.commit

    def in_doubt(self: Transactions, *arguments: Any, **named: Any) -> dict[Any, int]:
        real(self, *arguments, **named)
        return {}

    with totals(broker, source, name, cache) as job:
        job.run(epochs=1)
        with monkeypatch.context() as patched:
            patched.setattr(Transactions, "commit", in_doubt)
            job.run(epochs=1)
        job.run(epochs=1)
        assert not files(cache)
    assert finish(broker, source, name, cache) == 0 and len(files(cache)) == 2


def test_two_jobs_and_one_folder(broker: str, source: str, stopped: tuple[str, Path]) -> None:
    """law: whoever comes second does without, and nothing is mixed up."""
    name, cache = stopped
    with totals(broker, source, name, cache) as first:
        first.run(epochs=1)
        with totals(broker, source, name, cache) as second:
            second.run(epochs=1)
            with pytest.raises(wr.FencedError):
                first.run()
    finish(broker, source, name, cache)


def test_only_for_kafka(tmp_path: Path) -> None:
    """law: a ledger that is local already needs none."""
    job = wr.from_arrow(pa.table({"n": [1]})).write_log(tmp_path / "log", "out")
    with pytest.raises(wr.PlanError, match="state_cache is for jobs whose ledger is in Kafka"):
        wr.job(job, state_cache=tmp_path / "cache").run()


def rows(first: int, count: int) -> Rows:
    """Records whose values are 300 KB each, with a gap after each: where markers stand."""
    values = pa.array([bytes([n % 251]) * 300_000 for n in range(count)])
    data = np.frombuffer(values.buffers()[2], np.uint8)
    starts = (np.arange(count) * 300_000).astype(np.int32)
    sizes = np.full(count, 300_000, np.int32)
    offsets = first + 2 * np.arange(count, dtype=np.int64)
    return Rows(offsets, np.zeros(count, np.int64), starts, np.zeros(count, np.int32), starts, sizes,
                starts + sizes, data)  # fmt: skip


def test_what_is_not_needed_goes(tmp_path: Path) -> None:
    """law: a file does not grow for ever, and has every record from where it is needed on."""
    whole = rows(10, 40)

    def fetch(start: int, end: int) -> Any:
        at, to = np.searchsorted(whole.offsets, [start, end])
        return iter([whole.slice(int(at), int(to))] if to > at else [])

    copy = mirror.Mirror(tmp_path / "x.state", {"topic": "t"})
    assert sum(len(part) for part in copy.through(9, 90, fetch)) == 40
    full = (tmp_path / "x.state").stat().st_size
    copy.trim(20)
    assert (tmp_path / "x.state").stat().st_size == full
    copy.trim(71)
    assert (tmp_path / "x.state").stat().st_size < full / 3
    copy.close()
    again = mirror.Mirror(tmp_path / "x.state", {"topic": "t"})
    found = list(again.through(71, 90, fetch))
    assert [int(n) for part in found for n in part.offsets] == list(range(72, 90, 2)) and again.taken == 9
    values = [value.as_py() for part in found for value in part.values()]
    assert values == [bytes([n % 251]) * 300_000 for n in range(31, 40)]
    again.close()
