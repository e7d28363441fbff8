"""Clearing away what crashed writers left: bytes that no commit names.

A file may go when its writer is dead (its lock can be taken, see `writers`) and no row names the file. The order
matters: first the proof of death, then the look at the index, because only the dead commit nothing in between.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from windrow.io.log.segments import writer_of
from windrow.io.log.store import DATA, STATE, Store, translated
from windrow.io.log.writers import DeadWriter, crashed_writers
from windrow.progress.faults import reach

#: Every row that names bytes of a file.
NAMED = """SELECT file, max(position + length) AS named FROM (
    SELECT file, position, length FROM chunks UNION ALL SELECT file, position, length FROM state
    UNION ALL SELECT file, position, length FROM staged) GROUP BY file"""


def sweep_crashed(store: Store, own: str | None) -> list[str]:
    """Sweep after those writers that did not close properly; costs one listing of a folder when there are none."""
    return _sweep(store, [identity for identity in crashed_writers(store.root) if identity != own])


def sweep(store: Store, own: str | None) -> list[str]:
    """Sweep after every dead writer; the relative paths of the files that were cut or removed."""
    return _sweep(store, sorted({*crashed_writers(store.root), *_files(store.root)} - {own or ""}))


def _sweep(store: Store, writers: list[str]) -> list[str]:
    if not writers or store.read_only:
        return []
    with translated(f"cannot sweep the log at {store.root}"), ExitStack() as claims:
        dead = [claim for identity in writers if (claim := claims.enter_context(DeadWriter(store.root, identity))).dead]
        files = _files(store.root)  # only now: until it was dead a writer could make another
        names = [name for claim in dead for name in files.get(claim.identity, ())]
        swept = _sweep_files(store, names)
        with store.transaction() as transaction:
            transaction.executemany("DELETE FROM files WHERE name = ?", [(name,) for name in swept.removed])
            transaction.executemany("UPDATE files SET sealed = 1 WHERE name = ?", [(name,) for name in names])
        for claim in dead:
            claim.forget()
    return [*swept.removed, *swept.cut]


@dataclass(frozen=True, slots=True)
class _Swept:
    removed: list[str]
    cut: list[str]


def _sweep_files(store: Store, names: list[str]) -> _Swept:
    swept = _Swept([], [])
    if not names:
        return swept
    with store.reading() as connection:
        ids = dict(connection.execute("SELECT name, id FROM files").fetchall())
        named = dict(connection.execute(NAMED).fetchall())
    for name in names:
        path = store.root / name
        end = named.get(ids.get(name, -1), 0)
        if end == 0:
            reach("log.sweep")
            path.unlink(missing_ok=True)
            swept.removed.append(name)
        elif path.stat().st_size > end:
            reach("log.sweep")
            os.truncate(path, end)
            swept.cut.append(name)
    return swept


def _files(root: Path) -> dict[str, list[str]]:
    """Writer -> the files it made, as the index names them; other files in the folders are left alone."""
    found = defaultdict(list)
    for folder in (DATA, STATE):
        if (root / folder).is_dir():
            for entry in sorted(path.name for path in (root / folder).iterdir()):
                writer = writer_of(entry)
                if writer:
                    found[writer].append(f"{folder}/{entry}")
    return found
