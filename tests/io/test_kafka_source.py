"""`KafkaSource` and `read_kafka` against a scripted broker: what is read, where it starts and ends, what stops it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import windrow as wr
from tests.io.kafka_double import Cluster, Log, batch, sealed
from windrow.codec.json import JsonDecoder
from windrow.datatypes import INT64, Field, Schema
from windrow.errors import BrokerError, PlanError, RecordError
from windrow.io.kafka.bounds import KafkaInput
from windrow.io.kafka.fetcher import FetchLimits
from windrow.io.kafka.source import KafkaSource

SCHEMA = Schema((Field("n", INT64),))
LIMITS = FetchLimits(wait_ms=20, refresh_s=0.05, request_s=3.0, unavailable_s=6.0)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


def number(n: int) -> bytes:
    return b'{"n": %d}' % n


def fill(log: Log, numbers: range, **options: Any) -> None:
    log.add(*map(number, numbers), **options)


def source(cluster: Cluster, *topics: str, limits: FetchLimits = LIMITS, **wanted: Any) -> KafkaSource:
    policy = wanted.pop("on_error", "fail")
    return KafkaSource(
        cluster.bootstrap,
        KafkaInput(wanted.pop("pattern", topics), **wanted),
        schema=SCHEMA,
        decoder=lambda names: JsonDecoder(SCHEMA.pick(names)),
        record_columns={"offset": "o", "partition": "p", "topic": "t", "key": "k"},
        on_error=policy,
        limits=limits,
    )


def collected(made: KafkaSource) -> list[int]:
    return sorted(wr.from_source(made).collect()["n"].to_pylist())


class Reading:
    """A job over a source, whose rows are kept."""

    def __init__(self, made: KafkaSource, **options: Any) -> None:
        self.rows: list[int] = []
        job = wr.from_source(made, name="in").for_each_batch(
            lambda b, _: self.rows.extend(b["n"].to_pylist()), name="j"
        )
        self.job = wr.job(job, **options)

    def up_to_date(self) -> list[int]:
        self.job.run(until="caught up", timeout=10)
        return sorted(self.rows)


@pytest.mark.parametrize("codec", [0, 1])
def test_only_committed_records_come_with_what_belongs_to_them(cluster: Cluster, codec: int) -> None:
    """golden: aborted, compacted, empty and marker batches, in one answer or in many, give the committed records."""
    (log,) = cluster.topic("a")
    fill(log, range(3), codec=codec)
    fill(log, range(3, 6), producer=7, codec=codec)
    log.add(producer=7, marker=0)
    fill(log, range(6, 8), producer=7, last=12, codec=codec)  # 9 to 12 were compacted away
    log.add(producer=7, marker=1)
    log.add(last=15, codec=codec)  # nothing is left in it
    fill(log, range(8, 9), codec=codec)
    log.aborted = [(7, 3, 6)]
    for limits in (LIMITS, FetchLimits(wait_ms=20, partition_bytes=1, request_bytes=1)):
        table = wr.from_source(source(cluster, "a", end="latest", limits=limits)).collect()
        assert table.to_pydict() == {
            "n": [0, 1, 2, 6, 7, 8], "o": [0, 1, 2, 7, 8, 16], "p": [0] * 6, "t": ["a"] * 6, "k": [None] * 6
        }  # fmt: skip


def test_a_range_gives_the_same_rows_whenever_it_is_read(cluster: Cluster) -> None:
    """law: ranges keep their bounds, join without a hole, and are the same after they were given away."""
    (log,) = cluster.topic("a")
    for base in range(0, 60, 6):
        fill(log, range(base, base + 6))
    made = source(cluster, "a")
    try:
        at, ranges = made.start_offset(0), []
        while at < made.end_offset(0):
            end = made.plan(0, at, 4, 1 << 20)
            assert at < end <= at + 4
            ranges.append((at, end))
            at = end
        for start, end in [*ranges, (0, 60), *reversed(ranges), (13, 14)]:
            rows = [n for piece in made.read(0, start, end, ("n",)) for n in piece.data["n"].to_pylist()]
            assert rows == list(range(start, end))
        assert made.plan(0, 0, 10, 1) == 1  # never empty when something is there
    finally:
        made.close()


def test_where_reading_starts_and_ends(cluster: Cluster) -> None:
    """golden: each kind of start and of end, for a record of every second."""
    logs = cluster.topic("a", 2)
    for log in logs:
        for n in range(10):
            fill(log, range(n, n + 1), time_ms=n * 1_000)
    logs[1].start = 4
    cluster.committed = {("g", "a", 0): 7}

    def both(first: range, second: range) -> list[int]:
        return sorted([*first, *second])

    whole = both(range(10), range(4, 10))
    assert collected(source(cluster, "a", end="latest")) == whole
    assert collected(source(cluster, "a", start="latest", end="latest")) == []
    assert collected(source(cluster, "a", start=3_000_000, end="latest")) == both(range(3, 10), range(4, 10))
    assert collected(source(cluster, "a", start=99_000_000, end="latest")) == []
    assert collected(source(cluster, "a", end=6_000_000)) == both(range(6), range(4, 6))
    assert collected(source(cluster, "a", start={0: 8}, end={0: 9, 1: 5})) == [4, 8]
    assert collected(source(cluster, "a", start={"a": {1: 9}}, end="latest")) == both(range(10), range(9, 10))
    assert collected(source(cluster, "a", start="committed", group="g", end="latest")) == both(
        range(7, 10), range(4, 10)
    )
    with pytest.raises(BrokerError, match="group 'h' has committed no offset"):
        collected(source(cluster, "a", start="committed", group="h", end="latest"))
    with pytest.raises(PlanError, match="needs group="):
        collected(source(cluster, "a", start="committed", end="latest"))
    with pytest.raises(BrokerError, match=r"a\[0\] cannot start at offset 11: it ends at 10"):
        collected(source(cluster, "a", start={0: 11}, end="latest"))
    with pytest.raises(BrokerError, match="there is no topic 'b'"):
        source(cluster, "b")


def test_markers_at_the_end_do_not_make_a_reader_wait(cluster: Cluster) -> None:
    """golden: a topic that ends in markers, in compacted offsets, or in an open transaction ends there."""
    for kind in ("markers", "compacted", "open"):
        (log,) = cluster.topic(kind)
        fill(log, range(3), producer=7)
        log.add(producer=7, marker=1)
        if kind == "markers":
            for _ in range(100):
                log.add(producer=7, marker=1)
        elif kind == "compacted":
            log.ends_at = 50
        else:
            log.stable = log.end
            fill(log, range(3, 9), producer=8)
        begun = time.monotonic()
        assert collected(source(cluster, kind, end="latest")) == [0, 1, 2]
        reading = Reading(source(cluster, kind))
        assert reading.up_to_date() == [0, 1, 2]
        assert time.monotonic() - begun < 5
        reading.job.close()


def test_partitions_and_topics_that_come_are_read_from_their_first_record(cluster: Cluster) -> None:
    """law: growth of a topic and new topics of a pattern are taken in while a job runs, also with start='latest'."""
    logs = cluster.topic("in-a")
    fill(logs[0], range(1))
    reading = Reading(source(cluster, pattern=re.compile("in-.*"), start="latest"))
    assert reading.up_to_date() == []
    logs.append(Log())
    fill(logs[1], range(10, 12))
    (other,) = cluster.topic("in-b")
    fill(other, range(20, 22))
    cluster.topic("out-b")[0].add(number(99))
    deadline = time.monotonic() + 10
    while len(reading.rows) < 4 and time.monotonic() < deadline:
        reading.up_to_date()
    assert sorted(reading.rows) == [10, 11, 20, 21]
    reading.job.close()


def test_positions_keep_their_meaning_when_topics_come_and_the_job_restarts(cluster: Cluster, tmp_path: Any) -> None:
    """law: partition numbers are kept by name in the commit, whatever order topics come in."""
    fill(cluster.topic("m")[0], range(2))
    reading = Reading(source(cluster, pattern=re.compile(".")), ledger=tmp_path / "log")
    assert reading.up_to_date() == [0, 1]
    reading.job.close()
    fill(cluster.topic("a")[0], range(10, 13))  # sorts before m
    fill(cluster.topics["m"].logs[0], range(2, 3))
    made = source(cluster, pattern=re.compile("."), start="latest")
    again = Reading(made, ledger=tmp_path / "log")
    assert again.up_to_date() == [2, 10, 11, 12]
    assert [made.place(n) for n in made.partitions()] == [("m", 0), ("a", 0)]
    again.job.close()


def test_an_offset_that_is_gone_stops_the_job_unless_told_otherwise(cluster: Cluster, tmp_path: Any) -> None:
    """golden: records deleted before they were read are never passed over in silence."""
    (log,) = cluster.topic("a")
    fill(log, range(5))
    reading = Reading(source(cluster, "a"), ledger=tmp_path / "log")
    assert reading.up_to_date() == [0, 1, 2, 3, 4]
    reading.job.close()
    for n in range(5, 10):
        fill(log, range(n, n + 1))
    log.start = 8
    with pytest.raises(BrokerError, match=r"a\[0\] offset 5 is gone: the first record there is at 8; 3 offsets"):
        Reading(source(cluster, "a"), ledger=tmp_path / "log").up_to_date()
    going = Reading(source(cluster, "a", on_offset_gone="earliest"), ledger=tmp_path / "log")
    assert going.up_to_date() == [8, 9]
    going.job.close()
    log.batches, log.ends_at = [], 3
    log.start = 0
    with pytest.raises(BrokerError, match="is behind the end of the topic"):
        Reading(source(cluster, "a", on_offset_gone="earliest"), ledger=tmp_path / "log").up_to_date()


def test_a_topic_that_was_made_again_is_another_topic(cluster: Cluster, tmp_path: Any) -> None:
    """golden: the id tells, while the job runs and when it starts again."""
    fill(cluster.topic("a")[0], range(5))
    reading = Reading(source(cluster, "a"), ledger=tmp_path / "log")
    assert reading.up_to_date() == [0, 1, 2, 3, 4]
    fill(cluster.topic("a")[0], range(100, 109))
    with pytest.raises(BrokerError, match="topic 'a' was deleted and made again"):
        reading.job.run(timeout=10)
    with pytest.raises(BrokerError, match="topic 'a' was deleted and made again"):
        Reading(source(cluster, "a"), ledger=tmp_path / "log").up_to_date()


def test_a_topic_that_is_gone_when_a_job_starts_again_is_told(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """golden: a named one stops it; one of a pattern is said, and the others go on."""
    for topic in "ab":
        fill(cluster.topic(topic)[0], range(3))

    def job(topics: str | re.Pattern[str]) -> wr.Job:
        stream = wr.read_kafka(cluster.bootstrap, topics, format="raw")
        return wr.job(stream.select("value").write_log(tmp_path / "log", "out"), name=str(topics))

    for topics in ("a", re.compile("a|b")):
        with job(topics) as first:
            first.run(until="caught up")
    fill(cluster.topics["b"].logs[0], range(3, 5))
    del cluster.topics["a"]
    with pytest.raises(BrokerError, match="there is no topic 'a', or it may not be seen"):
        job("a").run(until="caught up")
    with job(re.compile("a|b")) as again:
        assert again.run(until="caught up").events == 2
    assert "topic 'a', which this job has read before, is not there any more" in caplog.text


def test_a_job_that_has_come_to_its_end_stays_finished(cluster: Cluster, tmp_path: Path) -> None:
    """law: its windows are closed; what comes to its topic later is another job's."""
    fill(cluster.topic("a")[0], range(3))

    def job() -> wr.Job:
        stream = wr.read_kafka(cluster.bootstrap, "a", format="raw", end="latest")
        return wr.job(stream.select("value").write_log(tmp_path / "log", "out"), name="ended")

    with job() as first:
        assert first.run().finished
        fill(cluster.topics["a"].logs[0], range(3, 5))
        assert (first.run().events, first.progress.finished) == (3, True)
    with job() as again:
        progress = again.run()
    assert (progress.events, progress.finished) == (0, True)


