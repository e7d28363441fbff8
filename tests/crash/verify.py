"""What is on disk after a death, against the recomputation. Runs in a process of its own."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

import windrow as wr
from tests.crash.events import Expected, Model, Row, Rows
from tests.crash.pipeline import JOB


@dataclass
class Verdict:
    """What one look at the disk gave; no `problems`: all is well."""

    epoch: int = 0
    finished: bool = False
    rows: int = 0
    problems: list[str] = field(default_factory=list)


def verify(root: Path, model: Model) -> Verdict:
    """Check everything that a reader can see against what the committed positions say."""
    verdict = Verdict()
    committed = committed_progress(root / "main")
    verdict.epoch, verdict.finished = committed.epoch, committed.finished
    want = model.at(committed.positions)
    if committed.finished and committed.positions != model.ends:
        verdict.problems.append(f"finished at {committed.positions}, the input ends at {model.ends}")
    for name in ("main", "other"):
        if (root / name).exists():
            _check_log(root, name, want, verdict)
    _check_calls(root / "calls", want, verdict)
    _check_files(root, want, verdict)
    return verdict


@dataclass
class Committed:
    epoch: int
    finished: bool
    positions: dict[int, int]


def committed_progress(log: Path) -> Committed:
    """What the ledger says, read with SQLite alone."""
    connection = sqlite3.connect(f"file:{log}/log.db?mode=ro", uri=True)
    try:
        row = connection.execute("SELECT id, epoch, progress FROM jobs WHERE name = ?", (JOB,)).fetchone()
        if row is None:
            return Committed(0, False, {})
        positions = connection.execute(
            "SELECT partition, next_offset FROM positions WHERE job = ? AND source = 'events'", (row[0],)
        ).fetchall()
    finally:
        connection.close()
    return Committed(row[1], bool(json.loads(row[2]).get("finished")), dict(positions))


def read_topic(log: wr.Log, topic: str, partition: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """The rows of a partition in order, timestamps as microseconds."""
    while start < log.end_offset(topic, partition):
        for batch in log.read(topic, partition, start):
            start += batch.num_rows
            yield from _plain(batch).to_pylist()


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def open_made(path: Path, *, read_only: bool = False) -> wr.Log | None:
    """The log at `path`; None while there is none, its maker being at work on it or having died before the end."""
    try:
        return wr.Log(path, create=False, read_only=read_only)
    except wr.LogError as error:
        if "no log at" in str(error):
            return None
        raise


def _check_log(root: Path, name: str, want: Expected, verdict: Verdict) -> None:
    made = open_made(root / name)
    if made is None:
        return
    with made as log:
        verdict.problems += [f"{name}: {problem}" for problem in log.verify()]
        for info in log.topics():
            if info.name == "events":
                continue
            rows = [row for number in range(info.partitions) for row in read_topic(log, info.name, number)]
            verdict.rows += len(rows)
            if info.name == "totals":
                _check_totals(rows, want, verdict)
                continue
            columns = COLUMNS[info.name]
            got = Counter(tuple(row[column] for column in columns) for row in rows)
            # Rows of another log follow after the commit: at a death they may be missing, but never be ahead.
            whole = name == "main" or (verdict.finished and settled(root))
            compare(info.name, got, getattr(want, info.name), verdict, whole=whole)
            if info.name == "plain":
                _check_order(rows, verdict)


COLUMNS = {
    "plain": ("id", "key", "doubled"),
    "tumbling": ("key", "window_start", "window_end", "n", "total", "top"),
    "hopping": ("word", "window_start", "window_end", "n", "low"),
    "late": ("id", "key"),
    "rejected": ("partition", "offset"),
}


def settled(root: Path) -> bool:
    """Whether the job's last process ended by itself, so that all its sinks have published."""
    return (root / "ended").exists()


def compare(what: str, got: Rows, want: Rows, verdict: Verdict, *, whole: bool) -> None:
    """Each row as often as it must be there; without `whole` some may be missing."""
    extra = got - want
    missing = want - got
    if extra:
        verdict.problems.append(f"{what}: {sum(extra.values())} rows too many: {_some(extra)}")
    if missing and whole:
        verdict.problems.append(f"{what}: {sum(missing.values())} rows lost: {_some(missing)}")


def _some(rows: Rows) -> str:
    return ", ".join(str(row) for row in list(rows)[:3])


def _check_order(rows: list[dict[str, Any]], verdict: Verdict) -> None:
    """Events of one key and input partition keep their order."""
    newest: dict[Row, int] = {}
    for row in rows:
        place = (row["id"] // 1_000_000, row["key"])
        if row["key"] is not None and newest.get(place, -1) >= row["id"]:
            verdict.problems.append(f"plain: {row['id']} stands after {newest[place]}")
        newest[place] = row["id"]


def _check_totals(rows: list[dict[str, Any]], want: Expected, verdict: Verdict) -> None:
    """Each update goes forward, and the last ones are the truth."""
    last: dict[str | None, tuple[int, int]] = {}
    for row in rows:
        word, update = row["word"], (row["n"], row["total"])
        if word in last and last[word][0] >= update[0]:
            verdict.problems.append(f"totals: {word!r} goes from {last[word]} to {update}")
        last[word] = update
    if last != want.totals:
        verdict.problems.append(f"totals: {last}, not {want.totals}")


def _check_calls(path: Path, want: Expected, verdict: Verdict) -> None:
    """At least once: every attempt at an epoch got the same rows, and the committed ones together are the truth."""
    epochs: dict[int, dict[int, list[Row]]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        attempt, epoch, rows = json.loads(line)
        epochs.setdefault(epoch, {}).setdefault(attempt, []).extend(tuple(row) for row in rows)
    got: Rows = Counter()
    for epoch, attempts in epochs.items():
        longest = max(attempts.values(), key=len)
        for rows in attempts.values():
            if rows != longest[: len(rows)]:
                verdict.problems.append(f"calls: epoch {epoch} was repeated with other rows: {rows} / {longest}")
        if epoch > verdict.epoch + 1:
            verdict.problems.append(f"calls: epoch {epoch} was called, {verdict.epoch} is committed")
        elif epoch <= verdict.epoch:
            got.update(longest)
    compare("calls", got, want.calls, verdict, whole=True)


def _check_files(root: Path, want: Expected, verdict: Verdict) -> None:
    """Only files with a final name count. They follow after the commit, as rows of another log do."""
    got: Rows = Counter()
    for path in sorted((root / "files").glob("part-*")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            got[row["id"], row["key"], row["doubled"]] += 1
    verdict.rows += sum(got.values())
    compare("files", got, want.plain, verdict, whole=verdict.finished and settled(root))
