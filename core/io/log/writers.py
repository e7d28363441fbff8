"""Who is writing to a log directory right now: a lock file a writer, held for as long as its process lives.

Files carry the id of the writer that made them, and only that writer ever appends to them. Whether their tails can
still become part of a commit is therefore the question whether the writer lives: the kernel drops an flock with the
process, whatever kills it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from windrow.errors import LogError
from windrow.io.log.store import WRITERS


class WriterLock:
    """A writer's identity, locked until `release` or the end of the process."""

    def __init__(self, root: Path) -> None:
        self._folder = root / WRITERS
        try:
            self._folder.mkdir(exist_ok=True)
            self.id, self._descriptor = self._take()
        except OSError as error:
            raise LogError(f"cannot write to the log at {root}: {error.strerror or error}") from error

    def _take(self) -> tuple[str, int]:
        while True:
            identity = uuid.uuid4().hex[:16]
            path = self._folder / f"{identity}.lock"
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a sweeper looked at it between the two calls, and will remove it
                os.close(descriptor)
                continue
            if _is_at(path, descriptor):
                os.write(descriptor, f"{os.getpid()}\n".encode())  # for people who look
                return identity, descriptor
            os.close(descriptor)

    def release(self) -> None:
        """Give the identity up; the writer's files are as final as they are now."""
        if self._descriptor >= 0:
            (self._folder / f"{self.id}.lock").unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


class DeadWriter:
    """The claim to a writer that is certainly dead; nobody else can claim it inside the ``with`` block."""

    def __init__(self, root: Path, identity: str) -> None:
        self.identity = identity
        self._path = root / WRITERS / f"{identity}.lock"
        self._descriptor = -1
        self.dead = False  # False: it lives, or somebody else has claimed it

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            self.dead = True  # it closed properly, or was swept before; its id is never used again
            return self
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.dead = _is_at(self._path, self._descriptor)
        return self

    def forget(self) -> None:
        """Remove the lock file: everything of this writer is in order."""
        self._path.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def crashed_writers(root: Path) -> list[str]:
    """Ids whose lock file is there; those of living writers are among them."""
    folder = root / WRITERS
    return sorted(path.stem for path in folder.glob("*.lock")) if folder.is_dir() else []


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
