"""Where a group has its limits, and that it says so; positions are only ever committed by a member (law, crash)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import windrow as wr
from tests.kafka.groups.job import PARTITIONS, QUICK, Process, Thread, Work, await_, ending
from tests.kafka.groups.test_groups import ALL, shared
from tests.kafka.lines import fresh
from tests.kafka.test_exactly_once import SCHEMA, fill, read
from windrow.io.kafka import ledger as ledgers
from windrow.io.kafka import topics
from windrow.io.kafka.client import Cluster
from windrow.io.kafka.producer import GroupOffsets, Producer

#: kafka-python leaves the socket of a connection that is being made open when its client is closed.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def work(broker: str) -> Work:
    made = Work(broker)
    made.fill(2_000)
    return made


def test_positions_are_committed_by_members_for_what_they_hold(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """law: no commit without a generation (which brokers would take from nobody), and none for a partition of others,
    through a rebalance and a life that is lost."""
    asked: list[GroupOffsets] = []
    commit_offsets = Producer.commit_offsets

    def recorded(self: Producer, group: GroupOffsets) -> Any:
        asked.append(group)
        return commit_offsets(self, group)

    monkeypatch.setattr(Producer, "commit_offsets", recorded)
    one = Thread(work.job())
    with ending(one):
        await_(lambda: one.partitions() == ALL, 30, "all partitions")
        two = Thread(work.job())
        with ending(two):
            await_(lambda: shared(one, two), 30, "two shares")
            work.fill(500)
            runner: Any = two.job._runner
            runner._group._lose("a test says so")  # as when its session has expired
            work.fill(500)
            await_(lambda: shared(one, two), 30, "two shares again")
            work.check()
    assert len(asked) > 10
    assert all(group.generation > 0 and group.member for group in asked)
    assert all({topic for topic, _ in group.offsets} == {work.source} and len(group.offsets) == 1 for group in asked)
    generations: dict[tuple[int, int], set[str]] = {}
    for group in asked:
        ((_, partition),) = group.offsets
        generations.setdefault((group.generation, partition), set()).add(group.member)
    assert all(len(members) == 1 for members in generations.values())


def test_an_epoch_that_does_not_end_in_time_is_lost(work: Work, tmp_path: Path) -> None:
    """crash: partitions should move while every epoch takes longer than the group waits; what is computed is thrown
    away, others go on from the last commit, and the slow one comes back."""
    slow = Process(work, tmp_path / "slow", sleep_at="epoch.applied", sleep_s=6, kafka={"rebalance_timeout_ms": 2_000})
    with ending(slow):
        await_(lambda: slow.partitions() == ALL, 60, "all partitions at the slow one")
        quick = Process(work, tmp_path / "quick", kafka={"rebalance_timeout_ms": 2_000})
        with ending(quick):
            await_(lambda: "has lost its partitions" in slow.said(), 60, "the slow one is left out")
            await_(lambda: len(quick.partitions()) > 0, 60, "partitions at the quick one")
            work.fill(500)
            slow.kill()
            work.check()


def grow(broker: str, topic: str, partitions: int) -> None:
    cluster = Cluster(broker)
    try:
        topics.grow(cluster, topic, partitions)
    finally:
        cluster.close()


def test_without_state_new_partitions_are_shared_out(broker: str) -> None:
    """law: they are read from their first record, though the job began at the end of the others."""
    source, target, name = fresh("in"), fresh("out"), fresh("grow")
    fill(broker, source, pa.table({"key": list(range(50)), "value": [-1] * 50}))

    def copy() -> wr.Job:
        stream = wr.read_kafka(broker, source, schema=SCHEMA, start="latest",
                               kafka={**QUICK, "metadata_max_age_ms": 500})  # fmt: skip
        return wr.job(stream.write_kafka(broker, target, key="key", create=True), name=name, group=True)

    one, two = Thread(copy()), Thread(copy())
    with ending(one, two):
        await_(lambda: sorted(one.partitions() + two.partitions()) == [0, 1, 2], 30, "two shares")
        grow(broker, source, 8)
        rows = pa.table({"key": list(range(200)), "value": [7] * 200})
        sink = wr.from_arrow(rows, name="rows").write_kafka(broker, source, key="key")
        wr.job(sink, name=fresh("fill")).run()
        await_(lambda: sorted(one.partitions() + two.partitions()) == list(range(8)), 30, "shares of the new ones")
        await_(lambda: len(read(broker, target)) >= 200, 30, "what was written")
    assert one.error is None and two.error is None
    assert sorted(read(broker, target), key=str) == sorted(rows.to_pylist(), key=str)


def test_nothing_is_lost_between_the_start_at_the_end_and_the_first_row(broker: str) -> None:
    """law: a partition that moves before it has had a row goes on where it began, not where its topic ends by then.

    Found by a test that failed now and then: rows that came while partitions moved were read by nobody.
    """
    source, target, name = fresh("in"), fresh("out"), fresh("late")
    fill(broker, source, pa.table({"key": list(range(50)), "value": [-1] * 50}))

    def copy() -> wr.Job:
        stream = wr.read_kafka(broker, source, schema=SCHEMA, start="latest", kafka=QUICK)
        return wr.job(stream.write_kafka(broker, target, key="key", create=True), name=name, group=True)

    one = Thread(copy())
    with ending(one):
        await_(lambda: one.partitions() == [0, 1, 2], 30, "all partitions")
    rows = pa.table({"key": list(range(200)), "value": [7] * 200})
    fill(broker, source, rows)
    two = Thread(copy())
    with ending(two):
        await_(lambda: len(read(broker, target)) >= 200, 30, "what came meanwhile")
    assert one.error is None and two.error is None
    assert sorted(read(broker, target), key=str) == sorted(rows.to_pylist(), key=str)


def test_with_state_a_topic_must_not_grow(work: Work) -> None:
    """law: a key would come to another partition than its state."""
    one = Thread(work.job(kafka={"metadata_max_age_ms": 500}))
    with ending(one):
        await_(lambda: one.partitions() == ALL, 30, "all partitions")
        grow(work.broker, work.source, PARTITIONS + 1)
        await_(lambda: one.ended, 30, "the end of the job")
    assert isinstance(one.error, wr.StateError)
    assert "began when its input had 6 partitions, now it has 7" in str(one.error)


def test_one_process_and_a_group_do_not_share_a_name(work: Work) -> None:
    """law: state and positions are divided in another way."""
    one = Thread(work.job())
    with ending(one):
        await_(lambda: one.partitions() == ALL, 30, "all partitions")
    alone = work.job().configured(group=False)
    with pytest.raises(wr.StateError, match="was run in a group before, and is run by one process now"):
        alone.run()
    name = fresh("alone")
    with work.job().configured(group=False, name=name) as first:
        first.run(until="caught up")
    with pytest.raises(wr.StateError, match="was run by one process before, and is run in a group now"):
        work.job().configured(name=name).run(timeout=30)


def test_a_group_of_something_else(work: Work) -> None:
    """law: a consumer of another kind has the group; the job is told what to do."""
    from confluent_kafka import Consumer

    other = Consumer({"bootstrap.servers": work.broker, "group.id": work.name, "auto.offset.reset": "earliest"})
    try:
        other.subscribe([work.source])
        deadline_s = time.monotonic() + 20
        while not other.assignment():
            other.poll(0.1)
            assert time.monotonic() < deadline_s
        with pytest.raises(wr.BrokerError, match="has members that are no instances of this job"):
            work.job().run(timeout=30)
    finally:
        other.close()


def test_topics_that_are_not_there_or_do_not_fit(broker: str) -> None:
    """law: a missing topic, and two of different sizes whose rows should meet."""
    left, right = fresh("left"), fresh("right")
    rows = pa.table({"key": [1], "value": [1]})
    for topic, partitions in ((left, 2), (right, 3)):
        sink = wr.from_arrow(rows, name="rows").write_kafka(
            broker, topic, key="key", create=True, partitions=partitions
        )
        wr.job(sink, name=fresh("fill")).run()

    def job(*names: str) -> wr.Job:
        one, two = (wr.read_kafka(broker, name, schema=SCHEMA, partitioned_by="key") for name in names)
        joined = one.join(two.select("key", other="value"), on="key", ttl="unbounded")
        return wr.job(joined.write_kafka(broker, fresh("out"), key="key", create=True), name=fresh("j"), group=True)

    with pytest.raises(wr.PlanError, match=rf"as many partitions each.*'{left}' has 2, '{right}' has 3"):
        job(left, right).run(timeout=10)
    with pytest.raises(wr.PlanError, match="there is no topic 'nowhere'"):
        job(left, "nowhere").run(timeout=10)


def test_a_join_of_two_topics(broker: str) -> None:
    """differential: rows of a key meet in the partitions of the same number, whoever works on it."""
    left, right, target, name = fresh("left"), fresh("right"), fresh("out"), fresh("join")
    rows = pa.table({"key": [n % 40 for n in range(400)], "value": list(range(400))})
    names = pa.table({"key": list(range(40)), "value": [n * n for n in range(40)]})
    for topic, table in ((left, rows), (right, names)):
        sink = wr.from_arrow(table, name="rows").write_kafka(broker, topic, key="key", create=True, partitions=4)
        wr.job(sink, name=fresh("fill")).run()

    def job() -> wr.Job:
        one, two = (
            wr.read_kafka(broker, topic, schema=SCHEMA, partitioned_by="key", kafka=QUICK, end="latest")
            for topic in (left, right)
        )
        joined = one.join(two.select("key", square="value"), on="key", ttl="unbounded")
        return wr.job(joined.write_kafka(broker, target, key="key", create=True), name=name, group=True)

    one, two = Thread(job()), Thread(job())
    with ending(one, two):
        await_(lambda: one.ended and two.ended, 60, "the end of what is there")
    assert one.error is None and two.error is None
    found = read(broker, target, wr.schema(key="int64", value="int64", square="int64"))
    wanted = [{"key": n % 40, "value": n, "square": (n % 40) ** 2} for n in range(400)]
    assert sorted(found, key=str) == sorted(wanted, key=str)


def test_state_comes_back_with_its_progress_said(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """law: a restore says how far it is and how long it may take; a partition that is ready does not wait for it; a
    second restore on the same disk takes the state from its copy."""
    with work.job(state_cache=tmp_path) as first:
        first.run(until="caught up")
    assert len(list(tmp_path.glob("*.state"))) == PARTITIONS
    saved_state = ledgers.KafkaLedger.saved_state

    def slowly(self: ledgers.KafkaLedger, ends: Mapping[int, int]) -> Any:
        for write in saved_state(self, ends):
            yield write
            if self._partition == 2:
                time.sleep(0.5)

    monkeypatch.setattr(ledgers.KafkaLedger, "saved_state", slowly)
    said: list[str] = []
    job = work.job(state_cache=tmp_path)

    def look(progress: Any) -> None:
        said.extend(progress.restoring)

    one = Thread(job, look)
    with ending(one):
        await_(lambda: one.partitions() == [0, 1, 3, 4, 5], 30, "the others go on")
        await_(lambda: one.partitions() == ALL, 30, "all")
        work.fill(200)
        work.check()
    assert any(sentence.startswith("partition 2: ") for sentence in said)


def test_instances_say_how_far_they_are(work: Work) -> None:
    """law: metrics add up what the partitions of the process did."""
    with work.job() as job:
        seen: list[Any] = []
        job.run(until="caught up", on_progress=lambda progress: seen.append(progress.as_dict()))
    metrics = job.metrics()
    assert metrics["sources"][work.source]["rows_in"] == 2_000 == metrics["progress"]["events"]
    assert metrics["stages"]["commit"]["batches"] == metrics["progress"]["epoch"] >= PARTITIONS
    assert seen and all(os.linesep not in sentence for one in seen for sentence in one["restoring"])
