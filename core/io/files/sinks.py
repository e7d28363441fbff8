"""Sinks into a folder: the rows of an epoch become files there with the commit, each row exactly once.

    open      makes the folder ``.staged-OWNER``, takes the folders of earlier owners away from them, publishes what
              lies in them for committed epochs, and deletes the rest
    stage     writes ``.staged-OWNER/EPOCH-N.tmp`` and syncs file and folder: durable, but to readers not there
    publish   renames to ``part-EPOCH-N.EXT`` and syncs the folder

With a `Layout` files lie in folders named by columns, staged in folders of the same names; one that is complete by
event time gets an empty file ``_SUCCESS``.

A process that has been replaced may still be running, stopped in the middle of anything. Its folder of staged files has
then another name, so whatever it does next fails; and one that was stopped while it opened finds, having made its own
folder, that of a later owner. No file of another owner is ever looked at before its folder was taken away. An epoch
without rows writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from windrow.codec.csv_encode import CsvEncoder
from windrow.codec.json_encode import JsonEncoder
from windrow.errors import FencedError, InvariantError, PlanError, StateError
from windrow.io.base import Guarantee, TopicWrite
from windrow.io.files.layout import Layout
from windrow.units import BEFORE_TIME_US

MARKER = ".windrow.json"
#: Says that a folder of a layout is complete, as Hadoop's file of that name does.
DONE = "_SUCCESS"
#: Bytes of rows (as Arrow columns) after which an epoch begins another file.
FILE_BYTES = 512 << 20
_JSON_PIECE_BYTES = 32 << 20

_OWNER = re.compile(r"\.staged-(\d+)(\.closed)?")
_STAGED = re.compile(r"(\d+)-(\d+)\.tmp")
_PART = re.compile(r"part-(\d+)-(\d+)\.\w+")


class FolderSink:
    """What the formats share.

    `open` raises `PlanError` for a folder that something else has written to, and `StateError` for one that holds
    epochs which the job's ledger does not know, and `FencedError` when a later opening of the job has taken it over.
    """

    guarantee: Guarantee = "exactly-once"
    extension = ""

    def __init__(
        self, folder: str | Path, *, schema: pa.Schema, name: str | None = None, layout: Layout | None = None
    ) -> None:
        self.folder = Path(folder)
        self.schema = schema if layout is None else layout.file_schema  # of the files
        self.name = name or self.folder.name
        self._layout = layout
        self._unfinished: set[str] = set()  # folders of the layout that are not known to be complete
        self._watermark_us = BEFORE_TIME_US
        self._own: Path | None = None  # where this owner stages
        self._published = 0
        self._staged: dict[int, list[tuple[Path, Path]]] = {}  # epoch -> (staged file, its final name)

    def write(self, file: BinaryIO, batches: Sequence[pa.RecordBatch]) -> None:
        """Write the batches as one file of the format."""
        raise NotImplementedError

    def open(self, job: str, committed_epoch: int, owner: int = 0) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_marker(job)
        owner = owner or max(self._owners(), default=0) + 1
        self._check_newest(job, owner)
        own = self.folder / f".staged-{owner}"
        own.mkdir(exist_ok=True)
        self._sync(self.folder)
        self._check_newest(job, owner)  # whoever came later made its folder before it looked for this one
        self._check_parts(job, committed_epoch, owner)
        for earlier in sorted(self._owners()):
            if earlier < owner:
                self._close_owner(earlier, committed_epoch)
        self._sync(self.folder)
        self._own = own
        self._published = committed_epoch
        self._staged.clear()
        self._unfinished = {
            str(part.parent.relative_to(self.folder))
            for part in (self._parts() if self._layout is not None else ())
            if not (part.parent / DONE).exists()
        }

    def reached(self, watermark_us: int) -> None:
        """Told before each `publish`: no event older than this is expected."""
        self._watermark_us = watermark_us

    def _owners(self) -> set[int]:
        """Who has opened the folder, as far as it left something to clear away."""
        matches = (_OWNER.fullmatch(path.name) for path in self.folder.iterdir())
        return {int(match[1]) for match in matches if match}

    def _check_newest(self, job: str, owner: int) -> None:
        newest = max(self._owners(), default=0)
        if newest > owner:
            raise FencedError(
                f"sink {self.name!r} of job {job!r}: {self.folder} was taken over by another process (opening {newest} "
                f"of the job, this is {owner}); this one must stop. If the job's ledger was lost or replaced, empty "
                "the folder or give another"
            )

    def _close_owner(self, owner: int, committed_epoch: int) -> None:
        """Take an earlier owner's folder away from it, then publish from it what is committed and delete the rest.

        Another process that opens at the same time may do the same: what it has done already is no error.
        """
        closed = self.folder / f".staged-{owner}.closed"
        with contextlib.suppress(FileNotFoundError):
            (self.folder / f".staged-{owner}").rename(closed)
        with contextlib.suppress(FileNotFoundError):
            places = set()
            for path in sorted(path for path in closed.rglob("*") if path.is_file()):
                match = _STAGED.fullmatch(path.name)
                place = str(path.parent.relative_to(closed))
                with contextlib.suppress(FileNotFoundError):
                    if match is not None and int(match[1]) <= committed_epoch:
                        self._make(self.folder, place)
                        path.replace(self._part(place, int(match[1]), int(match[2])))
                        places.add(place)
                    else:
                        path.unlink()
            for place in {"", *places}:
                self._sync(self.folder / place)  # before the folder goes: its names are nowhere else
            for path in sorted(closed.rglob("*"), reverse=True):
                path.rmdir()
            closed.rmdir()

    def _check_marker(self, job: str) -> None:
        """Refuses a folder that is not this job's; says in a new one whose it is."""
        marker = self.folder / MARKER
        if not marker.exists():
            foreign = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
            if foreign:
                raise PlanError(
                    f"sink {self.name!r}: {self.folder} is not empty (it has {foreign[0]}) and was not written by this "
                    "job; give it a folder of its own"
                )
            self._write_marker(job)
        try:
            known = json.loads(marker.read_text())
            writer, sink = str(known["job"]), str(known["sink"])
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"sink {self.name!r}: cannot read {marker}: {error}") from error
        if (writer, sink) != (job, self.name):
            raise PlanError(
                f"sink {self.name!r} of job {job!r}: {self.folder} belongs to sink {sink!r} of job {writer!r}; "
                "give this one a folder of its own"
            )

    def _check_parts(self, job: str, committed_epoch: int, owner: int) -> None:
        parts = (_PART.fullmatch(path.name) for path in self._parts())
        newest = max((int(match[1]) for match in parts if match), default=0)
        if newest > committed_epoch:
            self._check_newest(job, owner)
            raise StateError(
                f"sink {self.name!r}: {self.folder} holds results up to epoch {newest} of job {job!r}, but its ledger "
                f"says {committed_epoch}: the ledger was lost or replaced; empty the folder or give another"
            )

    def _write_marker(self, job: str) -> None:
        written = self.folder / f"{MARKER}.{secrets.token_hex(8)}"
        with written.open("w") as file:
            json.dump({"job": job, "sink": self.name}, file)
            file.flush()
            os.fsync(file.fileno())
        written.replace(self.folder / MARKER)
        self._sync(self.folder)

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        if self._own is None:
            raise InvariantError(f"sink {self.name!r}: stage before open")
        filled = [batch for batch in batches if batch.num_rows]
        if epoch <= self._published or not filled:
            return ()
        staged = []
        with self._fenced():
            for number, (place, part) in enumerate(self._placed(filled)):
                if self._layout is not None:
                    self._layout.complete(place, BEFORE_TIME_US)  # a name that is no time is refused before the commit
                self._make(self._own, place)
                path = self._own / place / f"{epoch}-{number}.tmp"
                with path.open("wb") as file:
                    self.write(file, part)
                    file.flush()
                    os.fsync(file.fileno())
                staged.append((path, self._part(place, epoch, number)))
            for folder in {path.parent for path, _ in staged}:
                self._sync(folder)
        self._staged[epoch] = staged
        return ()

    def publish(self, epoch: int) -> None:
        staged = self._staged.pop(epoch, [])
        for place in {part.parent for _, part in staged}:
            self._make(self.folder, str(place.relative_to(self.folder)))
        with self._fenced():
            for path, part in staged:
                path.replace(part)
        for place in {part.parent for _, part in staged}:
            self._sync(place)
            if self._layout is not None and not (place / DONE).exists():
                self._unfinished.add(str(place.relative_to(self.folder)))
        self._published = max(self._published, epoch)
        self._finish()

    def _finish(self) -> None:
        """Mark the folders that are complete by now. What is late goes into them all the same."""
        if self._layout is None:
            return
        for place in [place for place in self._unfinished if self._layout.complete(place, self._watermark_us)]:
            (self.folder / place / DONE).touch()
            self._sync(self.folder / place)
            self._unfinished.discard(place)

    def _placed(self, batches: Sequence[pa.RecordBatch]) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
        """What goes into each file, and in which folder it lies."""
        for place, rows in [("", list(batches))] if self._layout is None else self._layout.split(batches):
            for part in _file_sized(rows):
                yield place, part

    def _parts(self) -> Iterator[Path]:
        depth = 0 if self._layout is None else self._layout.depth
        return self.folder.glob("/".join([*("*=*" for _ in range(depth)), "part-*"]))

    def _make(self, root: Path, place: str) -> None:
        """Make the folders of a layout below `root`, which must be there, so that they are durable."""
        folder = root
        for name in Path(place).parts:
            parent, folder = folder, folder / name
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                self._sync(parent)

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[None]:
        """The folder of staged files is gone: somebody has taken it away."""
        try:
            yield
        except FileNotFoundError as error:
            raise FencedError(
                f"sink {self.name!r}: {self.folder} was taken over by another process; this one must stop"
            ) from error

    def close(self) -> None:
        """No file is open between calls."""

    def _part(self, place: str, epoch: int, number: int) -> Path:
        return self.folder / place / f"part-{epoch:010d}-{number}.{self.extension}"

    def _sync(self, folder: Path) -> None:
        """Names are durable only when their folder is synced."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class ParquetSink(FolderSink):
    """Parquet files, compressed with zstd."""

    extension = "parquet"

    def write(self, file: BinaryIO, batches: Sequence[pa.RecordBatch]) -> None:
        with pq.ParquetWriter(file, self.schema, compression="zstd") as writer:
            writer.write_table(pa.Table.from_batches(batches, self.schema))


class IpcSink(FolderSink):
    """Arrow IPC files, not compressed, so that they can be memory-mapped."""

    extension = "arrow"

    def write(self, file: BinaryIO, batches: Sequence[pa.RecordBatch]) -> None:
        with pa.ipc.new_file(file, self.schema) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(self.schema))


class JsonSink(FolderSink):
    """Newline-delimited JSON; see `windrow.codec.json_encode` for how types are written."""

    extension = "ndjson"

    def __init__(
        self, folder: str | Path, *, schema: pa.Schema, name: str | None = None, layout: Layout | None = None
    ) -> None:
        super().__init__(folder, schema=schema, name=name, layout=layout)
        self._encoder = JsonEncoder(self.schema, suffix=b"\n")

    def write(self, file: BinaryIO, batches: Sequence[pa.RecordBatch]) -> None:
        for batch in batches:
            rows = max(int(_JSON_PIECE_BYTES * batch.num_rows / max(batch.nbytes, 1)), 1)
            for start in range(0, batch.num_rows, rows):
                file.write(self._encoder.encode(batch.slice(start, rows)).buffers()[2])


class CsvSink(FolderSink):
    """CSV files with a header line; see `windrow.codec.csv_encode` for how types are written."""

    extension = "csv"

    def __init__(
        self, folder: str | Path, *, schema: pa.Schema, name: str | None = None, layout: Layout | None = None
    ) -> None:
        super().__init__(folder, schema=schema, name=name, layout=layout)
        self._encoder = CsvEncoder(self.schema)

    def write(self, file: BinaryIO, batches: Sequence[pa.RecordBatch]) -> None:
        file.write(self._encoder.header())
        for batch in batches:
            self._encoder.write(file, batch)


def _file_sized(batches: Sequence[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches in groups of about `FILE_BYTES`."""
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if group and size + batch.nbytes > FILE_BYTES:
            yield group
            group, size = [], 0
        group.append(batch)
        size += batch.nbytes
    yield group
