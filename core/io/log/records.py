"""The ledger's rows in the index, and the checksums over them: a flipped bit in the index must not move a job."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

import crc32c


class JobRow(NamedTuple):
    """A job as the index holds it."""

    id: int
    owner: int
    epoch: int
    progress: str
    planned: str | None
    plan: str | None
    crc: int


class StateRow(NamedTuple):
    """Where the state of one operator and shard lies, of one epoch; `tables`: JSON list of the tables' names."""

    operator: str
    shard: int
    epoch: int
    kind: str
    tables: str
    file: int
    position: int
    length: int
    crc: int


JOB_COLUMNS = ", ".join(JobRow._fields)
STATE_COLUMNS = ", ".join(StateRow._fields)


def read_job(connection: sqlite3.Connection, job: str) -> JobRow | None:
    row = connection.execute(f"SELECT {JOB_COLUMNS} FROM jobs WHERE name = ?", (job,)).fetchone()
    return JobRow(*row) if row is not None else None


def read_positions(connection: sqlite3.Connection, job: int) -> dict[tuple[str, int], int]:
    """(source, partition) -> next offset."""
    rows = connection.execute("SELECT source, partition, next_offset FROM positions WHERE job = ?", (job,))
    return {(source, partition): next_offset for source, partition, next_offset in rows}


def job_crc(epoch: int, progress: str, planned: str | None, positions: Mapping[tuple[str, int], int]) -> int:
    """Of everything the ledger says of an epoch."""
    said = json.dumps([epoch, progress, planned, sorted([*key, at] for key, at in positions.items())])
    return int(crc32c.crc32c(said.encode()))


def state_crc(crc: int, row: StateRow) -> int:
    """Of a state's bytes, whose checksum is `crc`, and of what the index says about them."""
    said = json.dumps([row.operator, row.shard, row.epoch, row.kind, row.tables, row.position, row.length])
    return int(crc32c.crc32c(said.encode(), crc))