def test_a_damaged_batch_stops_its_partition_and_no_other(cluster: Cluster) -> None:
    """law: it is fetched once more; then the records before it, and the other partition, come out, and it is named."""
    logs = cluster.topic("a", 2)
    fill(logs[0], range(3))
    fill(logs[0], range(3, 6))
    fill(logs[0], range(6, 9))
    fill(logs[1], range(10, 20))
    logs[0].batches[1].data[-3] ^= 1
    damaged = r"a\[0\] stands at offset 3: the record batch there was fetched twice.*CRC-32C"
    reading = Reading(source(cluster, "a", on_error="skip"))
    with pytest.raises(RecordError, match=damaged):
        reading.up_to_date()
    assert sorted(reading.rows) == [0, 1, 2, *range(10, 20)]
    with pytest.raises(RecordError, match=damaged):
        collected(source(cluster, "a", end="latest", on_error="skip"))
    with pytest.raises(RecordError, match=damaged):
        Reading(source(cluster, "a")).up_to_date()
    sealed(logs[0].batches[1])  # its bytes are whole now, and mean 4
    assert collected(source(cluster, "a", end="latest", on_error="skip")) == [
        *range(5),
        4,
        *range(6, 9),
        *range(10, 20),
    ]


def test_damage_on_the_way_is_healed_by_fetching_again(cluster: Cluster) -> None:
    """law: one wrong answer changes nothing."""
    (log,) = cluster.topic("a")
    fill(log, range(50))
    hurt = [False]

    def once(data: bytes) -> bytes:
        if not data or hurt[0]:
            return data
        hurt[0] = True
        return data[:-1] + bytes([data[-1] ^ 1])

    cluster.damage = once
    assert collected(source(cluster, "a", end="latest")) == list(range(50))
    assert hurt[0]


