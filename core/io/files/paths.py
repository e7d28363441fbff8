"""Which files a source reads: named when the source is made, and not to change after that."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from windrow.errors import LogError, PlanError

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when the source was made."""

    path: Path
    size: int
    mtime_ns: int

    def check(self) -> None:
        """Raise `LogError` when the file is gone or no longer the one that was planned with."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            raise LogError(f"{self.path} is gone: it was there when the source was made") from None
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise LogError(
                f"{self.path} has changed since the source was made ({self.size} bytes then, {now.st_size} now): "
                "a job reads files that stay as they are; write new rows to a new file"
            )


def find_files(paths: Paths, what: str) -> list[File]:
    """The files that `paths` names (a path, a glob, or several), sorted by path: file i is partition i.

    Raises `PlanError` when one does not exist, a glob matches nothing, or the same file is named twice.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise PlanError(f"{what}: no paths were given")
    found = sorted(path for one in given for path in _expanded(str(one), what))
    doubled = sorted({str(path) for path in found if found.count(path) > 1}) if len(set(found)) < len(found) else []
    if doubled:
        raise PlanError(f"{what}: named twice: {', '.join(doubled)}")
    files = []
    for path in found:
        stat = path.stat()
        files.append(File(path, stat.st_size, stat.st_mtime_ns))
    return files


def _expanded(given: str, what: str) -> Iterator[Path]:
    path = Path(given)
    if path.is_file():
        yield path
    elif path.is_dir():
        raise PlanError(f"{what}: {given} is a folder; write {given.rstrip('/')}/* for the files in it")
    elif glob.has_magic(given):
        # names that begin with a dot are left out: that is how unfinished files are written
        matches = [Path(match) for match in glob.iglob(given, recursive=True)]  # noqa: PTH207 - absolute patterns
        files = [match for match in matches if match.is_file()]
        if not files:
            raise PlanError(f"{what}: no file matches {given}")
        yield from files
    else:
        raise PlanError(f"{what}: there is no file {given}")


def default_name(files: Sequence[File]) -> str:
    return files[0].path.name
