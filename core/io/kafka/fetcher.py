"""Fetches ahead of what is read: a thread for each broker that leads a partition, and one that keeps the catalog.

Threads share one lock (`changed`). A fetch is in flight while the rows before it are decoded and applied; what is
buffered is bounded in all and for each partition, because a partition whose buffer is full is not asked for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import pyarrow as pa

from windrow.codec import kafka_records as records
from windrow.errors import BrokerError, WindrowError
from windrow.io.kafka import fetch_wire as wire
from windrow.io.kafka.buffer import Chunk, Feed
from windrow.io.kafka.catalog import NOT_ALLOWED, RETRIABLE, Catalog, Requests
from windrow.io.kafka.fetch_connection import FetchConnection, TooOldError
from windrow.io.kafka.received import received
from windrow.progress.faults import reach

#: (topic, partition) and (its id, partition) -> the feed that was asked for, and its generation then
Index = dict[tuple[str | UUID, int], tuple[Feed, int]]

log = logging.getLogger(__name__)

_OFFSET_OUT_OF_RANGE = 1
_CORRUPT = 2
_STORAGE = 56
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.05, 2.0
_HANGING_S = 60.0
#: After an answer with little in it, the next question is asked no sooner than this after the last one: of 50 k events
#: a second a broker is asked 150 times a second instead of 400, which is half of what the engine's fetch thread costs.
_LINGER_S, _LITTLE_BYTES = 0.005, 64 << 10


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How much is fetched, and how long is waited; bytes and seconds.

    `buffer_bytes`: what may wait to be read, over all partitions; one request's answer may come on top of it.
    `unavailable_s`: how long a partition may go without an answer before the job stops.
    """

    buffer_bytes: int = 64 << 20
    request_bytes: int = 16 << 20
    partition_bytes: int = 8 << 20
    response_bytes: int = 256 << 20
    wait_ms: int = 500
    min_bytes: int = 1
    request_s: float = 30.0
    unavailable_s: float = 300.0
    refresh_s: float = 30.0

    def shared_by(self, sources: int) -> FetchLimits:
        """The limits of one of several sources that share the buffer."""
        return replace(self, buffer_bytes=max(self.buffer_bytes // max(sources, 1), self.partition_bytes // 2))


class Fetcher:
    """Keeps the feeds of a source filled. `look` gives the catalog; `gone` is asked when an offset is not there: it
    gives the offset to go on from, or raises."""

    def __init__(
        self,
        cluster: Requests,
        limits: FetchLimits,
        look: Callable[[], Catalog],
        gone: Callable[[Feed], int],
    ) -> None:
        self.limits = limits
        self.changed = threading.Condition()
        self.feeds: dict[int, Feed] = {}
        self.catalog = Catalog()
        self.failure: WindrowError | None = None
        self.settings = cluster.settings
        self._look = look
        self._gone = gone
        self._closed = False
        self._refresh = threading.Event()
        self._brokers: dict[int, _BrokerThread] = {}
        self._keeper = threading.Thread(target=self._keep, name="windrow-kafka-catalog", daemon=True)

    def start(self, seen: Catalog) -> None:
        self._follow(seen)
        self._keeper.start()

    def close(self) -> None:
        with self.changed:
            self._closed = True
            self.changed.notify_all()
            brokers = list(self._brokers.values())
        self._refresh.set()
        for broker in brokers:
            broker.close()
        for thread in [*(broker.thread for broker in brokers), self._keeper]:
            if thread.is_alive():
                thread.join(5.0)

    @property
    def closed(self) -> bool:
        return self._closed

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def refresh_soon(self) -> None:
        """The catalog is out of date."""
        self._refresh.set()

    def fail(self, error: WindrowError) -> None:
        """The source cannot go on; whoever uses it next is told."""
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify_all()

    # -- who leads what

    def _keep(self) -> None:
        last_s = time.monotonic()
        while not self._closed and self.failure is None:
            self._refresh.wait(self.limits.refresh_s)
            self._refresh.clear()
            try:
                self._follow(self._look())
                last_s = time.monotonic()
            except BrokerError as error:
                if time.monotonic() - last_s > self.limits.unavailable_s:
                    self.fail(error)
                log.warning("%s", error)
                self._refresh.set()
            except WindrowError as error:
                self.fail(error)
            time.sleep(0.1)

    def _follow(self, seen: Catalog) -> None:
        with self.changed:
            self.catalog = seen
            for node, address in seen.brokers.items():
                known = self._brokers.get(node)
                if known is not None and known.address != address:
                    known.close()
                    known = None
                if known is None and not self._closed:
                    self._brokers[node] = _BrokerThread(self, node, address)
            self.changed.notify_all()

    # -- what a broker's thread asks and gets

    def next_request(self, node: int) -> tuple[list[wire.Wanted], Index, bool]:
        """(what to ask this broker for, the feeds it is for, whether all its partitions are asked for); waits until
        there is something."""
        with self.changed:
            while not self._closed:
                asked = self._wanted(node)
                if asked[0]:
                    return asked
                self.changed.wait(1.0)
            return [], {}, True

    def _wanted(self, node: int) -> tuple[list[wire.Wanted], Index, bool]:
        limits = self.limits
        buffered = sum(feed.nbytes for feed in self.feeds.values())
        share = max(limits.buffer_bytes // max(len(self.feeds), 1), limits.partition_bytes // 2)
        chosen: list[Feed] = []
        every = True
        for feed in self.feeds.values():
            if feed.done or self._leader(feed) != node:
                continue
            if feed.position >= 0 and feed.nbytes < share and (buffered < limits.buffer_bytes or not feed.chunks):
                chosen.append(feed)
            else:
                every = False
        chosen.sort(key=lambda feed: (not feed.starved, feed.nbytes))
        wanted: list[wire.Wanted] = []
        index: Index = {}
        for feed in chosen:
            topic = self.catalog.topics[feed.topic]
            leader = topic.leaders[feed.partition]
            wanted.append(
                wire.Wanted(
                    feed.topic, topic.id, feed.partition, leader.epoch, feed.fetch_offset, feed.last_epoch,
                    limits.partition_bytes,
                )
            )  # fmt: skip
            index[topic.id, feed.partition] = index[feed.topic, feed.partition] = (feed, feed.generation)
        return wanted, index, every

    def _leader(self, feed: Feed) -> int | None:
        topic = self.catalog.topics.get(feed.topic)
        leader = topic.leaders.get(feed.partition) if topic is not None else None
        return leader.node if leader is not None else None

    def take(self, answers: Sequence[wire.Answer], index: Index, buffer: pa.Buffer) -> bool:
        """Keep what came; whether all of it was good."""
        good, nothing_yet = True, True
        empty = not any(len(answer.records) for answer in answers)
        for place, answer in enumerate(answers):
            first, nothing_yet = nothing_yet, nothing_yet and not len(answer.records)
            entry = index.get((answer.topic, answer.partition))
            if entry is None:
                continue
            feed, generation = entry
            if answer.error:
                good &= self._refused(feed, generation, answer)
                continue
            begin, got = feed.fetch_offset, None
            if len(answer.records):
                got = received(
                    buffer, answer.position, len(answer.records), answer.aborted, begin, answer.high_watermark,
                    whole=first,
                )  # fmt: skip
            self._received(feed, generation, begin, answer, got, alone=empty or place == 0)
        return good

    def _received(
        self,
        feed: Feed,
        generation: int,
        begin: int,
        answer: wire.Answer,
        got: records.Batches | None,
        *,
        alone: bool,
    ) -> None:
        with self.changed:
            if feed.generation != generation or feed.fetch_offset != begin:
                return
            _watch_transactions(feed, answer)
            feed.stable_offset, feed.high_watermark = answer.stable_offset, answer.high_watermark
            feed.log_start = answer.log_start
            feed.fetched_bytes += len(answer.records)
            if answer.diverged_at >= 0:
                self.fail(BrokerError(_cut_back(feed, answer.diverged_at)))
            elif got is not None:
                self._keep_rows(feed, got)
            elif alone and answer.stable_offset > begin:
                feed.add(Chunk(begin, answer.stable_offset, None, 0))  # compacted away to the end
            self.changed.notify_all()

    def _keep_rows(self, feed: Feed, got: records.Batches) -> None:
        begin = feed.fetch_offset
        if got.next_offset > begin:
            feed.add(Chunk(begin, got.next_offset, got.rows, got.nbytes))
            feed.last_epoch = got.leader_epoch
        feed.starved = got.next_offset == begin and got.broken is None
        if got.broken is not None:
            at = max(got.broken.offset, got.next_offset)
            if feed.broken_at == at:
                feed.stopped = records.Broken(at, got.broken.reason)
                log.error("%s[%d] stops at offset %d: %s", feed.topic, feed.partition, at, got.broken.reason)
            else:
                feed.refetches += 1
            feed.broken_at = at

    def _refused(self, feed: Feed, generation: int, answer: wire.Answer) -> bool:
        """A partition's answer is an error; whether to go on without a pause."""
        if answer.error == _OFFSET_OUT_OF_RANGE:
            try:
                offset = self._gone(feed)
            except WindrowError as error:
                self.fail(error)
                return False
            with self.changed:
                if feed.generation == generation and offset > feed.fetch_offset:
                    log.warning("%s[%d] goes on at offset %d", feed.topic, feed.partition, offset)
                    feed.add(Chunk(feed.fetch_offset, offset, None, 0))
                    self.changed.notify_all()
            return True
        if answer.error == NOT_ALLOWED:
            self.fail(BrokerError(f"topic {feed.topic!r} may not be read: the ACL Read on it is missing"))
        elif answer.error == _CORRUPT:
            broken = records.Broken(feed.fetch_offset, "the broker says that it is damaged (CORRUPT_MESSAGE)")
            with self.changed:
                if feed.generation == generation:
                    self._keep_rows(feed, records.Batches(None, feed.fetch_offset, 0, -1, broken))
                self.changed.notify_all()
        elif answer.error not in RETRIABLE:
            self.fail(BrokerError(f"{feed.topic}[{feed.partition}] cannot be fetched: error {answer.error}"))
        self.refresh_soon()
        return False


class _BrokerThread:
    """Asks one broker for the partitions that it leads, over a connection of its own."""

    def __init__(self, fetcher: Fetcher, node: int, address: tuple[str, int]) -> None:
        self.address = address
        self._fetcher = fetcher
        self._node = node
        self._connection: FetchConnection | None = None
        self._closed = False
        self._answered_s = time.monotonic()
        self._correlation = 0
        self.thread = threading.Thread(target=self._run, name=f"windrow-kafka-fetch-{node}", daemon=True)
        self.thread.start()

    def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        pause_s = _LEAST_PAUSE_S
        while not (self._closed or self._fetcher.closed):
            wanted, index, every = self._fetcher.next_request(self._node)
            if not wanted or self._closed:
                continue
            try:
                good = self._fetch(wanted, index, every)
            except TooOldError as error:
                self._fetcher.fail(error)
                return
            except (OSError, BrokerError) as error:
                self._lost(error)
                good = False
            except Exception as error:  # a thread that ends in silence would leave a job waiting
                log.exception("fetching from broker %d failed", self._node)
                self._fetcher.fail(BrokerError(f"fetching from broker {self._node} failed: {error!r}"))
                return
            if good:
                pause_s = _LEAST_PAUSE_S
            else:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)
        self.close()

    def _fetch(self, wanted: list[wire.Wanted], index: Index, every: bool) -> bool:
        limits = self._fetcher.limits
        line = self._connection
        if line is None or time.monotonic() >= line.expires_s:
            if line is not None:
                line.close()
            self._connection = line = FetchConnection(*self.address, self._fetcher.settings)
        self._correlation = (self._correlation + 1) % (1 << 31)
        # partitions whose buffers are full want more soon: do not make them wait for the silent ones
        wait_ms = limits.wait_ms if every else min(limits.wait_ms, 10)
        sent_s = time.monotonic()
        line.send(
            wire.request(
                line.version, self._correlation, wanted, max_wait_ms=wait_ms, min_bytes=limits.min_bytes,
                max_bytes=limits.request_bytes,
            )
        )  # fmt: skip
        deadline_s = time.monotonic() + wait_ms / 1e3 + limits.request_s
        buffer, frame = line.receive(deadline_s, limits.response_bytes)
        answers = wire.response(line.version, self._correlation, frame)
        self._answered_s = time.monotonic()
        reach("kafka.fetched")
        good = self._fetcher.take(answers, index, buffer)
        reach("kafka.buffered")
        little = sum(len(answer.records) for answer in answers) < _LITTLE_BYTES
        early_s = sent_s + _LINGER_S - time.monotonic()
        if little and early_s > 0:
            time.sleep(early_s)
        return good

    def _lost(self, error: Exception) -> None:
        line, self._connection = self._connection, None
        if line is not None:
            line.close()
        if self._closed or self._fetcher.closed:
            return
        self._fetcher.refresh_soon()
        silent_s = time.monotonic() - self._answered_s
        log.warning("broker %d: %s", self._node, error)
        if silent_s > self._fetcher.limits.unavailable_s:
            self._fetcher.fail(BrokerError(f"no answer from broker {self._node} for {silent_s:.0f} s: {error}"))


def _watch_transactions(feed: Feed, answer: wire.Answer) -> None:
    """Says, once, when somebody's transaction has been open for so long that it may never end."""
    if answer.high_watermark <= answer.stable_offset or answer.stable_offset != feed.stable_offset:
        feed.held_s, feed.told_held = 0.0, False
    elif not feed.held_s:
        feed.held_s = time.monotonic()
    elif not feed.told_held and time.monotonic() - feed.held_s > _HANGING_S:
        feed.told_held = True
        log.warning(
            "%s[%d]: a transaction of another program has been open for %d s and holds back %d offsets from %d on; "
            "kafka-transactions.sh find-hanging shows whose it is",
            feed.topic, feed.partition, _HANGING_S, answer.high_watermark - answer.stable_offset, answer.stable_offset,
        )  # fmt: skip


def _cut_back(feed: Feed, offset: int) -> str:
    return (
        f"{feed.topic}[{feed.partition}]: the log was cut back to offset {offset} after it had been read up to "
        f"{feed.fetch_offset}: records that this job has seen are not in the topic any more. Results may hold them; "
        "start a new job under another name."
    )