def test_bad_records_are_kept_whole_or_named(cluster: Cluster) -> None:
    """golden: fail names the place; otherwise key, value, headers and origin come back, and good rows keep offsets."""
    (log,) = cluster.topic("a")
    log.add(number(1), (b"key", b"oops"), number(3), (None, None), headers=[("h", b"x"), ("h", b"y")])
    with pytest.raises(RecordError, match=r"a\[0\] offset 1: .*; the record begins 'oops'"):
        collected(source(cluster, "a", end="latest"))
    made = source(cluster, "a", end="latest", on_error="dead_letter")
    try:
        (piece,) = made.read(0, 0, 4, ("n", "o"))
        assert piece.data.to_pydict() == {"n": [1, 3], "o": [0, 2]}
        assert piece.offsets is not None and piece.offsets.to_pylist() == [0, 2]
        assert piece.rejected is not None
        headers = [{"key": "h", "value": b"x"}, {"key": "h", "value": b"y"}]
        found = [{k: row[k] for k in ("topic", "partition", "offset", "key", "value", "headers")}
                 for row in piece.rejected.to_pylist()]  # fmt: skip
        assert found == [
            {"topic": "a", "partition": 0, "offset": 1, "key": b"key", "value": b"oops", "headers": headers},
            {"topic": "a", "partition": 0, "offset": 3, "key": None, "value": None, "headers": headers},
        ]
    finally:
        made.close()


