"""Topics of a Kafka cluster as a source of batches: committed records only, replayable, fetched ahead."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from windrow.codec.base import Decoder, DecoderFactory
from windrow.codec.kafka_records import Rows, decode_values
from windrow.datatypes import Schema
from windrow.errors import BrokerError, RecordError
from windrow.io.base import Fetched, OnError
from windrow.io.kafka import events
from windrow.io.kafka.bounds import Bounds, KafkaInput
from windrow.io.kafka.buffer import Chunk, Feed
from windrow.io.kafka.catalog import EARLIEST, LATEST, Catalog, Requests, catalog, list_offsets
from windrow.io.kafka.client import Cluster, release, shared
from windrow.io.kafka.fetcher import Fetcher, FetchLimits
from windrow.io.kafka.layout import Layout, TopicPartition
from windrow.io.rejected import record_error
from windrow.progress.faults import reach

log = logging.getLogger(__name__)

PIECE_ROWS = 65_536
_SMALL_ROWS, _SMALL_BYTES = 8_192, 4 << 20  # smaller pieces are joined: a decoder's cost per call would show
_MISSING_S = 10.0  # how long a topic may be missing from what brokers say, as when they start
_PATIENCE_S = 2.0  # how long `plan` waits for the first bytes of records that are known to be there


class KafkaSource:
    """`Source` over topics; `Remembering` (which partition a number means) and `Stopping` (damaged record batches).

    Partition numbers are those of the topic when there is one, else dealt by `Layout`. Partitions and, with a pattern,
    topics that come while the job runs are read from their first record. With a `decoder` and its `schema`, values
    become the columns of `schema`; `record_columns`: what belongs to the record (key, value, headers, timestamp,
    topic, partition, offset) -> column name.

    A record batch that is damaged is fetched again once; then its partition stops there: at once with an error when
    ``on_error="fail"``, else the others go on. Raises `BrokerError` when the cluster, a topic or an offset is not
    there, or may not be read; a topic that is deleted and made again is another topic, and stops the job.
    """

    replayable = True

    def __init__(
        self,
        cluster: str | Requests,
        wanted: KafkaInput,
        *,
        schema: Schema,
        decoder: DecoderFactory | None = None,
        record_columns: Mapping[str, str] | None = None,
        on_error: OnError = "fail",
        limits: FetchLimits | None = None,
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        self.name = name or wanted.label
        self.wanted = wanted
        self._record = events.record_columns(record_columns or {}, self.name)
        self.schema = events.with_record_columns(schema, self._record)
        self.bounded = wanted.end is not None
        self._decoder = decoder
        self._on_error = on_error
        self._piece_rows = piece_rows
        self._limits = limits or FetchLimits()
        self._shared: Cluster | None = None
        if isinstance(cluster, str):
            self._shared = shared(cluster, settings, min(self._limits.request_s, 10.0))
            self._cluster: Requests = self._shared
        else:
            self._cluster = cluster
        self.layout = Layout()
        self._remembered = False
        self._starts: dict[int, int] = {}
        self._fetcher: Fetcher | None = None
        self._told: set[int] = set()  # partitions whose end was given since the brokers were asked
        self._patient = True
        self._missing_s: dict[str, float] = {}  # topics that are not there at the moment, since when
        try:
            self._first_look = self._look_first()
        except BaseException:
            self.close()
            raise

    # -- what there is

    def remember(self) -> Mapping[str, Any]:
        return self.layout.as_json()

    def recall(self, remembered: Mapping[str, Any]) -> None:
        if self._fetcher is None:
            self.layout, self._remembered = Layout.from_json(remembered), True

    @property
    def starts_now(self) -> bool:
        return self.wanted.start in ("latest", "committed")

    def partitions(self) -> Sequence[int]:
        fetcher = self._running()
        with fetcher.changed:
            return sorted(fetcher.feeds)

    def place(self, partition: int) -> TopicPartition:
        """The topic and the partition in it that a number stands for."""
        self._running()
        return self.layout.places[partition]

    def start_offset(self, partition: int) -> int:
        if partition not in self._starts:
            self._running()
        return self._starts[partition]

    def end_offset(self, partition: int) -> int:
        fetcher = self._running()
        feed = fetcher.feeds[partition]
        if not self.bounded and (feed.known_end <= feed.position or feed.unsure):
            if partition in self._told:
                self._told.clear()
            if not self._told:
                self._ask_ends(fetcher)
            self._told.add(partition)
        with fetcher.changed:
            return feed.known_end

    def known_end(self, partition: int) -> int:
        fetcher = self._running()
        with fetcher.changed:
            return fetcher.feeds[partition].known_end

    def stopped(self) -> Mapping[int, str]:
        if self._fetcher is None:
            return {}
        with self._fetcher.changed:
            halted = [f for f in self._fetcher.feeds.values() if f.stopped is not None and f.position == f.fetch_offset]
        return {feed.number: _halt(feed) for feed in halted}

    def metrics(self) -> dict[str, dict[str, float]]:
        """Of each partition by ``topic[partition]``: see `buffer.Feed.metrics`. Nothing before it is read."""
        if self._fetcher is None:
            return {}
        with self._fetcher.changed:
            feeds = self._fetcher.feeds.values()
            return {f"{feed.topic}[{feed.partition}]": feed.metrics() for feed in feeds}

    # -- reading

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        fetcher = self._running()
        with fetcher.changed:
            feed = fetcher.feeds[partition]
            if feed.position != next_offset:
                feed.seek(next_offset)
                fetcher.changed.notify_all()
            if not feed.chunks and self._patient:
                self._wait_for_first(fetcher)
            fetcher.raise_failure()
            end = feed.plan(max_rows, max_bytes)
        if end == next_offset and feed.stopped is not None and self._on_error == "fail" and not feed.chunks:
            raise RecordError(f"source {self.name!r}: {_halt(feed)}")
        return end

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        need = events.needed(columns, self.schema, self._record, self.name)
        decoder = self._decoder(need.decoded) if self._decoder is not None and need.decoded else None
        topic, number = self.place(partition)
        where = events.Origin(self.name, topic, number, partition)
        for rows, nbytes in self._pieces(partition, start_offset, end_offset):
            yield self._decoded(decoder, rows, nbytes, where, need)

    def wait(self, timeout_s: float) -> None:
        fetcher = self._running()
        deadline_s = time.monotonic() + timeout_s
        with fetcher.changed:
            while fetcher.failure is None and not any(feed.chunks for feed in fetcher.feeds.values()):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not fetcher.changed.wait(left_s):
                    return

    def close(self) -> None:
        if self._fetcher is not None:
            self._fetcher.close()
        client, self._shared = self._shared, None
        if client is not None:
            release(client)

    def _pieces(self, partition: int, start: int, end: int) -> Iterator[tuple[Rows, int]]:
        """The rows of a range, small chunks joined, large ones cut."""
        waiting: list[Rows] = []
        count = size = held = 0
        for chunk in self._chunks(partition, start, end):
            if chunk.rows is None:
                continue
            waiting.append(chunk.rows)
            count, size = count + len(chunk.rows), size + chunk.nbytes
            held += chunk.rows.data.size
            if count >= _SMALL_ROWS or held >= _SMALL_BYTES:
                yield from self._cut(waiting, size)
                waiting, count, size, held = [], 0, 0, 0
        if waiting:
            yield from self._cut(waiting, size)

    def _cut(self, waiting: list[Rows], size: int) -> Iterator[tuple[Rows, int]]:
        rows = waiting[0] if len(waiting) == 1 else events.joined(waiting)
        for at in range(0, len(rows), self._piece_rows):
            part = rows.slice(at, min(at + self._piece_rows, len(rows)))
            yield part, size * len(part) // len(rows)

    def _chunks(self, partition: int, start: int, end: int) -> Iterator[Chunk]:
        """What was fetched of the range; fetched again when it is not there any more."""
        fetcher = self._running()
        feed = fetcher.feeds[partition]
        with fetcher.changed:
            if feed.position != start:
                feed.seek(start)
        at = start
        while at < end:
            with fetcher.changed:
                chunk = feed.take(end)
                if chunk is None:
                    self._await_chunk(fetcher, feed)
                    continue
                at = chunk.next_offset
                fetcher.changed.notify_all()
            reach("kafka.taken")
            yield chunk

    def _await_chunk(self, fetcher: Fetcher, feed: Feed) -> None:
        """Called with the lock, which waiting gives back."""
        deadline_s = time.monotonic() + self._limits.unavailable_s
        fetcher.changed.notify_all()
        while not feed.chunks:
            fetcher.raise_failure()
            if feed.stopped is not None:
                raise RecordError(f"source {self.name!r}: {_halt(feed)}")
            if time.monotonic() >= deadline_s:
                raise BrokerError(
                    f"{feed.topic}[{feed.partition}] gave nothing from offset {feed.fetch_offset} on for "
                    f"{self._limits.unavailable_s:g} s"
                )
            fetcher.changed.wait(1.0)

    def _decoded(
        self, decoder: Decoder | None, rows: Rows, nbytes: int, where: events.Origin, need: events.Need
    ) -> Fetched:
        if decoder is None:
            return Fetched(events.assembled(rows, need, None, where), int(rows.offsets[0]), nbytes, events.gaps(rows))
        decoded = decode_values(decoder, rows)
        bad, rejected = decoded.rejected.rows, None
        if len(bad):
            rejected = events.rejected(rows, decoded.rejected, where)
            if self._on_error == "fail":
                raise record_error(rejected, self.name)
            good = np.ones(len(rows), bool)
            good[bad] = False
            rows = events.chosen(rows, good)
        if decoded.counts is not None:
            rows = events.repeated(rows, decoded.counts)
        first = int(rows.offsets[0]) if len(rows) else 0
        data = events.assembled(rows, need, decoded.data, where)
        offsets = events.gaps(rows) if rejected is None and decoded.counts is None else pa.array(rows.offsets)
        return Fetched(data, first, nbytes, offsets, rejected)

    # -- starting

    def _running(self) -> Fetcher:
        if self._fetcher is not None:
            return self._fetcher
        seen = self._first_look
        for topic in sorted(seen.topics):
            self._check_id(topic, seen)
        self._tell_missing(seen)
        fetcher = Fetcher(self._cluster, self._limits, self._look, self._gone)
        new = [n for topic in sorted(seen.topics) for n in self.layout.add(topic, seen.topics[topic].id,
                                                                         seen.topics[topic].partitions)]  # fmt: skip
        mine = {number: self.layout.places[number] for number in self.layout.of(seen.topics)}
        places = {number: place for number, place in mine.items() if self.wanted.takes(place[1])}
        bounds = Bounds(self._cluster, self.wanted, self.name, self._limits.request_s)
        self._starts = bounds.starts(places, set(new) if self._remembered else set(), remembered=self._remembered)
        ends = bounds.ends(places)
        for number, place in places.items():
            fetcher.feeds[number] = Feed(number, *place, end=ends.get(number))
        reach("kafka.source.placed")
        self._fetcher = fetcher
        self._note_ends(fetcher)
        fetcher.start(seen)
        return fetcher

    def _tell_missing(self, seen: Catalog) -> None:
        """Of a pattern: a topic that goes while the job runs stops it; whoever starts it again goes on without that."""
        for topic in self.layout.ids:
            if topic not in seen.topics and self.wanted.matches(topic):
                log.warning(
                    "source %r: topic %r, which this job has read before, is not there any more, or may not be seen; "
                    "the job goes on without it",
                    self.name,
                    topic,
                )

    def _look_first(self) -> Catalog:
        seen = self._catalog()
        if isinstance(self.wanted.topics, re.Pattern):
            if not seen.topics and self.bounded:
                raise BrokerError(f"source {self.name!r}: no topic matches {self.wanted.topics.pattern!r}")
            return seen
        missing = [topic for topic in self.wanted.topics if topic not in seen.topics]
        if missing:
            raise BrokerError(f"source {self.name!r}: there is no topic {missing[0]!r}, or it may not be seen")
        return seen

    def _catalog(self) -> Catalog:
        topics = self.wanted.topics
        wanted = self.wanted.matches if isinstance(topics, re.Pattern) else topics
        return catalog(self._cluster, wanted, self._limits.request_s)

    def _look(self) -> Catalog:
        """In the fetcher's thread: the catalog again, with new partitions taken in."""
        seen = self._catalog()
        fetcher = self._fetcher
        assert fetcher is not None  # it calls this
        for name in self.layout.ids:
            if self.wanted.matches(name):
                self._check_there(fetcher, name, seen)
        fresh: dict[int, int] = {}
        for topic in sorted(seen.topics.values(), key=lambda t: t.name):
            known = sum(place[0] == topic.name for place in self.layout.places)
            if topic.partitions > known and not self.bounded:
                places = [(topic.name, part) for part in range(known, topic.partitions)]
                wanted = {place: EARLIEST for place in places if self.wanted.takes(place[1])}
                starts = list_offsets(self._cluster, [topic.name], wanted, 30.0)
                with fetcher.changed:
                    added = self.layout.add(topic.name, topic.id, topic.partitions)
                    fresh = {n: starts[self.layout.places[n]] for n in added if self.layout.places[n] in starts}
                    self._starts.update(fresh)
                    fetcher.feeds.update({n: Feed(n, *self.layout.places[n]) for n in fresh})
        return seen

    def _check_there(self, fetcher: Fetcher, topic: str, seen: Catalog) -> None:
        """A topic that is another one now ends the job; one that is not there, when it does not come back soon."""
        if topic in seen.topics:
            self._missing_s.pop(topic, None)
        elif time.monotonic() - self._missing_s.setdefault(topic, time.monotonic()) < _MISSING_S:
            fetcher.refresh_soon()
            return
        try:
            self._check_id(topic, seen)
        except BrokerError as error:
            fetcher.fail(error)

    def _check_id(self, topic: str, seen: Catalog) -> None:
        known = self.layout.ids.get(topic)
        now = seen.topics.get(topic)
        if known is None or (now is not None and now.id == known):
            return
        if now is None:
            if self._fetcher is None:
                return
            raise BrokerError(f"source {self.name!r}: topic {topic!r} is not there any more, or may not be seen")
        raise BrokerError(
            f"source {self.name!r}: topic {topic!r} was deleted and made again (its id was {known}, and is {now.id}): "
            "offsets mean other records now. Start the job under another name to read the new topic."
        )

    # -- while it runs

    def _wait_for_first(self, fetcher: Fetcher) -> None:
        """Records are there, but none has come yet: give the fetch a moment, so that a step does not find nothing.

        Called with the lock, which waiting gives back.
        """
        deadline_s = time.monotonic() + _PATIENCE_S
        while fetcher.failure is None and not any(feed.chunks for feed in fetcher.feeds.values()):
            behind = [f for f in fetcher.feeds.values() if f.stopped is None and 0 <= f.position < f.known_end]
            left_s = deadline_s - time.monotonic()
            if not behind:
                return
            if left_s <= 0:
                self._patient = False  # a broker is away: do not wait again before it is back
                return
            fetcher.changed.wait(left_s)

    def _ask_ends(self, fetcher: Fetcher) -> None:
        """What is known says that everything is read: make sure."""
        try:
            self._note_ends(fetcher, 1.0)
        except BrokerError:
            fetcher.raise_failure()
            fetcher.refresh_soon()
            with fetcher.changed:
                for feed in fetcher.feeds.values():
                    feed.unsure = True

    def _note_ends(self, fetcher: Fetcher, timeout_s: float | None = None) -> None:
        with fetcher.changed:
            feeds = list(fetcher.feeds.values())
            seen = fetcher.catalog if fetcher.catalog.topics else None
        places = {(feed.topic, feed.partition): LATEST for feed in feeds}
        topics = sorted({topic for topic, _ in places})
        ends = list_offsets(self._cluster, topics, places, timeout_s or self._limits.request_s, seen) if places else {}
        with fetcher.changed:
            self._patient = True
            for feed in feeds:
                feed.stable_offset = max(feed.stable_offset, ends[feed.topic, feed.partition])
                feed.unsure = False

    def _gone(self, feed: Feed) -> int:
        """In a fetcher's thread: the offset to go on from when the one that was wanted is not there."""
        place, topics = (feed.topic, feed.partition), [feed.topic]
        self._check_id(feed.topic, self._catalog())
        first = list_offsets(self._cluster, topics, {place: EARLIEST}, self._limits.request_s)[place]
        last = list_offsets(self._cluster, topics, {place: LATEST}, self._limits.request_s)[place]
        at = feed.fetch_offset
        label = f"source {self.name!r}: {feed.topic}[{feed.partition}] offset {at}"
        if at >= first:
            raise BrokerError(
                f"{label} is behind the end of the topic ({last}): the log was cut back, or it is another topic. "
                "Results may hold records that are not there any more; start the job under another name."
            )
        if self.wanted.on_offset_gone == "fail":
            raise BrokerError(
                f"{label} is gone: the first record there is at {first}; {first - at} offsets were deleted before they "
                "were read. on_offset_gone='earliest' goes on with what is left, 'latest' with what comes."
            )
        return first if self.wanted.on_offset_gone == "earliest" else last


def _halt(feed: Feed) -> str:
    reason = feed.stopped.reason if feed.stopped is not None else "?"
    return (
        f"{feed.topic}[{feed.partition}] stands at offset {feed.fetch_offset}: the record batch there was fetched "
        f"twice and cannot be read: {reason}. Restore it from a replica, or start at a later offset under another job "
        "name"
    )
