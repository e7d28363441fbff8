"""Sinks into a folder: the rows of an epoch become files there with the commit, each row exactly once.

    stage     writes ``.NAME-EPOCH-N-OWNER.tmp`` and syncs file and folder: durable, but to readers not there
    publish   renames to ``part-EPOCH-N.EXT`` and syncs the folder
    open      publishes what was staged for committed epochs, and deletes the rest

OWNER is a random word that every opening writes anew into ``.windrow.json``: files that a process staged after another
one has taken the job over are never published. An epoch without rows writes nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from windrow.codec.json_encode import JsonEncoder
from windrow.errors import InvariantError, PlanError, StateError
from windrow.io.base import Guarantee, TopicWrite

MARKER = ".windrow.json"
#: Bytes of rows (as Arrow columns) after which an epoch begins another file.
FILE_BYTES = 512 << 20
_JSON_PIECE_BYTES = 32 << 20

_STAGED = re.compile(r"\..*-(\d+)-(\d+)-([0-9a-f]+)\.tmp")
_PART = re.compile(r"part-(\d+)-(\d+)\.\w+")


class FolderSink:
    """What the formats share.

    `open` raises `PlanError` for a folder that something else has written to, and `StateError` for one that holds
    epochs which the job's ledger does not know.
    """

    guarantee: Guarantee = "exactly-once"
    extension = ""

    def __init__(self, folder: str | Path, *, schema: pa.Schema, name: str | None = None) -> None:
        self.folder = Path(folder)
        self.schema = schema
        self.name = name or self.folder.name
        self._owner = ""
        self._published = 0
        self._staged: dict[int, list[tuple[Path, Path]]] = {}  # epoch -> (staged file, its final name)

    def write(self, file: BinaryIO, batches: Sequence[pa.RecordBatch]) -> None:
        """Write the batches as one file of the format."""
        raise NotImplementedError

    def open(self, job: str, committed_epoch: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        owner = self._check_owner(job)
        self._check_parts(job, committed_epoch)
        for path in sorted(self.folder.iterdir()):
            match = _STAGED.fullmatch(path.name)
            if match is None:
                continue
            epoch, number, of_owner = int(match[1]), int(match[2]), match[3]
            if of_owner == owner and epoch <= committed_epoch:
                path.replace(self._part(epoch, number))
            else:
                path.unlink()
        self._owner = secrets.token_hex(8)
        self._write_marker(job)
        self._published = committed_epoch
        self._staged.clear()

    def _check_owner(self, job: str) -> str:
        """Who opened the folder last; refuses a folder that is not this job's."""
        marker = self.folder / MARKER
        if not marker.exists():
            foreign = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
            if foreign:
                raise PlanError(
                    f"sink {self.name!r}: {self.folder} is not empty (it has {foreign[0]}) and was not written by this "
                    "job; give it a folder of its own"
                )
            return ""
        try:
            known = json.loads(marker.read_text())
            writer, sink, owner = str(known["job"]), str(known["sink"]), str(known["owner"])
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"sink {self.name!r}: cannot read {marker}: {error}") from error
        if (writer, sink) != (job, self.name):
            raise PlanError(
                f"sink {self.name!r} of job {job!r}: {self.folder} belongs to sink {sink!r} of job {writer!r}; "
                "give this one a folder of its own"
            )
        return owner

    def _check_parts(self, job: str, committed_epoch: int) -> None:
        parts = (_PART.fullmatch(path.name) for path in self.folder.iterdir())
        newest = max((int(match[1]) for match in parts if match), default=0)
        if newest > committed_epoch:
            raise StateError(
                f"sink {self.name!r}: {self.folder} holds results up to epoch {newest} of job {job!r}, but its ledger "
                f"says {committed_epoch}: the ledger was lost or replaced; empty the folder or give another"
            )

    def _write_marker(self, job: str) -> None:
        written = self.folder / (MARKER + ".new")
        with written.open("w") as file:
            json.dump({"job": job, "sink": self.name, "owner": self._owner}, file)
            file.flush()
            os.fsync(file.fileno())
        written.replace(self.folder / MARKER)
        self._sync_folder()

    def stage(self, epoch: int, batches: Sequence[pa.RecordBatch]) -> Sequence[TopicWrite]:
        if not self._owner:
            raise InvariantError(f"sink {self.name!r}: stage before open")
        filled = [batch for batch in batches if batch.num_rows]
        if epoch <= self._published or not filled:
            return ()
        staged = []
        for number, part in enumerate(_file_sized(filled)):
            path = self.folder / f".{_plain(self.name)}-{epoch}-{number}-{self._owner}.tmp"
            with path.open("wb") as file:
                self.write(file, part)
                file.flush()
                os.fsync(file.fileno())
            staged.append((path, self._part(epoch, number)))
        self._sync_folder()
        self._staged[epoch] = staged
        return ()

    def publish(self, epoch: int) -> None:
        staged = self._staged.pop(epoch, [])
        for path, part in staged:
            path.replace(part)
        if staged:
            self._sync_folder()
        self._published = max(self._published, epoch)

    def close(self) -> None:
        """No file is open between calls."""

    def _part(self, epoch: int, number: int) -> Path:
        return self.folder / f"part-{epoch:010d}-{number}.{self.extension}"

    def _sync_folder(self) -> None:
        """Names are durable only when their folder is synced."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
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

    def __init__(self, folder: str | Path, *, schema: pa.Schema, name: str | None = None) -> None:
        super().__init__(folder, schema=schema, name=name)
        self._encoder = JsonEncoder(schema, suffix=b"\n")

    def write(self, file: BinaryIO, batches: Sequence[pa.RecordBatch]) -> None:
        for batch in batches:
            rows = max(int(_JSON_PIECE_BYTES * batch.num_rows / max(batch.nbytes, 1)), 1)
            for start in range(0, batch.num_rows, rows):
                file.write(self._encoder.encode(batch.slice(start, rows)).buffers()[2])


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


def _plain(name: str) -> str:
    """A name without what a file name cannot have."""
    return re.sub(r"[^\w.]+", "_", name)[:100]