def test_leaders_move_and_connections_break(caplog: pytest.LogCaptureFixture) -> None:
    """law: nothing is lost or read twice while leadership moves and connections are cut."""
    caplog.set_level(logging.CRITICAL)
    with Cluster(2) as cluster:
        logs = cluster.topic("a", 2)
        reading = Reading(source(cluster, "a"))
        for turn in range(6):
            fill(logs[turn % 2], range(turn * 10, turn * 10 + 10))
            logs[turn % 2].leader = turn // 2 % 2
            cluster.nodes[turn % 2].drop()
            assert reading.up_to_date() == list(range(turn * 10 + 10))
        reading.job.close()


def test_brokers_are_asked_in_the_words_that_they_know(caplog: pytest.LogCaptureFixture) -> None:
    """law: each broker of a cluster in its own version of Fetch, by id or by name; too old a one ends the job."""
    caplog.set_level(logging.CRITICAL)
    with Cluster(2) as cluster:
        logs = cluster.topic("a", 2)
        logs[1].leader = 1
        for part, log in enumerate(logs):
            fill(log, range(part * 10, part * 10 + 5))
        cluster.nodes[1].versions = {1: (4, 12)}
        assert collected(source(cluster, "a", end="latest")) == [*range(5), *range(10, 15)]
        asked = {(bool(fetch.topics[0].topic), fetch.API_VERSION) for fetch in cluster.fetches}
        assert asked == {(False, 13), (True, 12)}
        cluster.nodes[1].versions = {1: (4, 11)}
        cluster.nodes[1].drop()
        with pytest.raises(BrokerError, match=r"knows versions 4 to 11 of Fetch.*Kafka 2\.8 or newer"):
            collected(source(cluster, "a", end="latest"))


