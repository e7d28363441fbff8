"""The SQLite side of the embedded log: what the directory holds, and the transaction that makes a write true.

One file, ``log.db``, in WAL mode with ``synchronous=FULL``: a committed transaction survives a power cut. Everything
else in the directory is bytes that a row of this file names; bytes that no row names do not exist.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from windrow.errors import CorruptionError, LogError
from windrow.progress.faults import reach

FORMAT_VERSION = 1
APPLICATION_ID = 0x77726C67  # "wrlg", in the header of the SQLite file
DATABASE = "log.db"
DATA = "data"
STATE = "state"
WRITERS = "writers"

_TABLES = (
    """CREATE TABLE topics (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
        raw INTEGER NOT NULL, schema BLOB NOT NULL, retention_bytes INTEGER, retention_us INTEGER,
        created_us INTEGER NOT NULL)""",
    """CREATE TABLE partitions (
        topic INTEGER NOT NULL, partition INTEGER NOT NULL, start_offset INTEGER NOT NULL,
        next_offset INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)) WITHOUT ROWID""",
    """CREATE TABLE files (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, writer TEXT NOT NULL,
        sealed INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE chunks (
        topic INTEGER NOT NULL, partition INTEGER NOT NULL, base_offset INTEGER NOT NULL, rows INTEGER NOT NULL,
        file INTEGER NOT NULL, position INTEGER NOT NULL, length INTEGER NOT NULL, crc INTEGER NOT NULL,
        min_us INTEGER NOT NULL, max_us INTEGER NOT NULL, created_us INTEGER NOT NULL,
        PRIMARY KEY (topic, partition, base_offset)) WITHOUT ROWID""",
    """CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
        epoch INTEGER NOT NULL, progress TEXT NOT NULL, planned TEXT, plan TEXT, crc INTEGER NOT NULL,
        created_us INTEGER NOT NULL, committed_us INTEGER)""",
    """CREATE TABLE positions (
        job INTEGER NOT NULL, source TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        PRIMARY KEY (job, source, partition)) WITHOUT ROWID""",
    """CREATE TABLE state (
        job INTEGER NOT NULL, operator TEXT NOT NULL, shard INTEGER NOT NULL, epoch INTEGER NOT NULL,
        kind TEXT NOT NULL, tables TEXT NOT NULL, file INTEGER NOT NULL, position INTEGER NOT NULL,
        length INTEGER NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (job, operator, shard, epoch)) WITHOUT ROWID""",
    """CREATE TABLE sinks (
        id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, name TEXT NOT NULL, owner INTEGER NOT NULL,
        epoch INTEGER NOT NULL, UNIQUE (job, name))""",
    """CREATE TABLE staged (
        sink INTEGER NOT NULL, epoch INTEGER NOT NULL, number INTEGER NOT NULL, topic INTEGER NOT NULL,
        partition INTEGER NOT NULL, rows INTEGER NOT NULL, file INTEGER NOT NULL, position INTEGER NOT NULL,
        length INTEGER NOT NULL, crc INTEGER NOT NULL, min_us INTEGER NOT NULL, max_us INTEGER NOT NULL,
        PRIMARY KEY (sink, epoch, number)) WITHOUT ROWID""",
)  # fmt: skip


_UNMADE = "no log at {}: its maker died before it was made; opening it with create=True makes it"


class Store:
    """The SQLite file of one log directory: one connection that writes, one that reads.

    Raises `LogError` when `root` is no log, holds a format of another version, or cannot be used.
    """

    def __init__(self, root: Path, *, create: bool, read_only: bool = False, busy_timeout_s: float = 30.0) -> None:
        self.root = root
        self.read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._write_lock = threading.Lock()
        self._read_lock = threading.RLock()
        self._writing: sqlite3.Connection | None = None
        self._prepare(create and not read_only)
        self._reading = self._connect(write=False)
        with translated(f"cannot open the log at {root}"):
            self._check_format()
        self._version = -1

    def _prepare(self, create: bool) -> None:
        root = self.root
        if root.exists() and not root.is_dir():
            raise LogError(f"{root} is a file; a log is a directory")
        if not (root / DATABASE).exists():
            if not create:
                what = "there is no such directory" if not root.exists() else f"it holds no {DATABASE}"
                raise LogError(f"no log at {root}: {what}")
            ours = {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", DATA, STATE, WRITERS}
            others = sorted({entry.name for entry in root.iterdir()} - ours) if root.exists() else []
            if others:
                raise LogError(f"{root} is not a log and not empty: it holds {', '.join(others[:5])}")
        if create:
            self._create()
        else:
            self._check_made()

    def _check_made(self) -> None:
        """A rollback journal is there only before the database keeps a write-ahead log: while a log is being made."""
        journal = self.root / f"{DATABASE}-journal"
        if journal.exists():
            self._wait_for_maker()
            if journal.exists():
                raise LogError(_UNMADE.format(self.root))

    def _create(self) -> None:
        """Lay the directory out, unless somebody else has; the lock on the directory lets one do it."""
        root = self.root
        try:
            root.mkdir(parents=True, exist_ok=True)
            directory = os.open(root, os.O_RDONLY)
        except OSError as error:
            raise LogError(f"cannot create a log at {root}: {error.strerror or error}") from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            with translated(f"cannot create a log at {root}"):
                if self._is_blank():
                    self._lay_out()
                    os.fsync(directory)
                    sync_directory(root.parent)
        finally:
            os.close(directory)

    def _wait_for_maker(self) -> None:
        """Another process may be laying the log out: wait until it lets go of the directory."""
        directory = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_SH)
        finally:
            os.close(directory)

    def _is_blank(self) -> bool:
        database = self.root / DATABASE
        if not database.exists() or database.stat().st_size == 0:
            return True
        connection = sqlite3.connect(database, isolation_level=None)
        try:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            return not tables and not version
        finally:
            connection.close()

    def _lay_out(self) -> None:
        for name in (DATA, STATE, WRITERS):
            (self.root / name).mkdir(exist_ok=True)
        connection = sqlite3.connect(self.root / DATABASE, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _connect(self, *, write: bool) -> sqlite3.Connection:
        database = self.root / DATABASE
        uri = f"file:{quote(str(database))}?mode={'rw' if write else 'ro'}"
        if not write and not os.access(self.root, os.W_OK):
            # SQLite cannot make its shared memory file here. With every transaction in the main file none is needed.
            wal = self.root / f"{DATABASE}-wal"
            if wal.exists() and wal.stat().st_size:
                raise LogError(
                    f"{self.root} is read-only and its last writer did not close it: make it writable, or open it once"
                )
            uri += "&immutable=1"
        with translated(f"cannot open the log at {self.root}"):
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False, timeout=self._busy_timeout_s
            )
            if write:
                connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _check_format(self) -> None:
        (application,) = self._reading.execute("PRAGMA application_id").fetchone()
        if application == 0:
            self._wait_for_maker()
            (application,) = self._reading.execute("PRAGMA application_id").fetchone()
        if application == 0 and self._is_blank():
            raise LogError(_UNMADE.format(self.root))
        if application != APPLICATION_ID:
            raise LogError(f"{self.root / DATABASE} is a SQLite database but not a windrow log")
        (version,) = self._reading.execute("PRAGMA user_version").fetchone()
        if version != FORMAT_VERSION:
            raise LogError(
                f"the log at {self.root} has format {version}; this version of windrow reads format {FORMAT_VERSION}"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed and durable when the block ends, undone when it raises."""
        with self._write_lock, translated(f"cannot write to the log at {self.root}"):
            if self.read_only:
                raise LogError(f"the log at {self.root} was opened for reading only")
            if self._writing is None:
                self._writing = self._connect(write=True)
            connection = self._writing
            connection.execute("BEGIN IMMEDIATE")
            try:
                reach("store.begin")
                yield connection
                reach("store.commit.before")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            reach("store.commit.after")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The reading connection, for this thread alone while the block lasts."""
        with self._read_lock, translated(f"cannot read the log at {self.root}"):
            yield self._reading

    def changed(self) -> bool:
        """Whether anybody has committed since the last call of this; about 2 microseconds."""
        with self.reading() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return False
            self._version = version
            return True

    def data_version(self) -> int:
        """A number that another commit, by anybody, changes."""
        with self.reading() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            return int(version)

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            # The writing one last: the last connection to close moves the WAL into the main file.
            for connection in (self._reading, self._writing):
                if connection is not None:
                    connection.close()
            self._writing = None


_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_MEANING = {
    sqlite3.SQLITE_BUSY: "another process has held the write lock for too long",
    sqlite3.SQLITE_LOCKED: "another process has held the write lock for too long",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the directory is read-only",
    sqlite3.SQLITE_CANTOPEN: "its database file cannot be opened (is the directory there and writable?)",
    sqlite3.SQLITE_IOERR: "the disk reported an error, or is full",
}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of SQLite and of the file system as `LogError` (`CorruptionError` for a damaged database)."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise LogError(f"{what}: {DATABASE} is not a database of a windrow log") from error
        if code in _CORRUPT:
            raise CorruptionError(f"{what}: {DATABASE} is damaged ({error})") from error
        raise LogError(f"{what}: {_MEANING.get(code, str(error))}") from error
    except OSError as error:
        raise LogError(f"{what}: {error.strerror or error}") from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
