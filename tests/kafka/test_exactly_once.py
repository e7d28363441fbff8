"""Kafka to Kafka against a real broker: exactly once through deaths at every step of a commit (crash, differential)."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import windrow as wr
from windrow.progress.faults import POINTS
from windrow.testing import At, installed

SCHEMA = wr.schema(key="int64", value="int64")
ROWS = 3_000
PARTITIONS = 3


class Died(Exception):
    """Stands for the end of a process."""


def die() -> None:
    raise Died


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def events(seed: int, count: int = ROWS) -> pa.Table:
    dice = random.Random(seed)
    return pa.table(
        {"key": [dice.randrange(40) for _ in range(count)], "value": [dice.randrange(1_000) for _ in range(count)]}
    )


def fill(broker: str, topic: str, rows: pa.Table) -> None:
    """Write rows with a job of ours, keyed, in several epochs."""
    sink = wr.from_arrow(rows, name="rows").write_kafka(broker, topic, key="key", create=True, partitions=PARTITIONS)
    wr.job(sink, name=fresh("fill"), limits=wr.Limits(epoch_rows=700)).run()


def read(broker: str, topic: str, schema: Any = SCHEMA) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = wr.read_kafka(broker, topic, schema=schema, end="latest").collect().to_pylist()
    return rows


def test_rows_come_back_as_they_were(broker: str) -> None:
    """differential: written in a transaction an epoch, read back by us, and by librdkafka with the same partitions."""
    topic, rows = fresh("plain"), events(1)
    fill(broker, topic, rows)
    assert sorted(read(broker, topic), key=str) == sorted(rows.to_pylist(), key=str)
    from confluent_kafka import Consumer, TopicPartition

    reader = Consumer({"bootstrap.servers": broker, "group.id": topic, "isolation.level": "read_committed"})
    reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    seen: dict[bytes, set[int]] = defaultdict(set)
    count = 0
    while count < ROWS:
        messages = reader.consume(1_000, timeout=10)
        assert messages
        for message in messages:
            assert message.error() is None
            seen[message.key()].add(message.partition())
        count += len(messages)
    reader.close()
    assert count == ROWS and len(seen) == 40 and all(len(places) == 1 for places in seen.values())


def totals(broker: str, source: str, target: str, **options: Any) -> wr.Job:
    """Sums by key, as upserts in a compactable topic."""
    sums = (
        wr.read_kafka(broker, source, schema=SCHEMA, end="latest")
        .group_by("key")
        .agg(n=wr.count(), total=wr.sum("value"))
    )
    sink = sums.write_kafka(broker, target, create=True, partitions=2)
    return wr.job(sink, name=f"job-{target}", shards=4, **options)


def latest(rows: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    return {row["key"]: (row["n"], row["total"]) for row in rows}


def expected(rows: pa.Table) -> dict[int, tuple[int, int]]:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    made = frame.group_by("key").agg(n=pl.len(), total=pl.col("value").sum())
    return {row["key"]: (row["n"], row["total"]) for row in made.to_dicts()}


#: What a run without trouble and without a sink elsewhere never comes to: see `test_transaction`, and below.
ELSEWHERE = {"epoch.written_ahead", "kafka.added", "kafka.doubt", "kafka.recovered"}
STEPS = [point for point in POINTS if point.startswith(("kafka.", "commit.", "epoch.", "engine.", "ledger.open"))]
STEPS = [point for point in STEPS if point not in ELSEWHERE]


@pytest.mark.parametrize("point", STEPS)
def test_a_death_at_any_step_loses_and_doubles_nothing(broker: str, point: str) -> None:
    """crash: dies at the step, twice; every update of the next life goes on from what is committed."""
    source, target, rows = fresh("in"), fresh("out"), events(2)
    fill(broker, source, rows)
    limits = wr.Limits(epoch_rows=600)
    deaths = 0
    for arrival in (1 if point == "kafka.source.placed" else 2, 1, None):  # that is reached once in a life
        handler = At(point, die, arrival) if arrival else None
        try:
            with installed(handler or (lambda _: None)), totals(broker, source, target, limits=limits) as job:
                job.run()
        except (Died, wr.BrokerError) as death:
            assert "Died" in repr(death)  # in a thread of the fetcher it is the end of the source
            deaths += 1
    assert deaths  # a test whose point is not reached would show nothing
    schema = wr.schema(key="int64", n="int64", total="int64")
    written = read(broker, target, schema)
    assert latest(written) == expected(rows)
    counts: dict[int, int] = {}
    for row in written:  # each update of a key counts more than the one before it: none is there twice
        assert row["n"] > counts.get(row["key"], 0)
        counts[row["key"]] = row["n"]


def test_rows_that_go_are_tombstones(broker: str) -> None:
    """law: a row that no longer passes leaves a record with its key and no value."""
    target = fresh("few")
    rows = pa.table({"key": [1, 2, 1, 3], "value": [5, 6, 7, 6]})
    few = wr.from_arrow(rows).group_by("key").agg(n=wr.count()).filter(pl.col("n") < 2)
    job = few.write_kafka(broker, target, create=True)
    assert "upserts by key with deletions" in job.explain() and "Kafka cluster" in job.explain()
    wr.job(job, limits=wr.Limits(epoch_rows=1)).run()
    raw = wr.read_kafka(broker, target, end="latest").collect()
    found = [(int.from_bytes(row["key"], "big"), row["value"] is None) for row in raw.to_pylist()]
    assert found == [(1, False), (2, False), (1, True), (3, False)]


@pytest.mark.parametrize("deleting", [False, True])
def test_updates_of_the_null_key_keep_their_order(broker: str, deleting: bool) -> None:
    """law: they stay in one partition; the soak found them dealt out, where readers take the last one for an older."""
    target = fresh("nulls")
    counts = wr.from_arrow(pa.table({"key": pa.array([None] * 6, pa.int64())})).group_by("key").agg(n=wr.count())
    kept = counts.filter(pl.col("n") != 3) if deleting else counts
    sink = kept.write_kafka(broker, target, create=True, partitions=3)
    wr.job(sink, name=target, limits=wr.Limits(epoch_rows=1)).run()
    raw = wr.read_kafka(broker, target, include=["partition", "value"], end="latest").collect().to_pylist()
    assert len(raw) == 6 and len({row["partition"] for row in raw}) == 1


def test_a_second_process_takes_over(broker: str) -> None:
    """law: the first is fenced, and says so; what it had in flight is not seen."""
    source, target, rows = fresh("in"), fresh("out"), events(3)
    fill(broker, source, rows)
    limits = wr.Limits(epoch_rows=600)
    with totals(broker, source, target, limits=limits) as first:
        first.run(epochs=1)
        with totals(broker, source, target, limits=limits) as second:
            second.run(epochs=1)
            with pytest.raises(wr.FencedError):
                first.run()
            second.run()
    assert latest(read(broker, target, wr.schema(key="int64", n="int64", total="int64"))) == expected(rows)


def test_from_kafka_into_files_and_into_another_ledger(broker: str, tmp_path: Path) -> None:
    """crash: a sink outside the cluster, and a sink in the cluster of a job whose ledger is an embedded log."""
    source, target, rows = fresh("in"), fresh("out"), events(4, 500)
    fill(broker, source, rows)
    wr.Log(tmp_path / "log").close()

    def job() -> wr.Job:
        stream = wr.read_kafka(broker, source, schema=SCHEMA, end="latest")
        files, topic = stream.write_json(tmp_path / "files"), stream.write_kafka(broker, target, create=True)
        return wr.job(files, topic, name=f"both-{target}", ledger=tmp_path / "log", limits=wr.Limits(epoch_rows=100))

    for point in ("epoch.written_ahead", "commit.staged", "commit.committed", "kafka.ended"):
        with installed(At(point, die, 2)), pytest.raises(Died), job() as one:
            one.run()
    with job() as last:
        last.run()
    wanted = sorted(rows.to_pylist(), key=str)
    assert sorted(read(broker, target), key=str) == wanted
    files = wr.read_json(str(tmp_path / "files" / "*.ndjson"), schema=SCHEMA).collect().to_pylist()
    assert sorted(files, key=str) == wanted


def numbers(broker: str, topic: str) -> list[int]:
    return sorted(row["n"] for row in read(broker, topic, wr.schema(n="int64")))


@pytest.mark.parametrize("epochs", [0, 1, None])
def test_a_sink_beside_another_ledger_whose_job_is_taken_over(broker: str, tmp_path: Path, epochs: int | None) -> None:
    """crash: an epoch is written ahead, another process opens the job, and does so many; the first one writes nothing
    more, and does not stop the other one."""
    target = fresh("beside")
    wr.Log(tmp_path / "log").close()

    def job() -> wr.Job:
        rows = wr.from_arrow(pa.table({"n": range(30)}), name="numbers")
        sink = rows.write_kafka(broker, target, create=True, partitions=2)
        return wr.job(sink, name=f"job-{target}", ledger=tmp_path / "log", limits=wr.Limits(epoch_rows=10))

    with job() as second:
        with (
            installed(At("commit.begin", lambda: second.run(epochs=epochs), 2)),
            pytest.raises(wr.FencedError),
            job() as first,
        ):
            first.run()
        assert numbers(broker, target) == list(range(30 if epochs is None else 10 + 10 * epochs))
        second.run()
    assert numbers(broker, target) == list(range(30))


def test_what_is_missing_is_said(broker: str) -> None:
    """law: a topic that is not there, and a record that is too large, in words."""
    rows = wr.from_arrow(pa.table({"key": [1], "value": ["x" * 2_000_000]}), name="rows")
    with pytest.raises(wr.PlanError, match=r"there is no topic 'nowhere'; make it, or say .*create=True"):
        rows.write_kafka(broker, "nowhere", name="nowhere").run()
    with pytest.raises(wr.RecordError, match=r"value of 2000020 bytes; the topic takes record batches"):
        rows.write_kafka(broker, fresh("small"), key="key", create=True).run()
