"""Retention: whole chunks go from the front of a partition, then the files that nothing names any more.

An event's age counts from its append, not from its timestamp: an event from the future must not hold the log back, and
old events that are loaded today must not vanish at once. Readers are not asked; one that comes too late gets a
`LogError` that says what is still there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from windrow.io.log.index import TopicInfo
from windrow.io.log.store import Store, translated
from windrow.progress.faults import reach

#: The tables whose rows name files, and a query for the files that they name.
_NAMING = ("chunks", "state", "staged")
_NAMED = " UNION ".join(f"SELECT file FROM {table}" for table in _NAMING)

_SLACK = 1.25  # by size: act when this much more than what is to be kept is there


def is_due(info: TopicInfo) -> bool:
    """Whether the topic has grown so far beyond its bound that a writer should apply retention by itself."""
    return info.retention_bytes is not None and info.bytes > info.retention_bytes * info.partitions * _SLACK + (1 << 20)


def apply(
    store: Store, infos: Sequence[TopicInfo], now_us: int, is_active: Callable[[str], bool] | None
) -> dict[str, int]:
    """Drop chunks that are too old or too much; topic -> events removed. Offsets are never given again."""
    removed = {}
    for info in infos:
        if info.retention_bytes is None and info.retention_us is None:
            continue
        with store.transaction() as transaction:
            removed[info.name] = sum(_trim(transaction, info, part, now_us) for part in range(info.partitions))
    if any(removed.values()):
        reach("log.retention")
        remove_files(store, _unnamed(store), is_active)
    return removed


def _unnamed(store: Store) -> list[int]:
    """The files that no row names: those whose last rows have gone now, and those that were still written to when
    theirs went, which nothing else would ever look at again."""
    with store.reading() as connection:
        rows = connection.execute(f"SELECT id FROM files WHERE sealed AND id NOT IN ({_NAMED})").fetchall()
    return [int(file) for (file,) in rows]


def _trim(transaction: sqlite3.Connection, info: TopicInfo, partition: int, now_us: int) -> int:
    start, size = transaction.execute(
        "SELECT start_offset, bytes FROM partitions WHERE topic = ? AND partition = ?", (info.id, partition)
    ).fetchone()
    keep_bytes = info.retention_bytes
    oldest_us = now_us - info.retention_us if info.retention_us is not None else None
    end, left = start, size
    for base, rows, length, created_us in transaction.execute(
        "SELECT base_offset, rows, length, created_us FROM chunks WHERE topic = ? AND partition = ?"
        " ORDER BY base_offset",
        (info.id, partition),
    ):
        too_old = oldest_us is not None and created_us < oldest_us
        too_much = keep_bytes is not None and left - length >= keep_bytes
        if not (too_old or too_much):
            break
        end, left = base + rows, left - length
    if end > start:
        transaction.execute(
            "DELETE FROM chunks WHERE topic = ? AND partition = ? AND base_offset < ?", (info.id, partition, end)
        )
        transaction.execute(
            "UPDATE partitions SET start_offset = ?, bytes = ? WHERE topic = ? AND partition = ?",
            (end, left, info.id, partition),
        )
    return int(end - start)


def remove_files(store: Store, files: Iterable[int], is_active: Callable[[str], bool] | None) -> list[str]:
    """Remove those of `files` that no row names and whose writer has left them (`is_active`: of this process).

    The files of a writer that died are not known to be left; the sweep takes those.
    """
    removable = []
    with store.transaction() as transaction:
        for file in sorted(files):
            row = transaction.execute("SELECT name, sealed FROM files WHERE id = ?", (file,)).fetchone()
            if (
                row is None
                or not row[1]
                or (is_active is not None and is_active(row[0]))
                or _is_named(transaction, file)
            ):
                continue
            transaction.execute("DELETE FROM files WHERE id = ?", (file,))
            removable.append(row[0])
    with translated(f"cannot remove files of the log at {store.root}"):
        for name in removable:
            (store.root / name).unlink(missing_ok=True)
    return removable


def _is_named(transaction: sqlite3.Connection, file: int) -> bool:
    return any(
        transaction.execute(f"SELECT 1 FROM {table} WHERE file = ? LIMIT 1", (file,)).fetchone() for table in _NAMING
    )
