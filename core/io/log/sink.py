"""A topic of an embedded log as a sink: part of the ledger's commit when it is the ledger's log, else by staging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from windrow.batch import WEIGHT
from windrow.errors import FencedError, InvariantError, PlanError
from windrow.io.base import Guarantee, TopicWrite
from windrow.io.log.batches import fitted
from windrow.io.log.log import Log, route
from windrow.io.log.partitioner import key_bytes
from windrow.io.log.sharing import shared
from windrow.io.log.work import Rows, append_rows
from windrow.io.upserts import last_of_each, with_tombstones
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
    partition (in a raw topic it becomes the event's key, of several columns as a JSON document); without one, epoch
    after epoch takes the next partition. In a raw topic, columns in `given` (timestamp, headers) are the events' own.

    Rows with a column `WEIGHT` are changes of a Table: the last of a key in an epoch counts, and is a tombstone (an
    event without a value) when it takes a row away; that needs a key and a raw topic.
    Raises `PlanError` when the columns do not fit.
    """

    guarantee: Guarantee = "exactly-once"

    def __init__(
        self,
        log: Log | str | Path,
        topic: str,
        schema: pa.Schema,
        *,
        key: str | Sequence[str] | None = None,
        partitions: int = 1,
        given: Sequence[str] = (),
        encoder: Encoder | None = None,
        in_ledger: bool = True,
        name: str | None = None,
    ) -> None:
        self.name = name or topic
        self._shared = shared(log)
        self._log = self._shared.log
        self._topic = topic
        self._weighted = WEIGHT in schema.names
        self._schema = schema.remove(schema.get_field_index(WEIGHT)) if self._weighted else schema
        self._keys = (key,) if isinstance(key, str) else tuple(key or ())
        self._given = tuple(name for name in given if name in schema.names)
        self._encoder = encoder
        self._partitions = partitions
        self._in_ledger = in_ledger
        self._typed = encoder is None
        self._job = ""
        self._id = -1
        self._owner = 0
        missing = [name for name in self._keys if name not in schema.names]
        if missing:
            raise PlanError(
                f"sink {self.name!r}: no column {missing[0]!r} for the key; there are: {', '.join(schema.names)}"
            )
        if self._weighted and (self._typed or not self._keys):
            raise PlanError(f"sink {self.name!r}: rows that can go away need a key and a raw topic (format='json')")
        self._document = _document(schema, self._keys) if len(self._keys) > 1 else None

    def open(self, job: str, committed_epoch: int, owner: int = 0) -> None:
        self._job = job
        wanted = self._schema if self._typed else None
        if self._topic in self._log.index.names():
            self._check_topic()
        else:
            headers = "headers" in self._given
            self._log.create_topic(
                self._topic, partitions=self._partitions, schema=wanted, headers=headers, if_exists="ok"
            )
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
        if "headers" in self._given and "headers" not in info.schema.names:
            raise PlanError(f"sink {self.name!r}: topic {self._topic!r} was created without headers; drop the column")
        if not info.raw and sorted(info.schema.names) != sorted(self._schema.names):
            raise PlanError(
                f"sink {self.name!r}: topic {self._topic!r} has the columns {', '.join(info.schema.names)}, "
                f"the result has {', '.join(self._schema.names)}"
            )

    def _routed(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> list[TopicWrite]:
        info = self._log.topic(self._topic)
        turn = epoch % info.partitions
        parts: dict[int, list[pa.RecordBatch]] = {}
        for batch in self._last(batches):
            key = self._key_of(batch)
            data = fitted(batch, info.schema, info.name) if self._typed else self._encoded(batch, key)
            for partition, rows in route(data, key, info.partitions, turn).items():
                parts.setdefault(partition, []).append(rows)
        return [
            TopicWrite(self._topic, partition, rows[0] if len(rows) == 1 else pa.concat_batches(rows))
            for partition, rows in sorted(parts.items())
        ]

    def _last(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """The rows to write: of changes the last of each key."""
        filled = [batch for batch in batches if batch.num_rows]
        if not self._weighted or not filled:
            return filled
        batch = pa.concat_batches(filled)
        key = self._key_of(batch)
        return [batch.take(last_of_each(key_bytes(key)))]

    def _key_of(self, batch: pa.RecordBatch) -> pa.Array | None:
        if self._document is not None:
            return self._document(batch.select(list(self._keys)))
        return batch.column(self._keys[0]) if self._keys else None

    def _encoded(self, batch: pa.RecordBatch, key: pa.Array | None) -> pa.RecordBatch:
        assert self._encoder is not None
        rows = batch.num_rows
        now = pa.scalar(self._log.clock.now_us()).cast(pa.timestamp("us", "UTC"))
        schema = self._log.topic(self._topic).schema
        values = self._encoder(batch.select(self._schema.names)).cast(pa.binary())
        columns = {
            "key": key_bytes(key).cast(pa.binary()) if key is not None else pa.nulls(rows, pa.binary()),
            "value": with_tombstones(values, batch.column(WEIGHT)) if self._weighted else values,
            "timestamp": pa.repeat(now, rows),
        } | {name: batch.column(name).cast(schema.field(name).type) for name in self._given}
        if "timestamp" in self._given:
            columns["timestamp"] = pc.fill_null(columns["timestamp"], now)
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


def _document(schema: pa.Schema, keys: Sequence[str]) -> Encoder:
    """Keys of several columns as JSON documents."""
    from windrow.codec.json_encode import JsonEncoder

    return JsonEncoder(pa.schema([schema.field(name) for name in keys])).encode
