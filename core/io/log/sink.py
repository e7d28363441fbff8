"""A topic of an embedded log as a sink: part of the ledger's commit when it is the ledger's log, else by staging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from windrow.errors import FencedError, InvariantError, PlanError
from windrow.io.base import Guarantee, TopicWrite
from windrow.io.log.batches import fitted
from windrow.io.log.log import Log, route
from windrow.io.log.partitioner import key_bytes
from windrow.io.log.sharing import shared
from windrow.io.log.work import Rows, append_rows
from windrow.progress.faults import reach

#: A batch -> its rows as bytes, one value each.
Encoder = Callable[[pa.RecordBatch], pa.Array]

_ROWS = "topic, partition, rows, file, position, length, crc, min_us, max_us"


class LogSink:
    """`Sink` into one topic; exactly-once either way.

    `in_ledger` says that `log` is the directory the job's ledger is in: rows are then handed to the ledger, whose
    commit they are part of. Otherwise they are staged in `log` and published after the ledger's commit; `log` remembers
    the last epoch that it took from this job and sink, so a repeat changes nothing, and an owner number fences the
    sink of a process that has been replaced.

    Without an `encoder` it fills a typed topic, which is created with the `schema` of the result when it is not there;
    with one a raw topic, whose values the encoder makes. `key` names the column whose hash chooses the
    partition (in a raw topic it becomes the event's key); without one, epoch after epoch takes the next partition.
    Raises `PlanError` when the columns do not fit.
    """

    guarantee: Guarantee = "exactly-once"

    def __init__(
        self,
        log: Log | str | Path,
        topic: str,
        schema: pa.Schema,
        *,
        key: str | None = None,
        partitions: int = 1,
        encoder: Encoder | None = None,
        in_ledger: bool = True,
        name: str | None = None,
    ) -> None:
        self.name = name or topic
        self._shared = shared(log)
        self._log = self._shared.log
        self._topic = topic
        self._schema = schema
        self._key = key
        self._encoder = encoder
        self._partitions = partitions
        self._in_ledger = in_ledger
        self._typed = encoder is None
        self._job = ""
        self._id = -1
        self._owner = 0
        if key is not None and key not in schema.names:
            raise PlanError(f"sink {self.name!r}: no column {key!r} for the key; there are: {', '.join(schema.names)}")

    def open(self, job: str, committed_epoch: int, owner: int = 0) -> None:
        self._job = job
        wanted = self._schema if self._typed else None
        if self._topic in self._log.index.names():
            self._check_topic()
        else:
            self._log.create_topic(self._topic, partitions=self._partitions, schema=wanted, if_exists="ok")
        if not self._in_ledger:
            self._take_over(committed_epoch, owner)

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        writes = self._routed(epoch, batches)
        if self._in_ledger:
            return writes
        self._stage(epoch, writes)
        return ()

    def publish(self, epoch: int) -> None:
        if not self._in_ledger:
            self._publish(epoch, discard_later=False)

    def close(self) -> None:
        self._shared.release()

    def _check_topic(self) -> None:
        info = self._log.topic(self._topic)
        if info.raw == self._typed:
            kind = "raw (key, value, timestamp)" if info.raw else "typed"
            raise PlanError(
                f"sink {self.name!r}: topic {self._topic!r} is {kind}; choose the other format, or another topic"
            )
        if not info.raw and sorted(info.schema.names) != sorted(self._schema.names):
            raise PlanError(
                f"sink {self.name!r}: topic {self._topic!r} has the columns {', '.join(info.schema.names)}, "
                f"the result has {', '.join(self._schema.names)}"
            )

    def _routed(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> list[TopicWrite]:
        info = self._log.topic(self._topic)
        turn = epoch % info.partitions
        parts: dict[int, list[pa.RecordBatch]] = {}
        for batch in batches:
            if not batch.num_rows:
                continue
            key = batch.column(self._key) if self._key is not None else None
            data = fitted(batch, info.schema, info.name) if self._typed else self._encoded(batch, key)
            for partition, rows in route(data, key, info.partitions, turn).items():
                parts.setdefault(partition, []).append(rows)
        return [
            TopicWrite(self._topic, partition, rows[0] if len(rows) == 1 else pa.concat_batches(rows))
            for partition, rows in sorted(parts.items())
        ]

    def _encoded(self, batch: pa.RecordBatch, key: pa.Array | None) -> pa.RecordBatch:
        assert self._encoder is not None
        rows = batch.num_rows
        now = pa.scalar(self._log.clock.now_us()).cast(pa.timestamp("us", "UTC"))
        schema = self._log.topic(self._topic).schema
        columns = {
            "key": key_bytes(key).cast(pa.binary()) if key is not None else pa.nulls(rows, pa.binary()),
            "value": self._encoder(batch).cast(pa.binary()),
            "timestamp": pa.repeat(now, rows),
        }
        arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in schema]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _take_over(self, committed_epoch: int, owner: int) -> None:
        """Fence the sink of any earlier owner, publish what the ledger has committed, drop what it has not.

        Never that of a later one: a process that was stopped while it opened may go on long after it was replaced.
        """
        with self._log.store.transaction() as transaction:
            row = transaction.execute(
                "INSERT INTO sinks (job, name, owner, epoch) VALUES (?, ?, max(?, 1), 0)"
                " ON CONFLICT (job, name) DO UPDATE SET owner = iif(? = 0, owner + 1, max(owner, ?))"
                " RETURNING id, owner",
                (self._job, self.name, owner, owner, owner),
            ).fetchone()
        self._id, self._owner = row[0], owner or row[1]
        self._publish(committed_epoch, discard_later=True)

    def _stage(self, epoch: int, writes: Sequence[TopicWrite]) -> None:
        reach("sink.stage")
        info = self._log.topic(self._topic)
        with self._log.work() as work:
            for write in writes:
                work.rows(info, write.partition, write.data)
            with work.commit(publish=False) as transaction:
                self._check_owner(transaction.execute("SELECT owner FROM sinks WHERE id = ?", (self._id,)).fetchone())
                transaction.execute("DELETE FROM staged WHERE sink = ? AND epoch >= ?", (self._id, epoch))
                transaction.executemany(
                    f"INSERT INTO staged (sink, epoch, number, {_ROWS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (self._id, epoch, number, rows.topic, *rows[2:])
                        for number, rows in enumerate(work.written(transaction))
                    ],
                )

    def _publish(self, epoch: int, *, discard_later: bool) -> None:
        reach("sink.publish.before")
        log = self._log
        with log.store.transaction() as transaction:
            row = transaction.execute("SELECT owner, epoch FROM sinks WHERE id = ?", (self._id,)).fetchone()
            self._check_owner(row)
            if discard_later:
                transaction.execute("DELETE FROM staged WHERE sink = ? AND epoch > ?", (self._id, epoch))
            if epoch > row[1]:
                staged = transaction.execute(
                    f"SELECT {_ROWS} FROM staged WHERE sink = ? AND epoch <= ? ORDER BY epoch, number",
                    (self._id, epoch),
                ).fetchall()
                written = [Rows(rows[0], self._topic, *rows[1:]) for rows in staged]
                append_rows(transaction, written, log.clock.now_us())
                transaction.execute("DELETE FROM staged WHERE sink = ? AND epoch <= ?", (self._id, epoch))
                transaction.execute("UPDATE sinks SET epoch = ? WHERE id = ?", (epoch, self._id))
        log.tell([self._topic])
        reach("sink.publish.after")

    def _check_owner(self, row: tuple[int, ...] | None) -> None:
        if self._id < 0:
            raise InvariantError(f"sink {self.name!r} is not open")
        if row is None or row[0] != self._owner:
            raise FencedError(
                f"sink {self.name!r} of job {self._job!r} in {self._log.path} was taken over by another process; "
                "this one must stop"
            )