def test_a_cluster_that_is_away_is_an_error_by_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """law: no wait without end, at the start and while it runs."""
    caplog.set_level(logging.CRITICAL)
    short = FetchLimits(wait_ms=20, refresh_s=0.05, request_s=0.5, unavailable_s=0.5)
    cluster = Cluster()
    fill(cluster.topic("a")[0], range(3))
    reading = Reading(source(cluster, "a", limits=short))
    assert reading.up_to_date() == [0, 1, 2]
    cluster.close()
    begun = time.monotonic()
    with pytest.raises(BrokerError, match=r"no answer from broker|cannot be reached|no answer within"):
        reading.job.run(timeout=20)
    with pytest.raises(BrokerError, match=r"no broker of .* can be reached"):
        source(cluster, "a", limits=short)
    assert time.monotonic() - begun < 10


def test_what_waits_to_be_read_is_bounded(cluster: Cluster) -> None:
    """law: fetching ahead stops when the buffer is full; one partition does not take it all."""
    for log in cluster.topic("a", 2):
        for n in range(100):
            log.add(b"x" * 10_000, time_ms=n)
    limits = FetchLimits(wait_ms=20, buffer_bytes=100_000, partition_bytes=40_000, request_bytes=60_000)
    made = KafkaSource(cluster.bootstrap, KafkaInput(("a",)), schema=Schema(()), record_columns={"value": "v"},
                       limits=limits)  # fmt: skip
    try:
        for part in made.partitions():
            made.plan(part, 0, 10, 1)
        time.sleep(0.3)
        held = [of["buffered_bytes"] for of in made.metrics().values()]
        assert min(held) > 0 and sum(held) <= 2 * (100_000 + 60_000)  # fetched bytes and the columns made of them
        rows = [row for piece in made.read(0, 0, 100, ("v",)) for row in piece.data["v"].to_pylist()]
        assert rows == [b"x" * 10_000] * 100
    finally:
        made.close()


def test_formats_and_columns_of_read_kafka(cluster: Cluster) -> None:
    """golden: json, csv, arrow and raw through the public function; wrong arguments are refused when it is called."""
    at = datetime.fromtimestamp(1, UTC)
    cluster.topic("json")[0].add((b"k", number(5)))
    schema = {"n": "int64", "s": "string"}
    read: Any = wr.read_kafka
    table = read(cluster.bootstrap, "json", schema={"n": "int64"}, end="latest", include={"timestamp": "at"}).collect()
    assert table.to_pylist() == [{"n": 5, "at": at}]
    assert read(cluster.bootstrap, "json", end="latest").collect().to_pylist() == [
        {"key": b"k", "value": number(5), "timestamp": at}
    ]
    cluster.topic("csv")[0].add(b'1,"a,b"', b"x,y", b"3,", b"4", b'5,"two\nlines"', b"6,z")
    csv = read(cluster.bootstrap, "csv", schema=schema, format="csv", end="latest", on_error="skip").collect()
    assert csv.to_pydict() == {"n": [1, 3, 6], "s": ["a,b", None, "z"]}
    sink = pa.BufferOutputStream()
    rows = pa.record_batch({"s": ["a", "b"], "more": [1, 2], "n": [1, 2]})
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    whole = sink.getvalue().to_pybytes()
    cluster.topic("arrow")[0].add(whole, whole[: len(whole) // 2], whole)
    arrow = read(cluster.bootstrap, "arrow", schema=schema, format="arrow", end="latest", on_error="skip",
                 include=["offset"]).collect()  # fmt: skip
    assert arrow.to_pydict() == {"n": [1, 2, 1, 2], "s": ["a", "b", "a", "b"], "offset": [0, 0, 2, 2]}
    for wrong, text in (
        ({"kafka": {"fetch.max.byte": 1}}, "did you mean 'fetch_max_bytes'"),
        ({"kafka": {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}}, "in the clear"),
        ({"format": "json"}, "needs a schema"),
        ({"include": ["color"]}, "a record has no 'color'"),
        ({"on_error": "dead_letter"}, "dead_letter"),
    ):
        with pytest.raises(PlanError, match=re.escape(text)):
            read(cluster.bootstrap, "json", **wrong)


def test_the_double_makes_what_a_reader_takes() -> None:
    """differential: batches of the scripted broker are those that kafka-python's own decoder reads."""
    from kafka.record import MemoryRecords

    made = batch(7, [(b"k", b"v"), (None, b"w")], producer=3, codec=1, headers=[("h", b"x")])
    read = MemoryRecords(bytes(made.data)).next_batch()
    assert read.is_transactional and not read.is_control_batch and read.validate_crc()
    assert [(record.offset, record.key, record.value) for record in read] == [(7, b"k", b"v"), (8, None, b"w")]
