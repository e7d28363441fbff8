"""The ledger in a Kafka cluster: outputs, state, epoch and input positions become true in one transaction.

Two topics for each job: ``<job>-ledger`` has a record for each commit (`notes`), ``<job>-changelog`` the state
(`changelog`). The ledger's own record is the truth; the input positions that the same transaction commits to the
consumer group of the job's name are for lag monitors, and for the broker to fence a member that lost its partitions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa

from windrow.codec.kafka_encode import EncodedBatch, encode
from windrow.codec.kafka_records import Rows
from windrow.errors import BrokerError, FencedError, InvariantError, StateError
from windrow.io.kafka import catalog, changelog, mirror, notes, stored, topics
from windrow.io.kafka.client import Cluster, release, servers, shared
from windrow.io.kafka.ledger_topics import LedgerTopics, Part, topic_name
from windrow.io.kafka.standing import Standing, standing_of
from windrow.io.kafka.transaction import GroupOffsets, Place, Transactions
from windrow.io.kafka.writes import RecordWrite
from windrow.progress.faults import reach
from windrow.progress.ledger import EpochCommit, EpochInput, Recovery, StateWrite
from windrow.progress.resume import check_plan

#: What a ledger in a cluster is called where a path of a log could stand.
SCHEME = "kafka://"
_OPEN_S = 60.0
_CLEAN_EVERY_S = 5.0
_SETTLE_S = 20.0  # how long the end of a transaction may take to reach the ledger's partition


class KafkaLedger:
    """`Ledger` of jobs whose truth lies in a Kafka cluster. Outputs for topics of the same cluster are part of it.

    `settings` are those of the connection. The two topics are made when they are not there, with `replication` copies
    (-1: as the brokers have it). `standing` is asked at every commit. With a `part` this is one of several parts of the
    job. A commit is tried for `commit_s`, through restarts of brokers.
    """

    durable = True

    def __init__(
        self,
        bootstrap: str,
        settings: Mapping[str, Any] | None = None,
        *,
        replication: int = -1,
        standing: Standing | None = None,
        group: str | None = None,
        part: Part | None = None,
        commit_s: float = 120.0,
        transaction_timeout_ms: int = 60_000,
    ) -> None:
        self._cluster: Cluster = shared(bootstrap, settings)
        self._bootstrap = bootstrap
        self._replication = replication
        self._standing = standing
        self._group = group
        self._part = part
        self._commit_s = commit_s
        self._timeout_ms = transaction_timeout_ms
        self._transactions: Transactions | None = None
        self._job = ""
        self._plan: Mapping[str, Any] = {}
        self._note = notes.Note()
        self._ledger = ""
        self._changelog = ""
        self._partitions = 1
        self._ends: dict[int, int] = {}  # changelog partition -> an offset that the next record does not come before
        self._read_to = 0  # of the ledger's partition
        self._cut: dict[int, int] = {}  # changelog partition -> what was asked to be dropped
        self._cleaned_s = 0.0
        self._count = 0
        self._cache_folder: Path | None = None
        self._cache: mirror.Folder | None = None
        self._sent: Mapping[Place, int] = {}  # where the last commit's records end
        self._written: dict[int, tuple[list[bytes], list[Any]]] = {}  # what the commit adds to the changelog
        self._owner = 0  # ours, whatever is read later
        self._restored = (0, 0)  # offsets of the changelog that were read back, and how many there are

    # -- the protocol

    def cache_in(self, folder: Path) -> None:
        """Keep a copy of the changelog there for a restart on the same disk (`mirror`); said before `open`."""
        self._cache_folder = folder

    def open(self, job: str, plan: Mapping[str, Any]) -> Recovery:
        self._job, self._plan = job, plan if self._part is None else _of_parts(plan)
        name = topic_name(job)
        self._ledger, self._changelog = f"{name}-ledger", f"{name}-changelog"
        self._make_topics(int(plan.get("shards", 8)))
        id_ = job if self._part is None else f"{job}-{self._part.number}"
        transactions = Transactions(self._cluster, id_, timeout_ms=self._timeout_ms)
        transactions.open(_OPEN_S)
        self._transactions = transactions
        reach("kafka.ledger.fenced")
        self._note = notes.Note()
        self._await_settled()
        first = self._read_to = topics.offsets(self._cluster, self._ledger, topics.EARLIEST)[self._partition]
        self._read_on()
        if self._note.plan is not None:
            check_plan(job, self._note.plan, self._plan)
        elif first:
            raise notes.gone(f"topic {self._ledger!r}, partition {self._partition}, offset {first}")
        self._note.owner += 1
        token = self._token()
        self._send(token, notes.record("open", token, self._note.owner, epoch=self._note.epoch))
        reach("ledger.open")
        self._ends = topics.offsets(self._cluster, self._changelog, topics.LATEST)
        self._open_cache(id_)
        note = self._note
        return Recovery(
            note.epoch, note.positions, note.progress, note.planned, note.owner, _State(self, dict(self._ends))
        )

    def holds(self, log_path: str | None) -> bool:
        return is_cluster(log_path) and servers(log_path[len(SCHEME) :]) == servers(self._bootstrap)

    @property
    def restored(self) -> tuple[int, int]:
        """How far `Recovery.state` was read back: (offsets of the changelog, of how many). From any thread."""
        return self._restored

    def write_ahead(self, epoch: int, planned: EpochInput) -> None:
        self._check_next(epoch)
        reach("ledger.ahead")
        token = self._token()
        self._send(token, notes.record("ahead", token, self._note.owner, epoch=epoch, planned=planned.as_json()))
        self._note.planned = planned

    def commit(self, commit: EpochCommit) -> None:
        self._check_next(commit.epoch)
        records: dict[Place, list[EncodedBatch]] = {}
        for output in commit.outputs:
            if not isinstance(output, RecordWrite):
                raise InvariantError(f"rows for topic {output.topic!r} of a log were handed to a ledger in Kafka")
            records.setdefault((output.topic, output.partition), []).extend(output.batches)
        before = self._note.spans
        spans = self._add_state(commit, records)
        token = self._token()
        value = notes.record(
            "commit",
            token,
            self._note.owner,
            epoch=commit.epoch,
            positions=commit.positions,
            progress=commit.progress,
            plan=self._plan,
            spans=notes.spans_json(spans),
        )
        base = self._send(token, value, records, self._group_offsets(commit))
        self._note = replace(
            self._note,
            epoch=commit.epoch,
            positions={name: dict(parts) for name, parts in commit.positions.items()},
            progress=commit.progress,
            plan=self._plan,
            planned=None,
            spans=spans,
        )
        for (topic, part), first in base.items():
            if topic == self._changelog:
                self._ends[part] = first + sum(batch.count for batch in records[topic, part])
        self._add_to_cache(base, before)
        self._clean(base)

    def close(self) -> None:
        self._transactions = None
        topics.await_visible(self._cluster, self._sent)  # whoever runs a job reads its results next
        if self._cache is not None:
            self._cache.close()
        release(self._cluster)

    # -- the transaction

    def _send(
        self,
        token: str,
        value: bytes,
        records: Mapping[Place, Sequence[EncodedBatch]] | None = None,
        offsets: Sequence[GroupOffsets] = (),
    ) -> dict[Place, int]:
        if self._transactions is None:
            raise InvariantError("the ledger is not open")
        # with its type said: to infer it, pyarrow looks for pandas, each time again where there is none (0.3 ms)
        encoded = encode(pa.array([token.encode()], pa.binary()), pa.array([value], pa.binary()), _now_ms(1))
        if len(encoded.too_large):
            raise BrokerError(
                f"job {self._job!r}: what the ledger has to say of an epoch takes {len(value)} bytes, more than "
                "a record may have; read fewer partitions in one job"
            )
        whole = {**(records or {}), (self._ledger, self._partition): encoded.batches}

        def committed() -> bool:
            self._await_settled()
            if not self._is_mine():
                raise FencedError(f"job {self._job!r} was taken over by another process; this one must stop")
            return token in self._note.tokens

        self._owner = self._note.owner
        self._sent = {}
        self._note.tokens.clear()
        base = self._transactions.commit(
            whole, offsets, timeout_s=self._commit_s, committed=committed, mine=self._is_mine
        )
        if base:
            self._read_to = max(self._read_to, base[self._ledger, self._partition] + 1)
        self._sent = topics.ends_of(base, whole)
        return base

    def _is_mine(self) -> bool:
        """Whether no later owner has left a word. Reads on."""
        first = topics.offsets(self._cluster, self._ledger, topics.EARLIEST)[self._partition]
        if first > self._read_to:
            return False  # a later owner has had what it replaced dropped
        self._read_on()
        return self._note.owner <= self._owner

    def _await_settled(self) -> None:
        """Called when nothing of ours can be open: no other writes to the ledger's partition.

        Brokers may have left it without its end (`settled`): records that nobody sees, until the end of the job's next
        transaction commits them along with it, in the partitions that it has, and they are there twice. Raises
        `BrokerError` then.
        """
        deadline_s = time.monotonic() + _SETTLE_S
        while True:
            stable = topics.offsets(self._cluster, self._ledger, topics.LATEST)[self._partition]
            end = topics.offsets(self._cluster, self._ledger, topics.LATEST, isolation=topics.UNCOMMITTED)[
                self._partition
            ]
            if stable == end:
                return
            if time.monotonic() >= deadline_s:
                raise BrokerError(
                    f"topic {self._ledger!r}, partition {self._partition}: a transaction is open from offset {stable} "
                    "on, although the brokers say that the job has none: a broker lost its end. Abort it in every "
                    "topic of the job (kafka-transactions.sh find-hanging, then abort) and start the job again"
                )
            time.sleep(0.05)

    def _read_on(self) -> None:
        """Learn what the ledger topic says after what is known."""
        end = topics.offsets(self._cluster, self._ledger, topics.LATEST)[self._partition]
        where = f"topic {self._ledger!r}, partition {self._partition}"
        self._note.take(where, stored.committed(self._cluster, self._ledger, self._partition, self._read_to, end))
        self._read_to = max(self._read_to, end)

    def _group_offsets(self, commit: EpochCommit) -> list[GroupOffsets]:
        """The positions of the sources that read this cluster, by topic and partition."""
        offsets: dict[Place, int] = {}
        sources = commit.progress.get("sources", {})
        for name, parts in commit.positions.items():
            for topic, entry in _layout(sources.get(name)).items():
                for number_there, number in enumerate(entry["numbers"]):
                    if number in parts:
                        offsets[topic, number_there] = parts[number]
        known = self._cluster.leaders({topic for topic, _ in offsets}, self._commit_s)  # a broker may be away
        offsets = {place: at for place, at in offsets.items() if place[0] in known}
        if not offsets:
            return []
        group = GroupOffsets(self._group or self._job, offsets, f"windrow epoch {commit.epoch}")
        return [group if self._standing is None else standing_of(group, self._standing, self._standing.current())]

    def _check_next(self, epoch: int) -> None:
        if self._transactions is None:
            raise InvariantError("the ledger is not open")
        if epoch != self._note.epoch + 1:
            raise InvariantError(f"epoch {epoch} was given to the ledger after epoch {self._note.epoch}")

    def _token(self) -> str:
        """What tells a record of the ledger from every other."""
        assert self._transactions is not None
        self._count += 1
        producer, epoch = self._transactions.producer
        return f"{self._note.owner}.{producer}.{epoch}.{self._count}"

    # -- state

    def _add_state(self, commit: EpochCommit, records: dict[Place, list[EncodedBatch]]) -> notes.Spans:
        spans = dict(self._note.spans)
        keys: dict[int, list[bytes]] = {}
        values: dict[int, list[Any]] = {}
        for write in commit.state:
            part = self._changelog_part(write.shard)
            some_keys, some_values = changelog.pieces(commit.epoch, write)
            keys.setdefault(part, []).extend(some_keys)
            values.setdefault(part, []).extend(some_values)
            known = spans.get((write.operator, write.shard))
            if known is None or write.kind == "snapshot":
                spans[write.operator, write.shard] = notes.Span(self._ends.get(part, 0), commit.epoch, 1)
            else:
                spans[write.operator, write.shard] = replace(known, parts=known.parts + 1)
        self._written = {part: (some, values[part]) for part, some in keys.items()}
        for part, some in keys.items():
            encoded = encode(pa.array(some, pa.binary()), pa.array(values[part], pa.binary()), _now_ms(len(some)))
            if len(encoded.too_large):
                raise InvariantError("a piece of state is larger than a record batch")
            records[self._changelog, part] = encoded.batches
        return spans

    def _changelog_part(self, shard: int) -> int:
        return self._part.number if self._part is not None else shard % self._partitions

    def saved_state(self, ends: Mapping[int, int]) -> Iterator[StateWrite]:
        """Every operator's snapshot and deltas as of the last commit, in order.

        Raises `StateError` when one is missing, and `FencedError` when that is because a later owner has dropped it.
        """
        try:
            yield from self._saved_state(ends)
        except StateError:
            owner = self._note.owner
            self._read_on()
            if self._note.owner > owner:
                raise FencedError(
                    f"job {self._job!r} was taken over by another process while it was restored; this one must stop"
                ) from None
            raise

    def _saved_state(self, ends: Mapping[int, int]) -> Iterator[StateWrite]:
        spans, left = self._note.spans, {key: span.parts for key, span in self._note.spans.items()}
        starts = self._kept_from()
        whole = sum(max(ends.get(part, 0) - start, 0) for part, start in starts.items())
        done = 0
        for part, start in sorted(starts.items()):
            where = f"topic {self._changelog!r}, partition {part}"
            found = self._changelog_records(part, start, ends.get(part, 0))
            for saved in changelog.saved(where, found):
                self._restored = (done + saved.offset - start, whole)
                key = saved.write.operator, saved.write.shard
                known = spans.get(key)
                if known is None or saved.epoch < known.epoch or self._changelog_part(key[1]) != part:
                    continue
                reach("ledger.restore")
                left[key] -= 1
                yield saved.write
            done += max(ends.get(part, 0) - start, 0)
            self._restored = (done, whole)
        missing = [f"{name}, shard {shard}" for (name, shard), parts in left.items() if parts]
        if missing:
            raise StateError(
                f"topic {self._changelog!r} does not hold the state of epoch {self._note.epoch} that the ledger names "
                f"({'; '.join(missing[:3])}): it was deleted and made again, or cut by its retention. Give the job "
                "another name to start afresh"
            )

    def _kept_from(self) -> dict[int, int]:
        """Changelog partition -> the offset from which on it is needed."""
        keep: dict[int, int] = {}
        for (_, shard), span in self._note.spans.items():
            part = self._changelog_part(shard)
            keep[part] = min(keep.get(part, span.offset), span.offset)
        return keep

    def _changelog_records(self, part: int, start: int, end: int) -> Iterator[Rows]:
        def fetch(first: int, last: int) -> Iterator[Rows]:
            return stored.committed(self._cluster, self._changelog, part, first, last)

        copy = self._cache.of(part) if self._cache is not None else None
        return fetch(start, end) if copy is None else copy.through(start, end, fetch)

    # -- the copy on a local disk

    def _open_cache(self, transactional_id: str) -> None:
        if self._cache_folder is None:
            return
        id_ = catalog.catalog(self._cluster, [self._changelog], _OPEN_S).topics[self._changelog].id.hex
        identity = {"topic": self._changelog, "topic_id": id_}
        self._cache = mirror.Folder(self._cache_folder, topic_name(transactional_id), identity)

    def _add_to_cache(self, base: Mapping[Place, int], before: notes.Spans) -> None:
        if self._cache is None:
            return
        for part, (keys, values) in self._written.items():
            copy = self._cache.of(part)
            first = base.get((self._changelog, part))
            if copy is None:
                continue
            if first is None:  # the transaction was found to be committed, where its records lie is not known
                copy.drop("a commit was in doubt")
                continue
            if not any(self._changelog_part(shard) == part for _, shard in before):
                copy.begin(self._kept_from()[part])
            copy.add(range(first, first + len(keys)), keys, values)

    def _clean(self, base: Mapping[Place, int]) -> None:
        """Let brokers drop state that snapshots have replaced, and records of earlier commits."""
        now_s = time.monotonic()
        if now_s - self._cleaned_s < _CLEAN_EVERY_S or not base:
            return
        self._cleaned_s = now_s
        reach("ledger.clean.before")
        keep = self._kept_from()
        for part, at in keep.items():
            copy = self._cache.of(part) if self._cache is not None else None
            if copy is not None:
                copy.trim(at)
        drop = {part: at for part, at in keep.items() if at > self._cut.get(part, 0)}
        try:
            if drop:
                topics.delete_before(self._cluster, self._changelog, drop)
                self._cut.update(drop)
            topics.delete_before(self._cluster, self._ledger, {self._partition: base[self._ledger, self._partition]})
        except BrokerError:
            pass  # the commit stands; what is left here goes another time
        reach("ledger.clean.after")

    # -- topics

    @property
    def _partition(self) -> int:
        return 0 if self._part is None else self._part.number

    def _make_topics(self, shards: int) -> None:
        home = LedgerTopics(self._cluster, self._job, self._ledger, self._changelog, self._replication)
        stateful = bool(self._plan.get("operators"))
        part = self._part
        self._partitions = home.of_one(shards) if part is None else home.of_part(part, stateful=stateful)


class _State:
    """The state of a job as of its last commit, read again each time it is iterated."""

    def __init__(self, ledger: KafkaLedger, ends: Mapping[int, int]) -> None:
        self._ledger = ledger
        self._ends = ends

    def __iter__(self) -> Iterator[StateWrite]:
        return self._ledger.saved_state(self._ends)


def _of_parts(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan of a job whose partitions are apart: one that reads them together must not go on from its positions."""
    return {**plan, "fingerprint": f"{plan.get('fingerprint')} by partition", "state": "of each partition apart"}


def is_cluster(log_path: str | None) -> TypeGuard[str]:
    """Whether what stands for a log's path means a Kafka cluster."""
    return log_path is not None and log_path.startswith(SCHEME)


def _layout(remembered: Any) -> Mapping[str, Any]:
    """Topic -> which number each of its partitions has, as `Layout.as_json` says it; nothing for other sources."""
    found = remembered.get("topics", {}) if isinstance(remembered, Mapping) else {}
    return {name: entry for name, entry in found.items() if isinstance(entry, Mapping) and "numbers" in entry}


def _now_ms(count: int) -> Any:
    return np.full(count, time.time_ns() // 1_000_000, np.int64)
