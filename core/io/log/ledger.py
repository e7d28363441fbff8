"""The ledger in the embedded log: outputs, positions, state and epoch of a job become true in one transaction."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import crc32c
import pyarrow as pa

from windrow.errors import CorruptionError, FencedError, InvariantError, LogError
from windrow.io.log.log import Log
from windrow.io.log.maps import damaged
from windrow.io.log.records import STATE_COLUMNS, JobRow, StateRow, job_crc, read_job, read_positions, state_crc
from windrow.io.log.sharing import shared
from windrow.progress.faults import reach
from windrow.progress.ledger import EpochCommit, EpochInput, Recovery, StateWrite
from windrow.progress.resume import check_plan


class LogLedger:
    """`Ledger` of jobs whose truth lies in `log`. Outputs for topics of the same log are part of the commit.

    `log` may be a `Log` (left open by `close`) or a path, which is opened and closed here.
    """

    durable = True

    def __init__(self, log: Log | str | Path) -> None:
        self._shared = shared(log)
        self.log = self._shared.log
        self._job = ""
        self._id = -1
        self._owner = 0
        self._epoch = 0
        self._plan = ""
        self._saved_plan = False
        self._positions: dict[tuple[str, int], int] = {}

    def open(self, job: str, plan: Mapping[str, Any]) -> Recovery:
        self._job, self._plan = job, json.dumps(plan, sort_keys=True)
        self.log.sweep(crashed_only=True)
        with self.log.store.transaction() as transaction:
            row = read_job(transaction, job)
            if row is not None and row.plan is not None:
                check_plan(job, json.loads(row.plan), plan)
            self._id, self._owner = _take_over(transaction, job, self.log.clock.now_us())
            row = read_job(transaction, job)
            assert row is not None
            self._positions = read_positions(transaction, self._id)
            state = [
                StateRow(*found)
                for found in transaction.execute(
                    f"SELECT {STATE_COLUMNS} FROM state WHERE job = ? ORDER BY operator, shard, epoch", (self._id,)
                )
            ]
        reach("ledger.open")
        if row.crc != job_crc(row.epoch, row.progress, row.planned, self._positions):
            raise CorruptionError(
                f"job {job!r} in {self.log.path}: what the ledger says of epoch {row.epoch} is damaged"
            )
        self._epoch, self._saved_plan = row.epoch, row.plan is not None
        planned = EpochInput.from_json(json.loads(row.planned)) if row.planned else None
        return Recovery(
            row.epoch, self._nested(), json.loads(row.progress), planned, self._owner, SavedState(self, job, state)
        )

    def holds(self, log_path: str | None) -> bool:
        return log_path is not None and Path(log_path).resolve() == self.log.path.resolve()

    def write_ahead(self, epoch: int, planned: EpochInput) -> None:
        self._check_next(epoch)
        text = json.dumps(planned.as_json())
        reach("ledger.ahead")
        with self.log.store.transaction() as transaction:
            row = self._check_owner(transaction)
            crc = job_crc(row.epoch, row.progress, text, self._positions)
            transaction.execute("UPDATE jobs SET planned = ?, crc = ? WHERE id = ?", (text, crc, self._id))

    def commit(self, commit: EpochCommit) -> None:
        self._check_next(commit.epoch)
        positions = {(name, part): offset for name, parts in commit.positions.items() for part, offset in parts.items()}
        with self.log.work() as work:
            for output in commit.outputs:
                work.rows(self.log.topic(output.topic), output.partition, output.data)
            placed = [work.state(self._id, write.tables) for write in commit.state]
            with work.commit() as transaction:
                self._check_owner(transaction)
                rows = [
                    _state_row(commit.epoch, write, work.file_id(transaction, at.file), at.position, at.length, at.crc)
                    for write, at in zip(commit.state, placed, strict=True)
                ]
                freed = self._name_state(transaction, rows)
                self._name_epoch(transaction, commit, positions, work.now_us)
        self._epoch, self._positions, self._saved_plan = commit.epoch, positions, True
        if freed:
            self._clean(freed)

    def close(self) -> None:
        self._owner = 0
        self._shared.release()

    def _check_next(self, epoch: int) -> None:
        if not self._owner:
            raise InvariantError("the ledger is not open")
        if epoch != self._epoch + 1:
            raise InvariantError(f"epoch {epoch} was given to the ledger after epoch {self._epoch}")

    def check_owner(self) -> None:
        """Raises `FencedError` when another process has taken the job over."""
        with self.log.store.reading() as connection:
            self._check_owner(connection)

    def _check_owner(self, transaction: sqlite3.Connection) -> JobRow:
        row = read_job(transaction, self._job)
        if row is None or row.id != self._id or row.owner != self._owner:
            raise FencedError(
                f"job {self._job!r} in {self.log.path} was taken over by another process; this one must stop"
            )
        if row.epoch != self._epoch:
            raise InvariantError(f"job {self._job!r} is at epoch {row.epoch} in the ledger, and at {self._epoch} here")
        return row

    def _name_state(self, transaction: sqlite3.Connection, rows: list[StateRow]) -> set[int]:
        """Name the new state; returns the files of the state that its snapshots replace."""
        freed: set[int] = set()
        for row in rows:
            if row.kind == "snapshot":
                replaced = transaction.execute(
                    "DELETE FROM state WHERE job = ? AND operator = ? AND shard = ? RETURNING file",
                    (self._id, row.operator, row.shard),
                )
                freed.update(file for (file,) in replaced)
        transaction.executemany(
            f"INSERT INTO state (job, {STATE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._id, *row) for row in rows],
        )
        return freed

    def _name_epoch(
        self, transaction: sqlite3.Connection, commit: EpochCommit, positions: dict[tuple[str, int], int], now_us: int
    ) -> None:
        gone = [(self._id, *key) for key in self._positions if key not in positions]
        moved = [(self._id, *key, at) for key, at in positions.items() if self._positions.get(key) != at]
        transaction.executemany("DELETE FROM positions WHERE job = ? AND source = ? AND partition = ?", gone)
        transaction.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", moved)
        progress = json.dumps(commit.progress)
        transaction.execute(
            "UPDATE jobs SET epoch = ?, progress = ?, planned = NULL, crc = ?, committed_us = ? WHERE id = ?",
            (commit.epoch, progress, job_crc(commit.epoch, progress, None, positions), now_us, self._id),
        )
        if not self._saved_plan:
            transaction.execute("UPDATE jobs SET plan = ? WHERE id = ?", (self._plan, self._id))

    def _clean(self, freed: set[int]) -> None:
        """Remove the files that held nothing but replaced state."""
        reach("ledger.clean.before")
        with contextlib.suppress(LogError):  # the commit stands; what is left here the next sweep takes
            with self.log.store.reading() as connection:
                found = connection.execute("SELECT DISTINCT file FROM state WHERE job = ?", (self._id,)).fetchall()
            unnamed = freed - {file for (file,) in found}
            if unnamed:
                self.log.remove_files(unnamed)
        reach("ledger.clean.after")

    def _nested(self) -> dict[str, dict[int, int]]:
        nested: dict[str, dict[int, int]] = {}
        for (source, partition), next_offset in self._positions.items():
            nested.setdefault(source, {})[partition] = next_offset
        return nested


class SavedState:
    """The state of a job as it was at the last commit, read piece by piece each time it is iterated."""

    def __init__(self, ledger: LogLedger, job: str, rows: list[StateRow]) -> None:
        self._ledger = ledger
        self._log = ledger.log
        self._job = job
        self._rows = rows

    def __iter__(self) -> Iterator[StateWrite]:
        for row in self._rows:
            reach("ledger.restore")
            try:
                write = self._read(row)
            except LogError:
                self._ledger.check_owner()  # another owner's snapshot replaces the state that this one was told of
                raise
            yield write

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        return sum(row.length for row in self._rows)

    def _read(self, row: StateRow) -> StateWrite:
        what = f"state of operator {row.operator!r}, shard {row.shard}, epoch {row.epoch} of job {self._job!r}"
        name = self._log.index.file_name(row.file)
        data, _ = self._log.maps.slice(name, row.position, row.length, what)
        if state_crc(crc32c.crc32c(data), row) != row.crc:
            raise damaged(self._log.path / name, row.position, row.length, what)
        stream = pa.BufferReader(data)
        tables = {}
        for table in json.loads(row.tables):
            with pa.ipc.open_stream(stream) as reader:
                tables[table] = reader.read_next_batch()
                # The end of the stream has to be read, so that the next one begins where the buffer stands.
                if next(iter(reader), None) is not None:
                    raise damaged(self._log.path / name, row.position, row.length, what)
        return StateWrite(row.operator, row.shard, cast(Literal["delta", "snapshot"], row.kind), tables)


def _take_over(transaction: sqlite3.Connection, job: str, now_us: int) -> tuple[int, int]:
    row = transaction.execute(
        "INSERT INTO jobs (name, owner, epoch, progress, crc, created_us) VALUES (?, 1, 0, '{}', ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET owner = owner + 1 RETURNING id, owner",
        (job, job_crc(0, "{}", None, {}), now_us),
    ).fetchone()
    return int(row[0]), int(row[1])


def _state_row(epoch: int, write: StateWrite, file: int, position: int, length: int, crc: int) -> StateRow:
    tables = json.dumps(list(write.tables))
    row = StateRow(write.operator, write.shard, epoch, write.kind, tables, file, position, length, 0)
    return row._replace(crc=state_crc(crc, row))
